/// What a generation starts from.
///
/// A string literal is a prompt: `session.generate("Once upon a time")`.
public enum Prompt: Sendable, Hashable {
    /// Text as it is, with the tokenizer's own first token where it has one.
    case text(String)
    /// A conversation, oldest message first, written out by the pack's chat template with the assistant's turn opened.
    ///
    /// `tools` are the tools that the model may call, each a JSON schema in the way that Hugging Face takes them.
    case messages([Message], tools: [String] = [])
    /// Token ids of the target's vocabulary, as they are.
    case tokens([TokenID])
}

extension Prompt: ExpressibleByStringInterpolation {
    /// The text as it is.
    public init(stringLiteral text: String) {
        self = .text(text)
    }
}

/// Id of a token in the target's vocabulary.
public typealias TokenID = UInt32

/// One message of a conversation.
public struct Message: Sendable, Hashable, Codable {
    /// Who speaks, in the chat template's words: "system", "user", "assistant", "tool".
    public var role: String
    /// What is said; absent where an assistant only calls tools.
    public var content: String?
    /// A JSON object of further fields that the template may read: `tool_calls`, `tool_call_id`, `name`.
    public var moreJSON: String?

    /// A message of any role that the chat template knows.
    public init(role: String, content: String?, moreJSON: String? = nil) {
        self.role = role
        self.content = content
        self.moreJSON = moreJSON
    }

    /// What the model is told about its task.
    public static func system(_ content: String) -> Message {
        Message(role: "system", content: content)
    }

    /// What the person says.
    public static func user(_ content: String) -> Message {
        Message(role: "user", content: content)
    }

    /// What the model answered.
    public static func assistant(_ content: String) -> Message {
        Message(role: "assistant", content: content)
    }
}
