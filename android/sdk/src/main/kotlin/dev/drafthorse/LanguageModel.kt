package dev.drafthorse

import kotlinx.coroutines.flow.StateFlow

/**
 * An opened pack: weights, tokenizer and measured costs, shared by its sessions.
 *
 * [Engine] is the real one. Code that takes a `LanguageModel` can be tested with `FakeLanguageModel` of the artifact
 * `drafthorse-fake`.
 *
 * Safe to use from any thread.
 */
public interface LanguageModel : AutoCloseable {
    /** What was opened, what computes it, and what a pass costs. */
    public val report: EngineReport

    /** Whether a generation runs, for a user interface. */
    public val state: StateFlow<EngineState>

    /**
     * Starts a conversation with a KV cache of its own; [EngineReport.cacheBytes] says how large. Close it after use.
     *
     * @throws DrafthorseException.OutOfMemoryBudget if there is no room for the cache.
     * @throws DrafthorseException.InvalidOptions if drafts are asked for that the pack cannot make.
     * @throws DrafthorseException.Closed after [close].
     */
    public suspend fun session(options: SessionOptions = SessionOptions()): Session

    /**
     * The tokens of [text] as a prompt has them: for counting what fits.
     *
     * @throws DrafthorseException.Closed after [close].
     */
    public suspend fun tokenize(text: String): List<Int>

    /**
     * Ends every generation, closes every session and releases the weights. May be called again, and from any thread.
     *
     * The flow of a generation under way throws [DrafthorseException.Closed]. This waits until the loop has stopped, for
     * one operator of a forward pass at most, however slow the collector.
     */
    override fun close()
}

/** Whether an engine is at work. */
public enum class EngineState {
    /** Open; nothing runs. */
    READY,

    /** At least one session generates. */
    GENERATING,

    /** Closed; every call throws [DrafthorseException.Closed]. */
    CLOSED,
}
