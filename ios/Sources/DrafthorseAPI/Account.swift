/// What a generation did, and what it took.
public struct Account: Sendable, Hashable {
    /// Why it ended.
    public var stopReason: StopReason
    /// Tokens of the prompt.
    public var promptTokens: Int
    /// Of these, tokens that were in the cache from the last turn.
    public var promptTokensKept: Int
    /// Tokens emitted.
    public var tokens: Int
    /// From the start to the first token, preparation included; 0 if there was none.
    public var ttftMs: Double
    /// Times between tokens: a round's time is shared evenly by the tokens it confirmed.
    public var interTokenMs: Percentiles
    /// Prompt tokens per second of the target's prefill; 0 without prefill.
    public var prefillTokensPerSecond: Double
    /// Tokens per second after the first round; 0 if there was no second.
    public var decodeTokensPerSecond: Double
    /// Rounds, each with one pass of the target.
    public var rounds: Int
    /// Tokens drafted, those that the target was not asked about included.
    public var drafted: Int
    /// Drafted tokens that the target was asked about.
    public var proposed: Int
    /// Drafted tokens that were accepted.
    public var accepted: Int
    /// `accepted / proposed`; 0 if nothing was drafted.
    public var acceptanceRate: Double
    /// Per draft position, up to the longest draft.
    public var positions: [PositionCount]
    /// Tokens confirmed per pass of the target (block efficiency).
    public var tokensPerTargetCall: Double
    /// Where the time went.
    public var time: TimeSpent
    /// Bytes of both caches when full.
    public var cacheBytes: Int
    /// Nodes of the target's graph by execution provider (ONNX Runtime's names), as they really ran.
    public var targetNodes: [String: Int]
    /// The same of the drafter's; empty where no model drafts.
    public var drafterNodes: [String: Int]
    /// How many rounds drafted so many tokens.
    public var draftLengths: [DraftLengthCount]
    /// Rounds that drafted nothing.
    public var passthroughRounds: Int
    /// The last reason for that, if it was so in at least half of the rounds.
    public var passthrough: Passthrough?
    /// The same reason in words, in English.
    public var passthroughText: String?
    /// Seed of the random source.
    public var seed: UInt64
    /// True if the output has the target's own distribution.
    public var isLossless: Bool

    /// An account, for fakes and tests.
    public init(
        stopReason: StopReason,
        promptTokens: Int = 0,
        promptTokensKept: Int = 0,
        tokens: Int = 0,
        ttftMs: Double = 0,
        interTokenMs: Percentiles = Percentiles(),
        prefillTokensPerSecond: Double = 0,
        decodeTokensPerSecond: Double = 0,
        rounds: Int = 0,
        drafted: Int = 0,
        proposed: Int = 0,
        accepted: Int = 0,
        acceptanceRate: Double = 0,
        positions: [PositionCount] = [],
        tokensPerTargetCall: Double = 0,
        time: TimeSpent = TimeSpent(),
        cacheBytes: Int = 0,
        targetNodes: [String: Int] = [:],
        drafterNodes: [String: Int] = [:],
        draftLengths: [DraftLengthCount] = [],
        passthroughRounds: Int = 0,
        passthrough: Passthrough? = nil,
        passthroughText: String? = nil,
        seed: UInt64 = 0,
        isLossless: Bool = true
    ) {
        self.stopReason = stopReason
        self.promptTokens = promptTokens
        self.promptTokensKept = promptTokensKept
        self.tokens = tokens
        self.ttftMs = ttftMs
        self.interTokenMs = interTokenMs
        self.prefillTokensPerSecond = prefillTokensPerSecond
        self.decodeTokensPerSecond = decodeTokensPerSecond
        self.rounds = rounds
        self.drafted = drafted
        self.proposed = proposed
        self.accepted = accepted
        self.acceptanceRate = acceptanceRate
        self.positions = positions
        self.tokensPerTargetCall = tokensPerTargetCall
        self.time = time
        self.cacheBytes = cacheBytes
        self.targetNodes = targetNodes
        self.drafterNodes = drafterNodes
        self.draftLengths = draftLengths
        self.passthroughRounds = passthroughRounds
        self.passthrough = passthrough
        self.passthroughText = passthroughText
        self.seed = seed
        self.isLossless = isLossless
    }
}

