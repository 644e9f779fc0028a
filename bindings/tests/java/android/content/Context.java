/* As much of Android's class as the native code asks for. */
package android.content;

import android.content.pm.ApplicationInfo;
import java.io.File;

public class Context {
    private final File cache;
    private final ApplicationInfo app;

    public Context(File cache, ApplicationInfo app) {
        this.cache = cache;
        this.app = app;
    }

    public File getCacheDir() {
        return cache;
    }

    public ApplicationInfo getApplicationInfo() {
        return app;
    }
}
