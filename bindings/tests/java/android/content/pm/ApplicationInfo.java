/* As much of Android's class as the native code asks for. */
package android.content.pm;

public class ApplicationInfo {
    public String nativeLibraryDir;
}
