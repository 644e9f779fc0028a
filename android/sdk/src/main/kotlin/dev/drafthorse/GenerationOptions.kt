package dev.drafthorse

/**
 * What is asked of one generation. What is left out takes the pack's defaults, then the library's.
 *
 * @property maxTokens Most tokens to emit; otherwise what the context still holds.
 * @property minTokens Fewest tokens before a stop token is allowed; otherwise 0.
 * @property temperature 0 takes the likeliest token each time; otherwise 0 unless the pack says to sample.
 * @property topK Keep the k likeliest tokens; 0 keeps all.
 * @property topP Keep the likeliest tokens until their probability reaches this, in (0, 1]; 1 keeps all.
 * @property minP Drop tokens less likely than this share of the likeliest one, in [0, 1]; 0 keeps all.
 * @property repetitionPenalty Makes tokens already seen less likely; 1 is off.
 * @property frequencyPenalty Subtracted from a logit once per earlier occurrence in the output; 0 is off.
 * @property presencePenalty Subtracted from a logit if the token occurred in the output; 0 is off.
 * @property logitBias Added to the logits of single tokens, by token id.
 * @property seed Seed of the random source; otherwise drawn, and reported in the account. It brings a sampled text back with
 *   [Verification.SeedCoupled] or a fixed draft length; adaptive lengths follow the clock.
 * @property stop Texts that end the generation; they are not part of the output.
 * @property verification How proposals are checked; otherwise [Verification.Block].
 * @property draftLength How many tokens are drafted in a round; otherwise adaptive.
 * @property constraint What the output must look like; otherwise anything.
 */
public data class GenerationOptions(
    val maxTokens: Int? = null,
    val minTokens: Int? = null,
    val temperature: Float? = null,
    val topK: Int? = null,
    val topP: Float? = null,
    val minP: Float? = null,
    val repetitionPenalty: Float? = null,
    val frequencyPenalty: Float? = null,
    val presencePenalty: Float? = null,
    val logitBias: Map<Int, Float> = emptyMap(),
    val seed: ULong? = null,
    val stop: List<String> = emptyList(),
    val verification: Verification? = null,
    val draftLength: DraftLength? = null,
    val constraint: Constraint? = null,
)

/** How many tokens are drafted in a round, at most 16. */
public sealed interface DraftLength {
    /**
     * Chosen before every round from measured costs and observed acceptance; 0 is a choice.
     *
     * @property maxDraftTokens Most tokens to draft.
     */
    public data class Adaptive(val maxDraftTokens: Int) : DraftLength

    /**
     * Always the same where limits allow; 0 turns speculation off.
     *
     * @property draftTokens Tokens to draft.
     */
    public data class Fixed(val draftTokens: Int) : DraftLength
}

/** How a proposal is checked against the target. */
public sealed interface Verification {
    /** Token by token, exact. */
    public data object Token : Verification

    /** The whole block at once, exact and never shorter than [Token]. */
    public data object Block : Verification

    /** The text of plain sampling with the same seed, whatever the drafter. */
    public data object SeedCoupled : Verification

    /**
     * Accepts more than the target would: **not lossless**, and labelled so in the account.
     *
     * @property form The formula.
     * @property epsilon In (0, 1]; 1 is lossless.
     */
    public data class Lenient(val form: Lenience, val epsilon: Double) : Verification
}

/** The formula of a lenient verification, where p is the target's probability and q the drafter's. */
public enum class Lenience {
    /** Accept with min(1, (p/ε) / q). */
    LINEAR,

    /** Accept with min(1, (p/ε²) / q). */
    SQUARE,

    /** Accept with min(1, p^ε / q). */
    EXPONENTIAL,
}

/** What the output must look like. Drafts obey it too. */
public sealed interface Constraint {
    /**
     * A JSON document that fits a JSON schema.
     *
     * @property schema The schema, as JSON.
     */
    public data class JsonSchema(val schema: String) : Constraint

    /**
     * A text that a regular expression matches as a whole.
     *
     * @property pattern The expression.
     */
    public data class Regex(val pattern: String) : Constraint

    /**
     * A text of a Lark grammar.
     *
     * @property grammar The grammar.
     */
    public data class Lark(val grammar: String) : Constraint
}
