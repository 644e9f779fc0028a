import Foundation

/// What an app can act on. Every case carries a message that says what is wrong, where, and what would help.
public enum EngineError: Error, Sendable, Hashable {
    /// There is no pack at the path.
    case packNotFound(String)
    /// The folder is there and is no pack that this version can open.
    case packInvalid(String)
    /// A file of the pack is cut short or differs from its digest: fetch the pack again.
    case packDamaged(String)
    /// Drafter and target do not share a vocabulary.
    case vocabularyMismatch(String)
    /// The pack is sound, but this version of the library cannot run it.
    case unsupported(String)
    /// The KV caches do not fit the memory budget: raise it, or ask for a shorter context.
    case outOfMemoryBudget(String)
    /// None of the execution providers asked for can run the model: allow the CPU.
    case providerUnavailable(String)
    /// The ONNX Runtime library is missing, too old, or another one is loaded already.
    case runtimeLibrary(String)
    /// An option or the prompt is out of its range; the message names it.
    case invalidOptions(String)
    /// The pack has no chat template, or it refuses these messages.
    case chatTemplate(String)
    /// The schema, regular expression or grammar cannot be used.
    case constraint(String)
    /// The prompt does not fit the context: shorten it.
    case contextFull(String)
    /// Another generation runs on this session: cancel it, or wait for it.
    case sessionBusy(String)
    /// The model returned logits that no token can be chosen from.
    case invalidLogits(String)
    /// The engine, the session or the generation was closed.
    case closed(String)
    /// The system refused to read or write a file.
    case io(String)
    /// ONNX Runtime failed while running.
    case `internal`(String)
    /// A mistake in this library; please report the message.
    case panic(String)

    /// What is wrong, where, and what would help, in English.
    public var message: String {
        switch self {
        case .packNotFound(let message), .packInvalid(let message), .packDamaged(let message),
            .vocabularyMismatch(let message), .unsupported(let message), .outOfMemoryBudget(let message),
            .providerUnavailable(let message), .runtimeLibrary(let message), .invalidOptions(let message),
            .chatTemplate(let message), .constraint(let message), .contextFull(let message),
            .sessionBusy(let message), .invalidLogits(let message), .closed(let message), .io(let message),
            .internal(let message), .panic(let message):
            message
        }
    }
}

extension EngineError: CustomStringConvertible {
    /// The ``message``.
    public var description: String { message }
}

extension EngineError: LocalizedError {
    /// The ``message``, so that `localizedDescription` says it too.
    public var errorDescription: String? { message }
}
