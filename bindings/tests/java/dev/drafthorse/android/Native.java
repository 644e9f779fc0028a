/* What an app's process does with the library before it opens an engine; the test reads what is printed. */
package dev.drafthorse.android;

import android.content.Context;
import android.content.pm.ApplicationInfo;
import java.io.File;

public final class Native {
    static native void prepare(Context context);

    public static void main(String[] arguments) {
        System.load(arguments[0]);
        File cache = new File(arguments[1]);
        ApplicationInfo app = new ApplicationInfo();
        app.nativeLibraryDir = arguments[1];
        prepare(new Context(cache, app));
        System.out.println("prepared");
        report("no context", null);
        report("no libraries", new Context(cache, new ApplicationInfo()));
        report("no cache", new Context(null, app));
        report("a cache that is a file", new Context(new File(arguments[0]), app));
        prepare(new Context(cache, app));
        System.out.println("prepared again");
    }

    private static void report(String what, Context context) {
        try {
            prepare(context);
            System.out.println(what + ": nothing thrown");
        } catch (RuntimeException exception) {
            System.out.println(what + ": " + exception.getClass().getSimpleName() + ": " + exception.getMessage());
        }
    }
}
