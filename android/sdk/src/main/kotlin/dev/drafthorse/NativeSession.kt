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
    private val lock = Any()

    /** What [cancel] reaches. Guarded by [lock], so that it is never one that has been freed. */
    private var running: Generation? = null

    @Volatile
    private var closed = false

    override fun generate(prompt: Prompt, options: GenerationOptions): Flow<GenerationEvent> =
        events { translated { native.generate(prompt.toNative(), options.toNative()) } }

    override fun cancel() {
        synchronized(lock) { running?.cancel() }
    }

    override suspend fun rewind(tokenCount: Long): Unit =
        blocking(dispatcher) { native.rewind(tokenCount.toNative("tokenCount")) }

    override suspend fun tokens(): List<Int> = blocking(dispatcher) { native.tokens().map { it.toInt() } }

    override fun close() {
        closed = true
        native.release()
    }

    /** The events of the generation that [start] starts anew for each collector. */
    internal fun events(start: () -> Generation): Flow<GenerationEvent> = channelFlow {
        try {
            // Started and released within one block: a cancellation on the way can lose neither.
            withContext(dispatcher) { run(start(), channel) }
        } catch (error: DrafthorseException) {
            // Closed with it rather than failed by it: what was generated before is delivered first.
            close(error)
        }
    }.buffer(Session.EVENTS_BUFFERED)

    private suspend fun run(generation: Generation, events: SendChannel<GenerationEvent>) {
        synchronized(lock) { running = generation }
        activity.began()
        try {
            pump(generation, events)
        } finally {
            // The session is free from its last event on: the next generation may have begun.
            synchronized(lock) { if (running === generation) running = null }
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
            val event = translated { pull.next() } ?: break
            if (closed || activity.state.value == EngineState.CLOSED) throw DrafthorseException.Closed("the session was closed while it generated")
            events.send(event)
        }
        watch.cancel()
    }
}
