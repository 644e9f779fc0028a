package dev.drafthorse.android

import android.content.Context
import dev.drafthorse.DrafthorseException

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

/** Runs what calls [Native] and gives what it throws the public types: an app catches no `Error`. */
internal inline fun typed(call: () -> Unit) {
    try {
        call()
    } catch (error: LinkageError) {
        throw DrafthorseException.Unsupported(
            "the app has no library of Drafthorse for this processor, so leave out others by ndk.abiFilters: $error",
        )
    } catch (error: RuntimeException) {
        throw DrafthorseException.Io("the app's folders cannot be used: ${error.message}")
    }
}
