package dev.drafthorse

/** What a generation tells while it runs. */
public sealed interface GenerationEvent {
    /**
     * Part of the prompt is in the cache.
     *
     * @property done Prompt tokens in the cache, those kept from the last turn included.
     * @property total Prompt tokens.
     */
    public data class Prefill(val done: Long, val total: Long) : GenerationEvent

    /**
     * A round has confirmed tokens. Text lags behind them while a character is incomplete or a stop text may still match.
     *
     * @property text Whole characters, to be appended to what came before.
     * @property tokens The tokens of this round, a stop token included; it has no text.
     */
    public data class Tokens(val text: String, val tokens: List<Token>) : GenerationEvent

    /**
     * The generation has ended; nothing follows.
     *
     * @property account What it did and took.
     */
    public data class Finished(val account: Account) : GenerationEvent
}

/**
 * A confirmed token.
 *
 * @property id Id in the target's vocabulary.
 * @property drafted True if the drafter proposed it, false if the target supplied it.
 * @property textEnd Characters (UTF-16, as in [String.length]) of the event's text that were ready after this token.
 */
public data class Token(val id: Int, val drafted: Boolean, val textEnd: Int)
