package dev.drafthorse.android

import android.content.Context

/** What the Rust library takes from Android directly. The name of this class and its function are the library's too. */
internal object Native {
    init {
        // The Java way, so that `JNI_OnLoad` runs; JNA then finds the library loaded.
        System.loadLibrary("drafthorse_bindings")
    }

    /** Names the app's ONNX Runtime library and a folder in its cache, for engines opened from now on. */
    @JvmStatic
    external fun prepare(context: Context)
}
