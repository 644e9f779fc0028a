//! tokenizer.json and the files beside it: special tokens and chat templates.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{
    Error, Result,
    json::{self, CONFIG_BYTES_MAX, Fields, TOKENIZER_BYTES_MAX},
    root::Root,
};

/// Files that are read here.
pub(crate) const FILES: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json"];
/// Most chat templates read from one folder.
const TEMPLATES_MAX: usize = 64;

/// What a folder says about its tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerFiles {
    /// tokenizer.json.
    pub path: PathBuf,
    /// What tokenizer_config.json says; empty if there is none.
    pub config: TokenizerConfig,
    /// Chat templates; the one used without further word is called "default".
    pub chat_templates: Vec<ChatTemplate>,
}

impl TokenizerFiles {
    /// The tokenizer in `folder`, whatever else the folder holds.
    ///
    /// # Errors
    /// `Missing` without a tokenizer.json, `Malformed`, `TooLarge`, or `Io`.
    pub fn open(folder: &Path) -> Result<Self> {
        find(&Root::new(folder, &[])?, "")
    }

    /// The template called `name`; without a name the default one, or the only one.
    pub fn chat_template(&self, name: Option<&str>) -> Option<&ChatTemplate> {
        let wanted = name.unwrap_or("default");
        let found = self.chat_templates.iter().find(|template| template.name == wanted);
        match (found, name, self.chat_templates.as_slice()) {
            (None, None, [only]) => Some(only),
            _ => found,
        }
    }
}

/// tokenizer_config.json, as far as a runtime needs it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenizerConfig {
    /// Text of the token that begins a sequence.
    pub bos_token: Option<String>,
    /// Text of the token that ends a sequence.
    pub eos_token: Option<String>,
    /// Text of the padding token.
    pub pad_token: Option<String>,
    /// Text of the unknown token.
    pub unk_token: Option<String>,
    /// True if a prompt begins with the first of these.
    pub add_bos_token: Option<bool>,
    /// True if a prompt ends with the second; never wanted for generation.
    pub add_eos_token: Option<bool>,
    /// Tokens added to the model's vocabulary, by id.
    pub added_tokens: Vec<AddedToken>,
    /// Most tokens that the tokenizer was made for, where that is a sound number.
    pub tokens_max: Option<u64>,
}

/// A token added to a tokenizer's vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedToken {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub content: String,
    /// True if it is no part of the output text.
    pub special: bool,
}

/// A chat template in Jinja.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    /// "default", or a name such as "tool_use" or "rag".
    pub name: String,
    /// The template.
    pub text: String,
    /// The file it was in.
    pub path: PathBuf,
}

/// Finds the tokenizer in `dir`, relative to the root ("" for the root itself).
pub(crate) fn find(root: &Root, dir: &str) -> Result<TokenizerFiles> {
    let within = |file: &str| if dir.is_empty() { file.to_owned() } else { format!("{dir}/{file}") };
    let path = match root.optional(&within("tokenizer.json"))? {
        Some(path) => path,
        None => {
            let sentencepiece = root.optional(&within("tokenizer.model"))?.is_some();
            let advice = if sentencepiece { "; convert tokenizer.model with Hugging Face's tokenizers" } else { "" };
            let reason = format!("every folder needs its tokenizer{advice}");
            return Err(root.missing(&within("tokenizer.json"), &reason));
        }
    };
    let bytes = path.metadata().map_err(crate::error::io(&path))?.len();
    if bytes > TOKENIZER_BYTES_MAX {
        return Err(Error::TooLarge { path, bytes, bytes_max: TOKENIZER_BYTES_MAX });
    }
    let mut templates = Vec::new();
    let config = match root.optional(&within("tokenizer_config.json"))? {
        Some(path) => parse_config(&path, &json::read_bounded(&path, CONFIG_BYTES_MAX)?, &mut templates)?,
        None => TokenizerConfig::default(),
    };
    // A file of its own replaces what tokenizer_config.json holds.
    if let Some(path) = root.optional(&within("chat_template.jinja"))? {
        let text = template_text(&path, json::read_bounded(&path, CONFIG_BYTES_MAX)?)?;
        templates = vec![ChatTemplate { name: "default".into(), text, path }];
    } else if templates.is_empty()
        && let Some(path) = root.optional(&within("chat_template.json"))?
    {
        let map = json::parse_object(&path, &json::read_bounded(&path, CONFIG_BYTES_MAX)?)?;
        self::templates(&mut Fields::new(&path, &map), &mut templates)?;
    }
    Ok(TokenizerFiles { path, config, chat_templates: templates })
}

