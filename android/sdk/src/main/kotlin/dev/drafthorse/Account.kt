package dev.drafthorse

/** Why a generation ended. */
public enum class StopReason {
    /** The model emitted an end token. */
    STOP_TOKEN,

    /** The text reached one of the stop texts. */
    STOP_SEQUENCE,

    /** As many tokens as asked for. */
    MAX_TOKENS,

    /** The context holds no more. */
    CONTEXT_FULL,

    /** [Session.cancel] was called. */
    CANCELLED,
}

/**
 * What a generation did, and what it took.
 *
 * @property stopReason Why it ended.
 * @property promptTokens Tokens of the prompt.
 * @property promptTokensKept Of these, tokens that were in the cache from the last turn.
 * @property tokens Tokens emitted.
 * @property ttftMs From the start to the first token, preparation included; 0 if there was none.
 * @property interTokenMs Times between tokens: a round's time is shared evenly by the tokens it confirmed.
 * @property prefillTokensPerSecond Prompt tokens per second of the target's prefill; 0 without prefill.
 * @property decodeTokensPerSecond Tokens per second after the first round; 0 if there was no second.
 * @property rounds Rounds, each with one pass of the target.
 * @property drafted Tokens drafted, those that the target was not asked about included.
 * @property proposed Drafted tokens that the target was asked about.
 * @property accepted Drafted tokens that were accepted.
 * @property acceptanceRate [accepted] / [proposed]; 0 if nothing was drafted.
 * @property positions Per draft position, up to the longest draft.
 * @property tokensPerTargetCall Tokens confirmed per pass of the target, those after the end token included.
 * @property time Where the time went.
 * @property cacheBytes Bytes of both caches when full.
 * @property targetNodes Nodes of the target's graph by execution provider (ONNX Runtime's names), as they really ran.
 * @property drafterNodes The same of the drafter's; empty where no model drafts.
 * @property draftLengths How many rounds drafted so many tokens.
 * @property passthroughRounds Rounds that drafted nothing.
 * @property passthrough The last reason for that, if it was so in at least half of the rounds.
 * @property seed Seed of the random source.
 * @property lossless True if the output has the target's own distribution.
 */
public data class Account(
    val stopReason: StopReason,
    val promptTokens: Long = 0,
    val promptTokensKept: Long = 0,
    val tokens: Long = 0,
    val ttftMs: Double = 0.0,
    val interTokenMs: Percentiles = Percentiles(),
    val prefillTokensPerSecond: Double = 0.0,
    val decodeTokensPerSecond: Double = 0.0,
    val rounds: Long = 0,
    val drafted: Long = 0,
    val proposed: Long = 0,
    val accepted: Long = 0,
    val acceptanceRate: Double = 0.0,
    val positions: List<PositionCount> = emptyList(),
    val tokensPerTargetCall: Double = 0.0,
    val time: TimeSpent = TimeSpent(),
    val cacheBytes: Long = 0,
    val targetNodes: Map<String, Long> = emptyMap(),
    val drafterNodes: Map<String, Long> = emptyMap(),
    val draftLengths: Map<Long, Long> = emptyMap(),
    val passthroughRounds: Long = 0,
    val passthrough: Passthrough? = null,
    val seed: ULong = 0u,
    val lossless: Boolean = true,
)

/**
 * Order statistics by nearest rank, in milliseconds; all 0 if there was nothing to rank.
 *
 * @property p50 Half are no greater.
 * @property p90 Nine in ten are no greater.
 * @property p99 99 in a hundred are no greater.
 * @property max The greatest.
 */
public data class Percentiles(
    val p50: Double = 0.0,
    val p90: Double = 0.0,
    val p99: Double = 0.0,
    val max: Double = 0.0,
)

/**
 * What became of the tokens at one place of the draft.
 *
 * @property proposed Drafted tokens there that the target was asked about.
 * @property accepted Of these, accepted.
 */
public data class PositionCount(val proposed: Long, val accepted: Long)

/**
 * Where a generation's time went, in milliseconds; the parts sum to the total.
 *
 * @property totalMs From the start to the end.
 * @property prefillMs Both models' passes over the prompt.
 * @property draftMs The drafter's passes of the rounds.
 * @property scoreMs The target's passes over anchor and draft.
 * @property acceptMs Verification and truncation.
 * @property otherMs Everything else: text and events. What the collector does between two events counts nowhere.
 */
public data class TimeSpent(
    val totalMs: Double = 0.0,
    val prefillMs: Double = 0.0,
    val draftMs: Double = 0.0,
    val scoreMs: Double = 0.0,
    val acceptMs: Double = 0.0,
    val otherMs: Double = 0.0,
)

/**
 * Why rounds drafted nothing.
 *
 * @property cause The reason.
 * @property text The same in words, with its numbers.
 */
public data class Passthrough(val cause: PassthroughCause, val text: String)

/** Why a round drafts nothing. */
public enum class PassthroughCause {
    /** A draft length of 0 was asked for. */
    OFF,

    /** The session has no drafter. */
    NO_DRAFTER,

    /** The target returns logits for the last token only, so that proposals cannot be checked. */
    LAST_ROW_ONLY,

    /** The drafter has nothing to propose here. */
    NOTHING_TO_PROPOSE,

    /** One token is left of the tokens allowed or of the context. */
    ONE_TOKEN_LEFT,

    /** Drafting would cost more time than the accepted tokens save. */
    DOES_NOT_PAY,

    /** Drafts of late cost more than they saved. */
    TOO_MANY_REJECTIONS,
}
