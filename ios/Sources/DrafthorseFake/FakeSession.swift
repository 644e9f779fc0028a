import Foundation

/// A conversation with a ``FakeLanguageModel``.
final class FakeSession: TextSession {
    private let model: FakeState
    private let runs = GenerationRuns()
    private let state = Locked(State())

    private struct State {
        var tokens: [TokenID] = []
        var isBusy = false
        var isClosed = false
    }

    init(model: FakeState) {
        self.model = model
        model.add(self)
    }

    func generate(_ prompt: Prompt, options: GenerationOptions) -> AsyncThrowingStream<GenerationEvent, any Error> {
        runs.stream { [self] in
            try hold()
            do {
                let reply = try model.answer(prompt, options)
                let script = FakeScript(prompt: prompt, reply: reply, options: options)
                state.withLock { $0.tokens = script.promptTokens }
                return FakeGeneration(script, delay: model.tokenDelay, session: self)
            } catch {
                release()
                throw error
            }
        }
    }

    func cancel() { runs.cancel() }

    func tokens() async throws -> [TokenID] {
        try idle { $0.tokens }
    }

    func rewind(to tokenCount: Int) async throws {
        try idle { state in
            guard (0...state.tokens.count).contains(tokenCount) else {
                throw EngineError.invalidOptions("rewind to \(tokenCount) of \(state.tokens.count) tokens")
            }
            state.tokens.removeSubrange(tokenCount...)
        }
    }

    func reset() async throws { try await rewind(to: 0) }

    func close() async { end() }

    /// Closes without waiting: a fake has nothing to wait for.
    func end() {
        state.withLock { $0.isClosed = true }
        runs.cancel()
    }

    func confirm(_ token: TokenID) {
        state.withLock { $0.tokens.append(token) }
    }

    func release() {
        state.withLock { $0.isBusy = false }
    }

    private func hold() throws {
        try idle { $0.isBusy = true }
    }

    private func idle<Value>(_ body: (inout State) throws -> Value) throws -> Value {
        try model.checkOpen()
        return try state.withLock { state in
            if state.isClosed { throw EngineError.closed("the session was closed") }
            if state.isBusy { throw EngineError.sessionBusy("another generation runs on this session") }
            return try body(&state)
        }
    }
}

/// What a fake generation will say: one token per word.
struct FakeScript: Sendable {
    let promptTokens: [TokenID]
    let pieces: [String]
    let stopReason: StopReason
    let seed: UInt64

    init(prompt: Prompt, reply: String, options: GenerationOptions) {
        promptTokens =
            switch prompt {
            case .text(let text): Self.tokens(of: Self.pieces(of: text))
            case .messages(let messages, _): Self.tokens(of: messages.flatMap { Self.pieces(of: $0.content ?? "") })
            case .tokens(let tokens): tokens
            }
        var text = reply
        var reason = StopReason.stopToken
        if let end = options.stop.compactMap({ reply.range(of: $0)?.lowerBound }).min() {
            text = String(reply[..<end])
            reason = .stopSequence
        }
        var pieces = Self.pieces(of: text)
        if let limit = options.maxTokens, limit < pieces.count {
            pieces.removeSubrange(max(limit, 0)...)
            reason = .maxTokens
        }
        self.pieces = pieces
        stopReason = reason
        seed = options.seed ?? 0
    }

    /// Words, each with the spaces before it.
    static func pieces(of text: String) -> [String] {
        var pieces: [String] = []
        for character in text {
            let startsPiece = character.isWhitespace && pieces.last?.last?.isWhitespace != true
            if pieces.isEmpty || startsPiece {
                pieces.append(String(character))
            } else {
                pieces[pieces.count - 1].append(character)
            }
        }
        return pieces
    }

    /// Stable ids: the same word is the same token.
    static func tokens(of pieces: [String]) -> [TokenID] {
        pieces.map { piece in
            piece.utf8.reduce(TokenID(2_166_136_261)) { ($0 ^ TokenID($1)) &* 16_777_619 } % 32_000
        }
    }
}

/// A generation that plays a script.
private final class FakeGeneration: BlockingGeneration, @unchecked Sendable {
    private let script: FakeScript
    private let delay: Duration
    private let session: FakeSession
    private let start = ContinuousClock.now
    private let condition = NSCondition()
    private var isCancelled = false
    private var isClosed = false
    /// Touched only by `next`, which is never called twice at once.
    private var hasPrefilled = false
    private var emitted = 0
    private var hasEnded = false

    init(_ script: FakeScript, delay: Duration, session: FakeSession) {
        self.script = script
        self.delay = delay
        self.session = session
    }

    func next() throws -> GenerationEvent? {
        if hasEnded { return nil }
        if !hasPrefilled {
            hasPrefilled = true
            return .prefill(done: script.promptTokens.count, total: script.promptTokens.count)
        }
        if emitted < script.pieces.count, waitForToken() {
            let piece = script.pieces[emitted]
            let id = FakeScript.tokens(of: [piece])[0]
            emitted += 1
            session.confirm(id)
            let token = Token(id: id, drafted: false, textEnd: piece.utf8.count)
            return .tokens(Chunk(text: piece, tokens: [token]))
        }
        hasEnded = true
        let reason = emitted < script.pieces.count ? .cancelled : script.stopReason
        return .finished(account(reason))
    }

    func cancel() {
        condition.withLock {
            isCancelled = true
            condition.broadcast()
        }
    }

    func close() {
        cancel()
        let first = condition.withLock {
            defer { isClosed = true }
            return !isClosed
        }
        if first { session.release() }
    }

    /// Returns false if the generation was cancelled.
    private func waitForToken() -> Bool {
        let (seconds, attoseconds) = delay.components
        let end = Date(timeIntervalSinceNow: Double(seconds) + Double(attoseconds) * 1e-18)
        return condition.withLock {
            while !isCancelled, delay > .zero, condition.wait(until: end) {}
            return !isCancelled
        }
    }

    private func account(_ reason: StopReason) -> Account {
        let (seconds, attoseconds) = (ContinuousClock.now - start).components
        let total = Double(seconds) * 1e3 + Double(attoseconds) * 1e-15
        return Account(
            stopReason: reason, promptTokens: script.promptTokens.count, tokens: emitted,
            decodeTokensPerSecond: total > 0 ? Double(emitted) / total * 1e3 : 0, rounds: emitted,
            tokensPerTargetCall: emitted > 0 ? 1 : 0, time: TimeSpent(totalMs: total, otherMs: total), seed: script.seed)
    }
}
