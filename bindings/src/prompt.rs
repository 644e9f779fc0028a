//! What a generation starts from.

use serde_json::{Map, Value};

use crate::{DrafthorseError, Result};

/// What a generation starts from.
#[derive(Clone, Debug, PartialEq, uniffi::Enum)]
pub enum Prompt {
    /// Text as it is, with the tokenizer's own first token where it has one.
    Text {
        /// The text.
        text: String,
    },
    /// A conversation, written out by the pack's chat template with the assistant's turn opened.
    Messages {
        /// Oldest message first.
        messages: Vec<Message>,
        /// Tools that the model may call, each a JSON schema in the way that Hugging Face takes them.
        tools_json: Vec<String>,
    },
    /// Token ids as they are.
    Tokens {
        /// Ids in the target's vocabulary.
        tokens: Vec<u32>,
    },
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, or what else the template knows.
    pub role: String,
    /// What was said; absent where an assistant only calls tools.
    #[uniffi(default)]
    pub content: Option<String>,
    /// A JSON object of further fields that the template may read: `tool_calls`, `tool_call_id`, `name`.
    #[uniffi(default)]
    pub more_json: Option<String>,
}

/// A prompt in the runtime's types, owned.
pub(crate) enum Owned {
    Text(String),
    Messages { messages: Vec<drafthorse::Message>, tools: Vec<Value> },
    Tokens(Vec<u32>),
}

impl Owned {
    pub(crate) fn as_prompt(&self) -> drafthorse::Prompt<'_> {
        match self {
            Self::Text(text) => drafthorse::Prompt::Text(text),
            Self::Messages { messages, tools } => drafthorse::Prompt::Messages { messages, tools },
            Self::Tokens(tokens) => drafthorse::Prompt::Tokens(tokens),
        }
    }
}

impl TryFrom<Prompt> for Owned {
    type Error = DrafthorseError;

    fn try_from(prompt: Prompt) -> Result<Self> {
        Ok(match prompt {
            Prompt::Text { text } => Self::Text(text),
            Prompt::Tokens { tokens } => Self::Tokens(tokens),
            Prompt::Messages { messages, tools_json } => Self::Messages {
                messages: messages.into_iter().map(message).collect::<Result<_>>()?,
                tools: tools_json.iter().map(|text| json("tools_json", text)).collect::<Result<_>>()?,
            },
        })
    }
}

fn message(message: Message) -> Result<drafthorse::Message> {
    let more: Map<String, Value> = match &message.more_json {
        Some(text) => json("more_json", text)?,
        None => Map::new(),
    };
    Ok(drafthorse::Message { role: message.role, content: message.content.map(drafthorse::Content::Text), more })
}

fn json<T: serde::de::DeserializeOwned>(field: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| DrafthorseError::invalid(field, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_is_none_is_refused_by_name() {
        let message = Message { role: "user".into(), content: None, more_json: Some("[1]".into()) };
        let error = Owned::try_from(Prompt::Messages { messages: vec![message], tools_json: vec![] }).err().unwrap();
        assert!(matches!(&error, DrafthorseError::InvalidOptions(text) if text.contains("more_json")), "{error}");
        let error = Owned::try_from(Prompt::Messages { messages: vec![], tools_json: vec!["{".into()] }).err().unwrap();
        assert!(matches!(&error, DrafthorseError::InvalidOptions(text) if text.contains("tools_json")), "{error}");
    }
}
