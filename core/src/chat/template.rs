//! Rendering a conversation with the template of a pack.

use std::path::{Path, PathBuf};

use drafthorse_pack::{TokenizerConfig, TokenizerFiles};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value as Json};

use super::clock::LocalTime;
use super::dumps::tojson;
use super::message::{Content, Message};
use crate::{Error, Result};

/// Steps that a template may take; a conversation of a thousand messages takes about a hundred thousand.
const STEPS_MAX: u64 = 5_000_000;

/// Longest prompt that a template may write, in bytes.
const PROMPT_BYTES_MAX: usize = 64 << 20;

/// What a template is asked to render.
#[derive(Clone, Copy, Debug)]
pub struct Chat<'a> {
    /// The conversation, oldest message first.
    pub messages: &'a [Message],
    /// Tools as JSON schemas, in the way that Hugging Face takes them.
    pub tools: &'a [Json],
    /// Whether the prompt ends where the assistant begins to answer.
    pub add_generation_prompt: bool,
    /// The date that the template may name.
    pub now: LocalTime,
    /// Further variables that the template may read, such as `enable_thinking`.
    pub variables: &'a [(String, Json)],
}

impl<'a> Chat<'a> {
    /// A conversation that the assistant is to answer, without tools, today in UTC.
    pub fn new(messages: &'a [Message]) -> Self {
        Self { messages, tools: &[], add_generation_prompt: true, now: LocalTime::now_utc(), variables: &[] }
    }
}

/// The chat templates of a pack, compiled.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Name, file, and whether contents must be text or parts.
    templates: Vec<(String, PathBuf, Accepts)>,
    special_tokens: Vec<(&'static str, String)>,
}

/// The forms of content that a template can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepts {
    Text,
    Parts,
    Both,
}

impl ChatTemplate {
    /// Compiles the templates of a pack.
    ///
    /// # Errors
    /// `ChatTemplate` if there is none, or with the line of a syntax error.
    pub fn open(files: &TokenizerFiles) -> Result<Self> {
        let mut environment = environment();
        let mut templates = Vec::new();
        for template in &files.chat_templates {
            let source = without_training_marks(&template.text);
            let added = environment.add_template_owned(template.name.clone(), source);
            added.map_err(|error| refused(&template.path, &error))?;
            templates.push((template.name.clone(), template.path.clone(), Accepts::Both));
        }
        if templates.is_empty() {
            let reason = "the pack has none; write the prompt as text, or add chat_template.jinja".into();
            return Err(Error::ChatTemplate { path: files.path.clone(), line: None, reason });
        }
        let mut opened = Self { environment, templates, special_tokens: special_tokens(&files.config) };
        for index in 0..opened.templates.len() {
            opened.templates[index].2 = opened.accepts(index);
        }
        Ok(opened)
    }

    /// The prompt of a conversation.
    ///
    /// With tools, a template called `tool_use` is preferred. Content is handed over as text or as parts, whichever
    /// the template can read; parts that are no text go to a template for text unchanged.
    ///
    /// # Errors
    /// `ChatTemplate` with the line, if the template refuses the conversation or cannot be run.
    pub fn render(&self, chat: &Chat<'_>) -> Result<String> {
        let named = |wanted: &str| self.templates.iter().position(|(name, ..)| name == wanted);
        let preferred = if chat.tools.is_empty() { None } else { named("tool_use") };
        self.render_with(preferred.or(named("default")).unwrap_or(0), chat, None)
    }

    fn render_with(&self, index: usize, chat: &Chat<'_>, accepts: Option<Accepts>) -> Result<String> {
        let (name, path, known) = &self.templates[index];
        let context = self.context(chat, accepts.unwrap_or(*known));
        let mut prompt = Prompt(Vec::new());
        let rendered = self
            .environment
            .get_template(name)
            .and_then(|template| template.render_captured_to(context, &mut prompt).map(drop));
        rendered.map_err(|error| refused(path, &error))?;
        let not_text = |_| Error::ChatTemplate { path: path.clone(), line: None, reason: "wrote no UTF-8".into() };
        String::from_utf8(prompt.0).map_err(not_text)
    }

    /// The variables of a template. What Python would pass as `None` is none, not undefined.
    fn context(&self, chat: &Chat<'_>, accepts: Accepts) -> Value {
        let now = chat.now;
        let mut variables: Vec<(String, Value)> = vec![
            ("messages".into(), chat.messages.iter().map(|message| message_value(message, accepts)).collect()),
            ("tools".into(), if chat.tools.is_empty() { ().into() } else { chat.tools.iter().map(value).collect() }),
            ("documents".into(), ().into()),
            ("add_generation_prompt".into(), chat.add_generation_prompt.into()),
            ("strftime_now".into(), Value::from_function(move |pattern: String| now.format(&pattern))),
        ];
        variables.extend(self.special_tokens.iter().map(|(name, text)| ((*name).into(), Value::from(text.as_str()))));
        variables.extend(chat.variables.iter().map(|(name, json)| (name.clone(), value(json))));
        Value::from_pairs(variables)
    }

