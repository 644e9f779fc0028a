//! One message of a conversation.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A message as chat templates take it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, or what else the template knows.
    pub role: String,
    /// What was said; absent where an assistant only calls tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// Further fields that the template may read: `tool_calls`, `tool_call_id`, `name`, `reasoning_content`.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Parts with a `type`, such as `{"type": "text", "text": "..."}`.
    Parts(Vec<Value>),
}

impl Message {
    /// A message of plain text.
    pub fn new(role: impl Into<String>, text: impl Into<String>) -> Self {
        Self { role: role.into(), content: Some(Content::Text(text.into())), more: Map::new() }
    }
}

impl Content {
    /// The same content as one text, if all parts are text. Parts are lines.
    pub(super) fn joined(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Parts(parts) => {
                let text = |part: &Value| (part["type"] == "text").then(|| part["text"].as_str().map(str::to_owned))?;
                parts.iter().map(text).collect::<Option<Vec<_>>>().map(|texts| texts.join("\n"))
            }
        }
    }

    /// The same content as parts.
    pub(super) fn parts(&self) -> Vec<Value> {
        match self {
            Self::Text(text) => vec![json!({"type": "text", "text": text})],
            Self::Parts(parts) => parts.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_are_commonly_written() {
        let message: Message = serde_json::from_str(
            r#"{"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}]}"#,
        )
        .unwrap();
        assert_eq!(message.content, None);
        assert_eq!(message.more["tool_calls"][0]["function"]["name"], "f");
        let message: Message = serde_json::from_str(r#"{"role": "user", "content": "hi"}"#).unwrap();
        assert_eq!(message, Message::new("user", "hi"));
        assert_eq!(serde_json::to_string(&message).unwrap(), r#"{"role":"user","content":"hi"}"#);
    }

    #[test]
    fn text_parts_join_and_others_do_not() {
        let parts = |json: &str| serde_json::from_str::<Content>(json).unwrap();
        let text = parts(r#"[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]"#);
        assert_eq!(text.joined().as_deref(), Some("a\nb"));
        assert_eq!(parts(r#"[{"type": "image"}]"#).joined(), None);
        assert_eq!(Content::Text("a".into()).parts(), [json!({"type": "text", "text": "a"})]);
    }
}
