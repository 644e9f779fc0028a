#if canImport(FoundationModels)
import Drafthorse
import Foundation
import FoundationModels

/// A pack as a model of Apple's FoundationModels, for `LanguageModelSession(model:)`.
///
/// Text only: tools, schemas and reasoning are not offered, so the framework refuses requests for them by itself.
@available(iOS 27, macOS 27, visionOS 27, *)
public struct DrafthorseLanguageModel: LanguageModel {
    /// What computes the answers.
    public typealias Executor = DrafthorseExecutor

    /// The folder of the pack.
    public let pack: URL

    /// A model of the pack in a folder. It is opened by the first request, or by prewarming.
    public init(pack: URL) {
        self.pack = pack
    }

    /// None beyond text.
    public var capabilities: LanguageModelCapabilities { LanguageModelCapabilities([]) }

    /// Models of one pack share an executor.
    public var executorConfiguration: DrafthorseExecutor.Configuration { DrafthorseExecutor.Configuration(pack: pack) }
}

/// Answers the requests of all `LanguageModelSession`s of one pack, one after another, with one conversation of the
/// engine.
@available(iOS 27, macOS 27, visionOS 27, *)
public struct DrafthorseExecutor: LanguageModelExecutor {
    /// What it answers for.
    public typealias Model = DrafthorseLanguageModel

    /// What tells executors apart.
    public struct Configuration: Hashable, Sendable {
        let pack: URL
    }

    private let conversation: Conversation

    /// An executor over a pack, which is not opened yet.
    public init(configuration: Configuration) throws {
        conversation = Conversation(pack: configuration.pack)
    }

    /// Opens the pack and computes the transcript ahead of time.
    public func prewarm(model: DrafthorseLanguageModel, transcript: Transcript) {
        Task { [conversation] in await conversation.prewarm(.messages(messages(of: transcript))) }
    }

    /// Streams the answer to a transcript.
    ///
    /// - Throws: `EngineError`; `CancellationError` if the task is cancelled.
    public nonisolated(nonsending) func respond(
        to request: LanguageModelExecutorGenerationRequest, model: DrafthorseLanguageModel,
        streamingInto channel: LanguageModelExecutorGenerationChannel
    ) async throws {
        let session = try await conversation.take()
        do {
            try await stream(session, request, into: channel)
        } catch {
            await conversation.giveBack()
            throw error
        }
        await conversation.giveBack()
        try Task.checkCancellation()
    }

    private nonisolated(nonsending) func stream(
        _ session: Session, _ request: LanguageModelExecutorGenerationRequest,
        into channel: LanguageModelExecutorGenerationChannel
    ) async throws {
        let entry = UUID().uuidString
        let prompt = DrafthorseAPI.Prompt.messages(messages(of: request.transcript))
        for try await event in session.generate(prompt, options: options(of: request.generationOptions)) {
            guard case .tokens(let chunk) = event, !chunk.text.isEmpty else { continue }
            let tokens = chunk.tokens.count
            await channel.send(.response(entryID: entry, action: .appendText(chunk.text, tokenCount: tokens)))
        }
    }

    private func options(
        of options: FoundationModels.GenerationOptions
    ) -> DrafthorseAPI.GenerationOptions {
        let isGreedy = options.samplingMode == .greedy
        return DrafthorseAPI.GenerationOptions(
            maxTokens: options.maximumResponseTokens, temperature: isGreedy ? 0 : options.temperature.map(Float.init))
    }
}

/// The engine's conversation, opened when it is first needed. It generates once at a time, so it is lent.
@available(iOS 27, macOS 27, visionOS 27, *)
private actor Conversation {
    private let pack: URL
    private var opening: Task<Session, any Error>?
    private var prewarming: Task<Void, any Error>?
    private var isLent = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    init(pack: URL) {
        self.pack = pack
    }

    /// Computes `prompt` ahead of time, unless a request is being answered.
    func prewarm(_ prompt: DrafthorseAPI.Prompt) {
        guard !isLent, prewarming == nil else { return }
        prewarming = Task {
            defer { prewarming = nil }
            try await session().prewarm(prompt)
        }
    }

    /// The session, for the caller alone until it is given back. A request goes before prewarming.
    func take() async throws -> Session {
        while isLent { await withCheckedContinuation { waiting.append($0) } }
        isLent = true
        prewarming?.cancel()
        _ = await prewarming?.result
        do {
            return try await session()
        } catch {
            giveBack()
            throw error
        }
    }

    /// Ends what ``take()`` began.
    func giveBack() {
        isLent = false
        if !waiting.isEmpty { waiting.removeFirst().resume() }
    }

    private func session() async throws -> Session {
        let task = opening ?? Task { [pack] in try await Engine.open(pack).session() }
        opening = task
        do {
            return try await task.value
        } catch {
            opening = nil
            throw error
        }
    }
}

/// A transcript as chat messages; what is no text is left out.
@available(iOS 27, macOS 27, visionOS 27, *)
private func messages(of transcript: Transcript) -> [Message] {
    transcript.compactMap { entry in
        switch entry {
        case .instructions(let instructions): .system(text(of: instructions.segments))
        case .prompt(let prompt): .user(text(of: prompt.segments))
        case .response(let response): .assistant(text(of: response.segments))
        default: nil
        }
    }
}

@available(iOS 27, macOS 27, visionOS 27, *)
private func text(of segments: [Transcript.Segment]) -> String {
    segments.compactMap { segment in
        if case .text(let text) = segment { text.content } else { nil }
    }
    .joined(separator: "\n")
}
#endif