    /// Finds out which forms of content the template reads, by rendering one message in each.
    fn accepts(&self, index: usize) -> Accepts {
        const PROBE: &str = "drafthorse probe";
        let shows = |content: Content| {
            let messages = [Message { role: "user".into(), content: Some(content), more: Map::new() }];
            let prompt = self.render_with(index, &Chat::new(&messages), Some(Accepts::Both)).unwrap_or_default();
            // A template for text may print the parts as a list.
            prompt.contains(PROBE) && !prompt.contains("'type'") && !prompt.contains("\"type\"")
        };
        let text = Content::Text(PROBE.into());
        let parts = Content::Parts(text.parts());
        match (shows(text), shows(parts)) {
            (true, true) => Accepts::Both,
            (false, true) => Accepts::Parts,
            // If neither shows, the template has rules that one message does not meet; most templates read text.
            _ => Accepts::Text,
        }
    }
}

/// An environment that behaves as Hugging Face's does.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    // Without delimiters of our own there is nothing that `build` could refuse.
    environment.set_syntax(syntax.unwrap_or_default());
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_fuel(Some(STEPS_MAX));
    environment.add_filter("tojson", tojson);
    environment.add_function("raise_exception", |message: String| -> std::result::Result<Value, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("{REFUSAL}{message}")))
    });
    environment
}

/// Marks the message of `raise_exception` among other errors.
const REFUSAL: &str = "the template refuses this conversation: ";

/// An error of the engine, with the line of the template.
fn refused(path: &Path, error: &minijinja::Error) -> Error {
    let detail = error.detail().unwrap_or_default();
    let reason = match (error.kind(), detail) {
        (ErrorKind::InvalidOperation, detail) if detail.starts_with(REFUSAL) => detail.to_owned(),
        (ErrorKind::OutOfFuel, _) => format!("took more than {STEPS_MAX} steps"),
        (kind, "") => kind.to_string(),
        (kind, detail) => format!("{kind}: {detail}"),
    };
    Error::ChatTemplate { path: path.to_owned(), line: error.line(), reason }
}

/// The texts of special tokens under the names that templates use.
fn special_tokens(config: &TokenizerConfig) -> Vec<(&'static str, String)> {
    let named = [
        ("bos_token", &config.bos_token),
        ("eos_token", &config.eos_token),
        ("pad_token", &config.pad_token),
        ("unk_token", &config.unk_token),
    ];
    named.into_iter().filter_map(|(name, text)| Some((name, text.clone()?))).collect()
}

fn message_value(message: &Message, accepts: Accepts) -> Value {
    let content = message.content.as_ref().map(|content| match accepts {
        Accepts::Text => content.joined().map_or_else(|| content_value(content), Value::from),
        Accepts::Parts => content.parts().iter().map(value).collect(),
        Accepts::Both => content_value(content),
    });
    let role = ("role", Value::from(message.role.as_str()));
    let content = content.map(|content| ("content", content));
    let more = message.more.iter().map(|(name, json)| (name.as_str(), value(json)));
    Value::from_pairs([role].into_iter().chain(content).chain(more))
}

fn content_value(content: &Content) -> Value {
    match content {
        Content::Text(text) => Value::from(text.as_str()),
        Content::Parts(parts) => parts.iter().map(value).collect(),
    }
}

/// JSON as the template sees it, members in their order.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Value::from(integer),
            (None, Some(integer)) => Value::from(integer),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(list) => list.iter().map(value).collect(),
        Json::Object(map) => Value::from_pairs(map.iter().map(|(name, json)| (name.as_str(), value(json)))),
    }
}

/// Takes out `{% generation %}` and `{% endgeneration %}`, which mark the assistant's tokens for training and have no
/// meaning here. They become an `if` that always holds, so that white space and line numbers stay.
fn without_training_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start + 2);
        out.push_str(before);
        rest = tag;
        let word_start = tag.len() - tag.trim_start_matches(['-', '+']).trim_start().len();
        let word: &str = tag[word_start..].split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        let replacement = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => continue,
        };
        let after = &tag[word_start + word.len()..];
        if after.trim_start().trim_start_matches(['-', '+']).starts_with("%}") {
            out.push_str(&tag[..word_start]);
            out.push_str(replacement);
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// A buffer for the prompt that refuses to grow without bound.
struct Prompt(Vec<u8>);

impl std::io::Write for Prompt {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > PROMPT_BYTES_MAX {
            return Err(std::io::Error::other(format!("the prompt is longer than {PROMPT_BYTES_MAX} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
