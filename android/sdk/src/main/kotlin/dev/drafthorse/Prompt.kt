package dev.drafthorse

/** What a generation starts from. */
public sealed interface Prompt {
    /**
     * Text as it is, with the tokenizer's own first token where it has one.
     *
     * @property text The text to be continued.
     */
    public data class Text(val text: String) : Prompt

    /**
     * A conversation, written out by the pack's chat template with the assistant's turn opened.
     *
     * @property messages Oldest message first.
     * @property toolsJson Tools that the model may call, each a JSON schema in the way that Hugging Face takes them.
     */
    public data class Messages(val messages: List<Message>, val toolsJson: List<String> = emptyList()) : Prompt

    /**
     * Tokens as they are.
     *
     * @property tokens Ids in the target's vocabulary.
     */
    public data class Tokens(val tokens: List<Int>) : Prompt
}

/**
 * One message of a conversation.
 *
 * @property role `system`, `user`, `assistant`, `tool`, or what else the pack's template knows.
 * @property content What was said; null where an assistant only calls tools.
 * @property moreJson A JSON object of further fields that the template may read: `tool_calls`, `tool_call_id`, `name`.
 */
public data class Message(val role: String, val content: String?, val moreJson: String? = null) {
    /** Messages of the usual roles. */
    public companion object {
        /** What the model shall be. */
        public fun system(content: String): Message = Message("system", content)

        /** What the user said. */
        public fun user(content: String): Message = Message("user", content)

        /** What the model answered. */
        public fun assistant(content: String): Message = Message("assistant", content)
    }
}
