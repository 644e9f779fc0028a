package dev.drafthorse

import dev.drafthorse.ffi.Generation
import dev.drafthorse.ffi.Session as FfiSession
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.channels.SendChannel
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.channelFlow
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext

/** A session of the native engine. Events are pulled one by one, so a collector that waits stops the loop. */
internal class NativeSession(
    private val native: FfiSession,
    private val dispatcher: CoroutineDispatcher,
    private val activity: Activity,
) : Session {
    /** What [cancel] reaches. Guarded by itself, so that no generation in it has been freed. */
    private val collected = mutableSetOf<Collected>()

    override fun generate(prompt: Prompt, options: GenerationOptions): Flow<GenerationEvent> =
        events { translated { native.generate(prompt.toNative(), options.toNative()) } }

    override fun cancel() {
        synchronized(collected) { collected.forEach(Collected::cancel) }
    }

    override suspend fun rewind(tokenCount: Long): Unit =
        blocking(dispatcher) { native.rewind(tokenCount.toNative("tokenCount")) }

    override suspend fun tokens(): List<Int> = blocking(dispatcher) { native.tokens().map { it.toInt() } }

    override fun close() = native.release()

    /** The events of the generation that [start] starts anew for each collector. */
    internal fun events(start: () -> Generation): Flow<GenerationEvent> = channelFlow {
        // Before anything waits: a cancel that comes while the prompt is read is kept.
        val own = Collected().also { synchronized(collected) { collected += it } }
        try {
            // Started and released within one block: a cancellation on the way can lose neither.
            withContext(dispatcher) { run(start(), own, channel) }
        } catch (error: DrafthorseException) {
            // Closed with it rather than failed by it: what was generated before is delivered first.
            close(error)
        } finally {
            synchronized(collected) { collected -= own }
        }
    }.buffer(Session.EVENTS_BUFFERED)

    private suspend fun run(generation: Generation, own: Collected, events: SendChannel<GenerationEvent>) {
        synchronized(collected) { own.began(generation) }
        activity.began()
        try {
            pump(generation, events)
        } finally {
            synchronized(collected) { collected -= own }
            generation.release()
            generation.close()
            activity.ended()
        }
    }

    private suspend fun pump(generation: Generation, events: SendChannel<GenerationEvent>) = coroutineScope {
        // Runs on whichever thread cancels: the one of this coroutine sits in a forward pass.
        val watch = launch(Dispatchers.Unconfined, CoroutineStart.UNDISPATCHED) {
            try {
                awaitCancellation()
            } finally {
                generation.cancel()
            }
        }
        val pull = translated { Events(generation) }
        while (true) {
            events.send(translated { pull.next() } ?: break)
        }
        watch.cancel()
    }
}

/** What one collector gets: a generation that runs, or will. */
private class Collected {
    private var generation: Generation? = null
    private var cancelled = false

    fun began(begun: Generation) {
        generation = begun
        if (cancelled) begun.cancel()
    }

    fun cancel() {
        cancelled = true
        generation?.cancel()
    }
}
