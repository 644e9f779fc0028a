/// What a generation tells while it runs.
public enum GenerationEvent: Sendable, Hashable {
    /// Part of the prompt is in the cache: `done` of `total` tokens, those kept from the last turn included.
    case prefill(done: Int, total: Int)
    /// A round has confirmed tokens.
    case tokens(Chunk)
    /// The generation has ended; nothing follows.
    case finished(Account)

    /// The text that this event adds, if any.
    public var text: String? {
        if case .tokens(let chunk) = self { chunk.text } else { nil }
    }
}

/// The tokens that a round confirmed and the text that can be shown by now.
///
/// Text lags behind tokens while a character is incomplete or a stop text may still match.
public struct Chunk: Sendable, Hashable, Codable {
    /// Whole characters, to be appended to what came before.
    public var text: String
    /// The tokens of this round, a stop token included; it has no text.
    public var tokens: [Token]

    /// A chunk, for fakes and tests.
    public init(text: String, tokens: [Token]) {
        self.text = text
        self.tokens = tokens
    }
}

/// A confirmed token.
public struct Token: Sendable, Hashable, Codable {
    /// Id in the target's vocabulary.
    public var id: TokenID
    /// True if the drafter proposed it, false if the target supplied it.
    public var drafted: Bool
    /// UTF-8 bytes of the chunk's text that were ready after this token.
    public var textEnd: Int

    /// A token, for fakes and tests.
    public init(id: TokenID, drafted: Bool, textEnd: Int) {
        self.id = id
        self.drafted = drafted
        self.textEnd = textEnd
    }
}

/// A whole answer.
public struct Response: Sendable, Hashable {
    /// The text.
    public var text: String
    /// What it took.
    public var account: Account

    /// An answer, for fakes and tests.
    public init(text: String, account: Account) {
        self.text = text
        self.account = account
    }
}