fn template_text(path: &Path, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| Error::Malformed {
        path: path.to_owned(),
        field: format!("byte {}", error.utf8_error().valid_up_to()),
        reason: "is not UTF-8".into(),
    })
}

/// Parses tokenizer_config.json; its chat templates go to `templates`. It holds much that no runtime needs, so keys not
/// known here are not reported.
pub(crate) fn parse_config(path: &Path, bytes: &[u8], templates: &mut Vec<ChatTemplate>) -> Result<TokenizerConfig> {
    let map = json::parse_object(path, bytes)?;
    let mut fields = Fields::new(path, &map);
    self::templates(&mut fields, templates)?;
    // Some write 1e30 for "no limit": only a number that is a number of tokens counts.
    let tokens_max = fields.value("model_max_length").and_then(Value::as_u64).filter(|&tokens| tokens <= 1 << 40);
    Ok(TokenizerConfig {
        bos_token: token_text(&mut fields, "bos_token")?,
        eos_token: token_text(&mut fields, "eos_token")?,
        pad_token: token_text(&mut fields, "pad_token")?,
        unk_token: token_text(&mut fields, "unk_token")?,
        add_bos_token: fields.flag("add_bos_token")?,
        add_eos_token: fields.flag("add_eos_token")?,
        added_tokens: added_tokens(&mut fields)?,
        tokens_max,
    })
}

/// A token written as text, or as an object with `content`.
fn token_text<'a>(fields: &mut Fields<'a>, key: &'a str) -> Result<Option<String>> {
    match fields.value(key) {
        Some(Value::Object(_)) => match fields.object(key)? {
            Some(mut token) => Ok(token.text("content")?.map(str::to_owned)),
            None => Ok(None),
        },
        // Some exporters write `false` where there is no such token.
        Some(Value::Bool(false)) => Ok(None),
        _ => Ok(fields.text(key)?.map(str::to_owned)),
    }
}

fn added_tokens(fields: &mut Fields<'_>) -> Result<Vec<AddedToken>> {
    let key = "added_tokens_decoder";
    let Some(map) = fields.value(key) else { return Ok(Vec::new()) };
    let Some(map) = map.as_object() else {
        return Err(fields.malformed(key, format!("must be an object, is {}", json::kind(map))));
    };
    let mut tokens = Vec::new();
    for (id, token) in map {
        let content = token.get("content").and_then(Value::as_str);
        let (Ok(id), Some(content)) = (id.parse(), content) else {
            return Err(fields.malformed(&format!("{key}.{id}"), "must be an id with an object that has a content"));
        };
        let special = token.get("special").and_then(Value::as_bool).unwrap_or(false);
        tokens.push(AddedToken { id, content: content.to_owned(), special });
    }
    tokens.sort_by_key(|token| token.id);
    Ok(tokens)
}

/// `chat_template`: a text, or a list of named texts.
fn templates<'a>(fields: &mut Fields<'a>, templates: &mut Vec<ChatTemplate>) -> Result<()> {
    let key = "chat_template";
    let path = fields.path();
    match fields.value(key) {
        None => Ok(()),
        Some(Value::String(text)) => {
            templates.push(ChatTemplate { name: "default".into(), text: text.clone(), path: path.to_owned() });
            Ok(())
        }
        Some(Value::Array(list)) if list.len() <= TEMPLATES_MAX => {
            for entry in list {
                let text_of = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
                let (Some(name), Some(text)) = (text_of("name"), text_of("template")) else {
                    return Err(fields.malformed(key, "must be a string, or a list of objects with name and template"));
                };
                templates.push(ChatTemplate { name, text, path: path.to_owned() });
            }
            Ok(())
        }
        Some(other) => {
            let found = json::kind(other);
            let expected = format!("a string, or a list of at most {TEMPLATES_MAX} objects with name and template");
            Err(fields.malformed(key, format!("must be {expected}, is {found}")))
        }
    }
}
