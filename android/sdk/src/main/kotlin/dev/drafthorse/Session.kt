package dev.drafthorse

import kotlinx.coroutines.flow.Flow

/**
 * A conversation with its own KV cache.
 *
 * What a prompt shares with the session's last tokens is not computed again: give the whole conversation each time, and
 * only its new part is paid for.
 *
 * One generation runs at a time; a second one throws [DrafthorseException.SessionBusy]. Safe to use from any thread.
 */
public interface Session : AutoCloseable {
    /**
     * Generates what follows [prompt].
     *
     * The flow is cold: each collector starts a generation of its own. It ends with [GenerationEvent.Finished], or throws
     * a [DrafthorseException] after the events that came before the error.
     *
     * Cancelling the collector stops the native run within one forward pass, during prefill too, and the collector ends
     * when the session is idle. A slow collector stops the loop: at most [EVENTS_BUFFERED] events wait for it.
     *
     * @throws DrafthorseException.SessionBusy from the flow, if another generation runs on this session.
     * @throws DrafthorseException.ContextFull from the flow, if the prompt does not fit.
     * @throws DrafthorseException.InvalidOptions from the flow, for an option out of its range.
     */
    public fun generate(prompt: Prompt, options: GenerationOptions = GenerationOptions()): Flow<GenerationEvent>

    /**
     * Asks the generation under way, if there is one, to stop, and returns at once. Its flow ends with
     * [GenerationEvent.Finished] and [StopReason.CANCELLED]. One whose flow is collected and that has not begun counts too.
     *
     * Cancelling the collector stops it too, without a last event.
     */
    public fun cancel()

    /** Forgets everything. */
    public suspend fun reset(): Unit = rewind(0)

    /**
     * Forgets every token from position [tokenCount] on.
     *
     * @throws DrafthorseException.SessionBusy if a generation runs.
     */
    public suspend fun rewind(tokenCount: Long)

    /**
     * The confirmed tokens, prompt and output.
     *
     * @throws DrafthorseException.SessionBusy if a generation runs.
     */
    public suspend fun tokens(): List<Int>

    /**
     * Releases the cache. May be called again, and from any thread.
     *
     * The flow of a generation under way throws [DrafthorseException.Closed]. This waits until the loop has stopped, for
     * one operator of a forward pass at most, however slow the collector.
     */
    override fun close()

    /** Limits that every implementation keeps. */
    public companion object {
        /** Events that wait for a slow collector before the loop stops. */
        public const val EVENTS_BUFFERED: Int = 8
    }
}

/** [Session.generate] for a text as it is. */
public fun Session.generate(
    prompt: String,
    options: GenerationOptions = GenerationOptions(),
): Flow<GenerationEvent> = generate(Prompt.Text(prompt), options)

/** [Session.generate] for a conversation, oldest message first. */
public fun Session.generate(
    messages: List<Message>,
    options: GenerationOptions = GenerationOptions(),
): Flow<GenerationEvent> = generate(Prompt.Messages(messages), options)

/**
 * Generates what follows [prompt] and returns it whole.
 *
 * Cancelling the caller stops the native run as it does for [Session.generate].
 *
 * @throws DrafthorseException as [Session.generate].
 */
public suspend fun Session.respond(prompt: Prompt, options: GenerationOptions = GenerationOptions()): Response {
    val text = StringBuilder()
    var account: Account? = null
    generate(prompt, options).collect { event ->
        when (event) {
            is GenerationEvent.Prefill -> Unit
            is GenerationEvent.Tokens -> text.append(event.text)
            is GenerationEvent.Finished -> account = event.account
        }
    }
    return Response(text.toString(), checkNotNull(account) { "a generation ends with its account or throws" })
}

/** [respond] for a text as it is. */
public suspend fun Session.respond(prompt: String, options: GenerationOptions = GenerationOptions()): Response =
    respond(Prompt.Text(prompt), options)

/** [respond] for a conversation, oldest message first. */
public suspend fun Session.respond(
    messages: List<Message>,
    options: GenerationOptions = GenerationOptions(),
): Response = respond(Prompt.Messages(messages), options)

/**
 * A whole answer.
 *
 * @property text The generated text, without stop texts.
 * @property account What the generation did and took.
 */
public data class Response(val text: String, val account: Account)
