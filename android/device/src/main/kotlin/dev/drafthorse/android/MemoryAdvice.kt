package dev.drafthorse.android

import android.content.ComponentCallbacks2
import android.content.Context
import android.content.res.Configuration

/** What an app should do when the system asks for memory. */
public enum class MemoryAdvice {
    /** Nothing. The user only left the screen, or the app is in front: unloading now means loading again in a second. */
    KEEP,

    /** Close sessions that do not generate: their caches go, the weights stay. */
    CLOSE_IDLE_SESSIONS,

    /** Close the engine: the app is next to be killed. */
    CLOSE_ENGINE,
    ;

    /** Reads the system's words. */
    public companion object {
        /**
         * The advice for a level of [ComponentCallbacks2.onTrimMemory].
         *
         * From Android 14 on only `UI_HIDDEN` and `BACKGROUND` are sent. `UI_HIDDEN` comes with every screen lock and is
         * no sign of need.
         */
        @Suppress("DEPRECATION") // Devices before Android 14 still send them.
        public fun of(level: Int): MemoryAdvice = when {
            level >= ComponentCallbacks2.TRIM_MEMORY_MODERATE -> CLOSE_ENGINE
            level >= ComponentCallbacks2.TRIM_MEMORY_BACKGROUND -> CLOSE_IDLE_SESSIONS
            level >= ComponentCallbacks2.TRIM_MEMORY_UI_HIDDEN -> KEEP
            level >= ComponentCallbacks2.TRIM_MEMORY_RUNNING_CRITICAL -> CLOSE_IDLE_SESSIONS
            else -> KEEP
        }

        /** Calls [onAdvice] on the main thread whenever there is something to do, until the result is closed. */
        public fun watch(context: Context, onAdvice: (MemoryAdvice) -> Unit): AutoCloseable {
            val application = context.applicationContext ?: context
            val callbacks = Callbacks(onAdvice)
            application.registerComponentCallbacks(callbacks)
            return AutoCloseable { application.unregisterComponentCallbacks(callbacks) }
        }
    }
}

private class Callbacks(private val onAdvice: (MemoryAdvice) -> Unit) : ComponentCallbacks2 {
    override fun onTrimMemory(level: Int) {
        val advice = MemoryAdvice.of(level)
        if (advice != MemoryAdvice.KEEP) onAdvice(advice)
    }

    override fun onConfigurationChanged(newConfig: Configuration) = Unit

    @Deprecated("Sent beside TRIM_MEMORY_COMPLETE, which says the same.")
    override fun onLowMemory() = Unit
}
