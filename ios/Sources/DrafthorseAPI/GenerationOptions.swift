/// What is asked of one generation. Absent values take the pack's defaults, then the library's.
///
/// Values are checked when the generation starts; one out of its range is ``EngineError/invalidOptions(_:)``.
public struct GenerationOptions: Sendable, Hashable {
    /// Most tokens to emit; default: what the context still holds.
    public var maxTokens: Int?
    /// Fewest tokens before a stop token is allowed; default 0.
    public var minTokens: Int?
    /// 0 is greedy; default 0 unless the pack says to sample.
    public var temperature: Float?
    /// Keep the k likeliest tokens; 0 keeps all.
    public var topK: Int?
    /// Keep the likeliest tokens until their probability reaches this, in (0, 1]; 1 keeps all.
    public var topP: Float?
    /// Drop tokens less likely than this share of the likeliest one, in [0, 1]; 0 keeps all.
    public var minP: Float?
    /// Divides (positive) or multiplies (negative) the logits of tokens already seen; 1 is off.
    public var repetitionPenalty: Float?
    /// Subtracted from a logit once per earlier occurrence in the output; 0 is off.
    public var frequencyPenalty: Float?
    /// Subtracted from a logit if the token occurred in the output; 0 is off.
    public var presencePenalty: Float?
    /// Added to the logits of single tokens.
    public var logitBias: [TokenID: Float]
    /// Seed of the random source; default: drawn, and reported in the account. It brings a sampled text back with
    /// ``Verification/seedCoupled`` or a fixed draft length; adaptive lengths follow the clock.
    public var seed: UInt64?
    /// Texts that end the generation; they are not part of the output.
    public var stop: [String]
    /// How proposals are checked; default: greedy at temperature 0, block otherwise.
    public var verification: Verification?
    /// How many tokens are drafted in a round; default adaptive.
    public var draftLength: DraftLength?
    /// What the output must look like; default anything.
    public var constraint: Constraint?

    /// Options; everything that is not named keeps its default.
    public init(
        maxTokens: Int? = nil,
        minTokens: Int? = nil,
        temperature: Float? = nil,
        topK: Int? = nil,
        topP: Float? = nil,
        minP: Float? = nil,
        repetitionPenalty: Float? = nil,
        frequencyPenalty: Float? = nil,
        presencePenalty: Float? = nil,
        logitBias: [TokenID: Float] = [:],
        seed: UInt64? = nil,
        stop: [String] = [],
        verification: Verification? = nil,
        draftLength: DraftLength? = nil,
        constraint: Constraint? = nil
    ) {
        self.maxTokens = maxTokens
        self.minTokens = minTokens
        self.temperature = temperature
        self.topK = topK
        self.topP = topP
        self.minP = minP
        self.repetitionPenalty = repetitionPenalty
        self.frequencyPenalty = frequencyPenalty
        self.presencePenalty = presencePenalty
        self.logitBias = logitBias
        self.seed = seed
        self.stop = stop
        self.verification = verification
        self.draftLength = draftLength
        self.constraint = constraint
    }
}

/// How a proposal is checked against the target.
public enum Verification: Sendable, Hashable {
    /// Token by token, exact.
    case token
    /// The whole block at once, exact and never shorter than `token`.
    case block
    /// The text of plain sampling with the same seed, whatever the drafter.
    case seedCoupled
    /// Accepts more than the target would: **not lossless**, and labelled so in the account.
    case lenient(Lenience)
}

/// How much more than the target a lenient verification accepts; ε in (0, 1], 1 is lossless.
public enum Lenience: Sendable, Hashable {
    /// Accept with min(1, (p/ε) / q).
    case linear(Double)
    /// Accept with min(1, (p/ε²) / q).
    case square(Double)
    /// Accept with min(1, p^ε / q).
    case exponential(Double)
}

/// How many tokens are drafted in a round.
public enum DraftLength: Sendable, Hashable {
    /// Always this many where limits allow; 0 turns speculation off.
    case fixed(Int)
    /// Chosen before every round from measured costs and observed acceptance, at most this many.
    case adaptive(max: Int)
}

/// What the output must look like. Drafts obey it too.
public enum Constraint: Sendable, Hashable {
    /// A JSON document that fits this JSON schema.
    case jsonSchema(String)
    /// A text that this regular expression matches as a whole.
    case regex(String)
    /// A text of this Lark grammar.
    case lark(String)
}
