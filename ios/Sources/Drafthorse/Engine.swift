@_exported import DrafthorseAPI
import Foundation

/// An opened pack: weights, tokenizer and measured costs, shared by its sessions.
///
/// ```swift
/// let engine = try await Engine.open(pack)
/// let session = try await engine.session()
/// for try await event in session.generate("Once upon a time") {
///     print(event.text ?? "", terminator: "")
/// }
/// ```
public actor Engine: TextModel {
    private nonisolated let native: NativeEngine
    /// What was opened, what computes it, and what a pass costs.
    public nonisolated let report: EngineReport

    private init(_ native: NativeEngine) {
        self.native = native
        report = EngineReport(native.report())
    }

    /// Opens the pack, onnxruntime-genai folder or Hugging Face folder at `pack`.
    ///
    /// It takes as long as loading the weights, on a thread of its own. Files are opened by path; none is read into
    /// Swift's memory. The first opening also reads every file, compares it with its digest, and measures what a pass
    /// costs; what it finds is kept in ``EngineOptions/cacheFolder`` for the next start.
    ///
    /// - Throws: ``EngineError/packNotFound(_:)``, ``EngineError/packInvalid(_:)``, ``EngineError/packDamaged(_:)``,
    ///   ``EngineError/vocabularyMismatch(_:)``, ``EngineError/unsupported(_:)``, ``EngineError/runtimeLibrary(_:)``,
    ///   ``EngineError/providerUnavailable(_:)``, ``EngineError/outOfMemoryBudget(_:)``,
    ///   ``EngineError/invalidOptions(_:)``, ``EngineError/io(_:)``. Nothing is loaded before the folder was checked.
    public static func open(_ pack: URL, options: EngineOptions = EngineOptions()) async throws -> Engine {
        try await onOwnThread {
            try rethrowing {
                let options = try NativeEngineOptions(options)
                return Engine(try NativeEngine.open(path: pack.path, options: options))
            }
        }
    }

    /// Starts a conversation with caches of its own.
    ///
    /// - Throws: ``EngineError/outOfMemoryBudget(_:)``, ``EngineError/invalidOptions(_:)`` if drafts are asked for that
    ///   the pack cannot make, ``EngineError/closed(_:)``.
    public func session(_ options: SessionOptions = SessionOptions()) async throws -> Session {
        let native = native
        return try await onOwnThread {
            try rethrowing { Session(try native.session(options: NativeSessionOptions(options))) }
        }
    }

    /// The tokens of `text` as a prompt has them: for counting what fits.
    ///
    /// - Throws: ``EngineError/packInvalid(_:)`` if the tokenizer fails, ``EngineError/closed(_:)``.
    public func tokenize(_ text: String) async throws -> [TokenID] {
        let native = native
        return try await onOwnThread { try rethrowing { try native.tokenize(text: text) } }
    }

    /// Runs both models once, so that the first real generation does not wait for memory that was never touched.
    ///
    /// To compute a known beginning of a prompt ahead of time, see ``DrafthorseAPI/TextSession/prewarm(_:)``.
    ///
    /// - Throws: As ``session(_:)``.
    public func prewarm() async throws {
        let session = try await session()
        _ = try await session.respond(to: .tokens([0]), options: GenerationOptions(maxTokens: 8))
        await session.close()
    }

    /// Ends every session, waits until nothing runs, and frees the weights. May be called any number of times.
    public func close() async {
        let native = native
        try? await onOwnThread { native.release() }
    }
}
