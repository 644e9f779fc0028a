package dev.drafthorse.android

import java.io.File

/** Where the app's native libraries are. */
internal object NativeLibraries {
    private const val BORDER = "drafthorse_bindings"
    private const val RUNTIME = "libonnxruntime.so"

    /** Loads the Rust library the Java way, so that its `JNI_OnLoad` runs; JNA then finds it loaded. */
    fun load() = System.loadLibrary(BORDER)

    /**
     * ONNX Runtime's library: its path where the installer unpacked the app's libraries, else its name, which the
     * loader finds inside the APK. [folder] is `ApplicationInfo.nativeLibraryDir`.
     */
    fun runtimeLibrary(folder: String?): String {
        val unpacked = File(folder.orEmpty(), RUNTIME)
        return if (unpacked.isFile) unpacked.path else RUNTIME
    }
}
