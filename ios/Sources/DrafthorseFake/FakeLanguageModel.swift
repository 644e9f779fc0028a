@_exported import DrafthorseAPI

/// A language model without a model, for an app's tests and previews: it answers with the texts that it was given.
///
/// It behaves at its border as the engine does: events come when they are asked for, a second generation on a busy
/// session fails, cancelling ends with ``StopReason/cancelled``, everything fails after closing. It links no native code.
///
/// ```swift
/// let model = FakeLanguageModel(replies: ["Hello there.", "Goodbye."])
/// let viewModel = ChatModel(model: model)
/// ```
public final class FakeLanguageModel: TextModel {
    private let shared: FakeState

    /// A model that gives these answers one after another, and the last one ever after.
    ///
    /// - Parameters:
    ///   - replies: At least one answer.
    ///   - tokenDelay: Time that a token takes.
    public convenience init(replies: [String], tokenDelay: Duration = .zero) {
        precondition(!replies.isEmpty, "a fake model needs an answer to give")
        let next = Locked(0)
        self.init(tokenDelay: tokenDelay) { _, _ in
            next.withLock { index in
                defer { index += 1 }
                return replies[min(index, replies.count - 1)]
            }
        }
    }

    /// A model whose answers a function makes.
    ///
    /// - Parameters:
    ///   - tokenDelay: Time that a token takes.
    ///   - reply: The answer to a prompt; what it throws is thrown by the generation before any token.
    public init(
        tokenDelay: Duration = .zero, reply: @escaping @Sendable (Prompt, GenerationOptions) throws -> String
    ) {
        shared = FakeState(tokenDelay: tokenDelay, reply: reply)
    }

    /// Every prompt that was generated from so far, on any session.
    public var prompts: [Prompt] { shared.prompts }

    /// Starts a conversation; the options are ignored.
    ///
    /// - Throws: `EngineError.closed`.
    public func session(_ options: SessionOptions) async throws -> some TextSession {
        try shared.checkOpen()
        return FakeSession(model: shared)
    }

    /// Ends every session. May be called any number of times.
    public func close() async {
        shared.close()
    }
}

/// What the sessions of a fake model share.
final class FakeState: Sendable {
    let tokenDelay: Duration
    private let reply: @Sendable (Prompt, GenerationOptions) throws -> String
    private let noted = Locked<(prompts: [Prompt], isClosed: Bool, sessions: [WeakSession])>(([], false, []))

    struct WeakSession {
        weak var session: FakeSession?
    }

    init(tokenDelay: Duration, reply: @escaping @Sendable (Prompt, GenerationOptions) throws -> String) {
        self.tokenDelay = tokenDelay
        self.reply = reply
    }

    var prompts: [Prompt] { noted.withLock { $0.prompts } }

    func add(_ session: FakeSession) {
        noted.withLock { $0.sessions.append(WeakSession(session: session)) }
    }

    func answer(_ prompt: Prompt, _ options: GenerationOptions) throws -> String {
        noted.withLock { $0.prompts.append(prompt) }
        return try reply(prompt, options)
    }

    func checkOpen() throws {
        if noted.withLock({ $0.isClosed }) { throw EngineError.closed("the model was closed") }
    }

    func close() {
        let sessions = noted.withLock { noted in
            noted.isClosed = true
            return noted.sessions
        }
        for weak in sessions {
            weak.session?.end()
        }
    }
}
