/// A model that starts conversations: the engine, or a fake in an app's tests.
///
/// Named apart from the `LanguageModel` of Apple's FoundationModels, so that one file can import both.
public protocol TextModel: Sendable {
    /// A conversation with this model.
    associatedtype Session: TextSession

    /// Starts a conversation with caches of its own.
    ///
    /// - Throws: ``EngineError/outOfMemoryBudget(_:)``, ``EngineError/invalidOptions(_:)`` if drafts are asked for that
    ///   the pack cannot make, ``EngineError/closed(_:)``.
    func session(_ options: SessionOptions) async throws -> Session

    /// Ends what runs, waits for it, and gives the memory back. May be called any number of times.
    func close() async
}

extension TextModel {
    /// Starts a conversation with default options.
    public func session() async throws -> Session {
        try await session(SessionOptions())
    }
}

/// A conversation. One generation runs at a time; a second one fails with ``EngineError/sessionBusy(_:)``.
public protocol TextSession: Sendable {
    /// Generates after `prompt`. Nothing runs before the first event is asked for, and nothing runs ahead of the
    /// consumer: a slow one stops the loop.
    ///
    /// What the prompt shares with the session's last tokens is not computed again. Cancelling the consuming task ends
    /// the stream once the model is idle, within one forward pass; leaving the loop ends the generation as well. Either
    /// way the session stays usable.
    ///
    /// - Note: A stream that is kept in a variable after its loop was left keeps the session busy; let go of it, or
    ///   call ``cancel()``.
    /// - Returns: Events, the last of which is ``GenerationEvent/finished(_:)``; it throws ``EngineError``.
    func generate(_ prompt: Prompt, options: GenerationOptions) -> AsyncThrowingStream<GenerationEvent, any Error>

    /// Ends the running generation, if any: its stream ends with stop reason ``StopReason/cancelled``.
    func cancel()

    /// The confirmed tokens, prompt and output.
    ///
    /// - Throws: ``EngineError/sessionBusy(_:)`` if a generation runs, ``EngineError/closed(_:)``.
    func tokens() async throws -> [TokenID]

    /// Forgets every token from position `tokenCount` on.
    ///
    /// - Throws: ``EngineError/sessionBusy(_:)`` if a generation runs, ``EngineError/closed(_:)``.
    func rewind(to tokenCount: Int) async throws

    /// Forgets everything.
    ///
    /// - Throws: ``EngineError/sessionBusy(_:)`` if a generation runs, ``EngineError/closed(_:)``.
    func reset() async throws

    /// Ends what runs, waits for it, and gives the memory back. May be called any number of times.
    func close() async
}

extension TextSession {
    /// Generates after `prompt` with default options.
    public func generate(_ prompt: Prompt) -> AsyncThrowingStream<GenerationEvent, any Error> {
        generate(prompt, options: GenerationOptions())
    }

    /// Generates after a text.
    public func generate(
        _ text: String, options: GenerationOptions = GenerationOptions()
    ) -> AsyncThrowingStream<GenerationEvent, any Error> {
        generate(.text(text), options: options)
    }

    /// Generates after a conversation, oldest message first.
    public func generate(
        _ messages: [Message], options: GenerationOptions = GenerationOptions()
    ) -> AsyncThrowingStream<GenerationEvent, any Error> {
        generate(.messages(messages), options: options)
    }

    /// Generates after `prompt` and returns the whole answer.
    ///
    /// - Throws: ``EngineError``; `CancellationError` if the task is cancelled, once the model is idle.
    public func respond(
        to prompt: Prompt, options: GenerationOptions = GenerationOptions()
    ) async throws -> Response {
        var text = ""
        for try await event in generate(prompt, options: options) {
            switch event {
            case .prefill: break
            case .tokens(let chunk): text += chunk.text
            case .finished(let account):
                try Task.checkCancellation()
                return Response(text: text, account: account)
            }
        }
        throw CancellationError()
    }

    /// Generates after a text and returns the whole answer.
    ///
    /// - Throws: As ``respond(to:options:)-(Prompt,_)``.
    public func respond(
        to text: String, options: GenerationOptions = GenerationOptions()
    ) async throws -> Response {
        try await respond(to: .text(text), options: options)
    }

    /// Generates after a conversation, oldest message first, and returns the whole answer.
    ///
    /// - Throws: As ``respond(to:options:)-(Prompt,_)``.
    public func respond(
        to messages: [Message], options: GenerationOptions = GenerationOptions()
    ) async throws -> Response {
        try await respond(to: .messages(messages), options: options)
    }

    /// Computes `prompt` ahead of time, so that a generation whose prompt begins like it starts sooner.
    ///
    /// - Throws: As ``respond(to:options:)-(Prompt,_)``.
    public func prewarm(_ prompt: Prompt) async throws {
        _ = try await respond(to: prompt, options: GenerationOptions(maxTokens: 1))
    }
}