/// Why a generation ended.
public enum StopReason: String, Sendable, Hashable, CaseIterable {
    /// The model emitted an end token.
    case stopToken = "STOP_TOKEN"
    /// The text reached one of the stop texts.
    case stopSequence = "STOP_SEQUENCE"
    /// As many tokens as asked for.
    case maxTokens = "MAX_TOKENS"
    /// The context holds no more.
    case contextFull = "CONTEXT_FULL"
    /// The caller cancelled.
    case cancelled = "CANCELLED"
}

/// A distribution of times, in milliseconds.
public struct Percentiles: Sendable, Hashable {
    /// Half of the values are at most this.
    public var p50: Double
    /// Nine in ten are at most this.
    public var p90: Double
    /// Ninety-nine in a hundred are at most this.
    public var p99: Double
    /// The largest.
    public var max: Double

    /// Percentiles, for fakes and tests.
    public init(p50: Double = 0, p90: Double = 0, p99: Double = 0, max: Double = 0) {
        self.p50 = p50
        self.p90 = p90
        self.p99 = p99
        self.max = max
    }
}

/// What became of the tokens at one place of the draft.
public struct PositionCount: Sendable, Hashable {
    /// Drafted tokens there that the target was asked about.
    public var proposed: Int
    /// Of these, accepted.
    public var accepted: Int

    /// A count, for fakes and tests.
    public init(proposed: Int, accepted: Int) {
        self.proposed = proposed
        self.accepted = accepted
    }
}

/// How many rounds drafted so many tokens.
public struct DraftLengthCount: Sendable, Hashable {
    /// Tokens drafted.
    public var tokens: Int
    /// Rounds that drafted so many.
    public var rounds: Int

    /// A count, for fakes and tests.
    public init(tokens: Int, rounds: Int) {
        self.tokens = tokens
        self.rounds = rounds
    }
}

/// Why a round drafts nothing.
public enum Passthrough: Sendable, Hashable {
    /// A draft length of 0 was asked for.
    case off
    /// The session has no drafter.
    case noDrafter
    /// The target returns logits for the last token only, so that proposals cannot be checked.
    case lastRowOnly
    /// The drafter has nothing to propose here.
    case nothingToPropose
    /// One token is left of the tokens allowed or of the context.
    case oneTokenLeft
    /// Drafting would cost more time than the accepted tokens save: the estimated chance that the first drafted token
    /// is accepted, and the time of drafting and checking it as a share of a plain step.
    case doesNotPay(acceptance: Double, cost: Double)
    /// Drafts of late cost more than they saved.
    case tooManyRejections
}

/// Where a generation's time went, in milliseconds; the parts sum to the total.
public struct TimeSpent: Sendable, Hashable {
    /// From the start to the end.
    public var totalMs: Double
    /// Both models' passes over the prompt.
    public var prefillMs: Double
    /// The drafter's passes of the rounds.
    public var draftMs: Double
    /// The target's passes over anchor and draft.
    public var scoreMs: Double
    /// Verification and truncation.
    public var acceptMs: Double
    /// Everything else: text and events. What the caller does between two events counts nowhere.
    public var otherMs: Double

    /// Times, for fakes and tests.
    public init(
        totalMs: Double = 0, prefillMs: Double = 0, draftMs: Double = 0, scoreMs: Double = 0, acceptMs: Double = 0,
        otherMs: Double = 0
    ) {
        self.totalMs = totalMs
        self.prefillMs = prefillMs
        self.draftMs = draftMs
        self.scoreMs = scoreMs
        self.acceptMs = acceptMs
        self.otherMs = otherMs
    }
}
