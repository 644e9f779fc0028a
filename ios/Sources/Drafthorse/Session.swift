import DrafthorseAPI

/// A conversation with caches of its own; weights are shared with the engine's other sessions.
///
/// Everything may be called from any thread. One generation runs at a time; a second one fails with
/// ``DrafthorseAPI/EngineError/sessionBusy(_:)``.
public final class Session: TextSession {
    private let native: NativeSession
    private let runs = GenerationRuns()

    init(_ native: NativeSession) {
        self.native = native
    }

    /// Generates after `prompt`. Nothing runs before the first event is asked for, and nothing runs ahead of the
    /// consumer.
    ///
    /// What the prompt shares with the session's last tokens is not computed again. Cancelling the consuming task ends
    /// the stream once the model is idle, within one forward pass; leaving the loop ends the generation as well.
    ///
    /// - Returns: Events, the last of which is the account. It throws ``DrafthorseAPI/EngineError``:
    ///   ``DrafthorseAPI/EngineError/sessionBusy(_:)``, ``DrafthorseAPI/EngineError/invalidOptions(_:)``,
    ///   ``DrafthorseAPI/EngineError/contextFull(_:)``, ``DrafthorseAPI/EngineError/chatTemplate(_:)``,
    ///   ``DrafthorseAPI/EngineError/constraint(_:)``, ``DrafthorseAPI/EngineError/closed(_:)``, or what the model fails
    ///   with while it runs.
    public func generate(
        _ prompt: Prompt, options: GenerationOptions
    ) -> AsyncThrowingStream<GenerationEvent, any Error> {
        runs.stream { [native] in
            try rethrowing {
                let options = try NativeGenerationOptions(options)
                return RunningGeneration(try native.generate(prompt: NativePrompt(prompt), options: options))
            }
        }
    }

    /// Ends the running generation, if any: its stream ends with stop reason `cancelled`.
    public func cancel() {
        runs.cancel()
    }

    /// The confirmed tokens, prompt and output.
    ///
    /// - Throws: `EngineError.sessionBusy` if a generation runs, `EngineError.closed`.
    public func tokens() async throws -> [TokenID] {
        try await onOwnThread { [native] in try rethrowing { try native.tokens() } }
    }

    /// Forgets every token from position `tokenCount` on.
    ///
    /// - Throws: `EngineError.sessionBusy` if a generation runs, `EngineError.closed`.
    public func rewind(to tokenCount: Int) async throws {
        try await onOwnThread { [native] in
            try rethrowing { try native.rewind(tokenCount: count("tokenCount", of: tokenCount)) }
        }
    }

    /// Forgets everything.
    ///
    /// - Throws: `EngineError.sessionBusy` if a generation runs, `EngineError.closed`.
    public func reset() async throws {
        try await onOwnThread { [native] in try rethrowing { try native.reset() } }
    }

    /// Cancels what runs, waits until nothing does, and frees the caches. May be called any number of times.
    public func close() async {
        try? await onOwnThread { [native] in native.release() }
    }
}

/// The native generation in the words of the stream.
final class RunningGeneration: BlockingGeneration {
    private let native: NativeGeneration

    init(_ native: NativeGeneration) {
        self.native = native
    }

    func next() throws -> GenerationEvent? {
        try rethrowing { try native.next().map(GenerationEvent.init) }
    }

    func cancel() {
        native.cancel()
    }

    func close() {
        native.release()
    }
}
