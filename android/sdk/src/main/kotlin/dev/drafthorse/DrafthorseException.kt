package dev.drafthorse

/**
 * What can go wrong. Each message says what is wrong, where, and what to do.
 *
 * A cancelled collector gets a `CancellationException`, as everywhere in coroutines, never one of these.
 */
public sealed class DrafthorseException(message: String) : Exception(message) {
    /** There is nothing at the pack's path. Fetch or unpack it first. */
    public class PackNotFound(message: String) : DrafthorseException(message)

    /** The folder is no pack, or a file in it is not what it should be. */
    public class PackInvalid(message: String) : DrafthorseException(message)

    /** A file is cut short, or differs from its digest. Fetch the pack again. */
    public class PackDamaged(message: String) : DrafthorseException(message)

    /** Drafter and target do not share a vocabulary. */
    public class VocabularyMismatch(message: String) : DrafthorseException(message)

    /** The pack is sound, but this version cannot run it. */
    public class Unsupported(message: String) : DrafthorseException(message)

    /** The KV cache does not fit [EngineOptions.cacheBytesMax]. Ask for a shorter context, or allow more. */
    public class OutOfMemoryBudget(message: String) : DrafthorseException(message)

    /** No execution provider of the preference could run the model. */
    public class ProviderUnavailable(message: String) : DrafthorseException(message)

    /** The ONNX Runtime library is missing or too old, or the process runs on another one already. */
    public class RuntimeLibrary(message: String) : DrafthorseException(message)

    /** An option or the prompt is out of its range; the message names it. */
    public class InvalidOptions(message: String) : DrafthorseException(message)

    /** The pack has no chat template, or the template refuses these messages. */
    public class ChatTemplate(message: String) : DrafthorseException(message)

    /** The schema, regular expression or grammar cannot be used. */
    public class Constraint(message: String) : DrafthorseException(message)

    /** The prompt does not fit the context. Shorten it, or see [ContextPolicy.DROP_OLDEST_TURNS]. */
    public class ContextFull(message: String) : DrafthorseException(message)

    /** Another generation runs on this session. Cancel it, wait for it, or start a second session. */
    public class SessionBusy(message: String) : DrafthorseException(message)

    /** The model returned logits that no token can be chosen from. */
    public class InvalidLogits(message: String) : DrafthorseException(message)

    /** The engine or the session is closed, or was closed meanwhile. */
    public class Closed(message: String) : DrafthorseException(message)

    /** A file could not be read or written. */
    public class Io(message: String) : DrafthorseException(message)

    /** A defect of this library: the native side panicked and was stopped at the border. Please report it. */
    public class Panic(message: String) : DrafthorseException(message)

    /** ONNX Runtime failed, or something that no other class names. */
    public class Internal(message: String) : DrafthorseException(message)
}
