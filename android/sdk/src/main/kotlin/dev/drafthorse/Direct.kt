package dev.drafthorse

import com.sun.jna.NativeLibrary
import dev.drafthorse.ffi.FfiConverterTypeGenerationEvent
import dev.drafthorse.ffi.Generation
import java.nio.ByteBuffer

/**
 * The library's direct call for events, by JNI: the generated one allocates native memory for each event, which takes up
 * to fifty times as long. The names of this class and its function are the library's too.
 */
internal object Direct {
    private const val LIBRARY = "drafthorse_bindings"

    init {
        // The very file that the generated code calls: another copy would know none of its generations. Within an Android
        // package it has no path, and there is no other copy.
        val file = NativeLibrary.getInstance(LIBRARY).file
        if (file != null && file.isAbsolute && file.isFile) System.load(file.path) else System.loadLibrary(LIBRARY)
    }

    /** Waits for the next event of generation [number], as the generated code reads it; null where there is none. */
    @JvmStatic
    external fun next(number: Long): ByteArray?
}

/** The events of a generation, pulled one by one. */
internal class Events(private val generation: Generation) {
    private val number = generation.directNumber().toLong()

    /** Waits for the next event; null after the last one. */
    fun next(): GenerationEvent? {
        val event = when (val bytes = Direct.next(number)) {
            // The end, or an error, which the generated call throws.
            null -> generation.next()
            else -> FfiConverterTypeGenerationEvent.read(ByteBuffer.wrap(bytes))
        }
        return event?.toPublic()
    }
}
