//! Text to tokens and back. The only file that knows the `tokenizers` crate.

mod pieces;
mod stream;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use drafthorse_pack::{TokenizerConfig, TokenizerFiles};
use serde_json::{Value, json};
use tokenizers::{Decoder, DecoderWrapper};

use self::pieces::{DecoderChain, PieceKind, Pieces, Table, VOCAB_LEN_MAX, byte_level_bytes, fallback_byte};
pub use self::stream::{SpecialTokens, TokenStream};
use crate::{Error, Result, TokenId};

/// A Hugging Face tokenizer with its settings.
///
/// Immutable once opened; share it by `Arc`.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    config: TokenizerConfig,
    pieces: Arc<Pieces>,
    path: PathBuf,
}

impl Tokenizer {
    /// Opens the tokenizer of a pack.
    ///
    /// # Errors
    /// `Tokenizer` if the file cannot be read or is malformed, or if its decoder cannot be streamed.
    pub fn open(files: &TokenizerFiles) -> Result<Self> {
        let wrong = |error: std::io::Error| Error::Tokenizer { path: files.path.clone(), reason: error.to_string() };
        Self::from_json(&files.path, &std::fs::read(&files.path).map_err(wrong)?, files.config.clone())
    }

    /// Builds a tokenizer from the text of a `tokenizer.json`; `path` is only named in errors.
    ///
    /// # Errors
    /// `Tokenizer` if the text is malformed, or its decoder cannot be streamed.
    pub fn from_json(path: &Path, json: &[u8], config: TokenizerConfig) -> Result<Self> {
        let wrong = |reason: String| Error::Tokenizer { path: path.to_owned(), reason };
        // The parser asserts in places where a file may be wrong.
        let parsed = catch_unwind(|| tokenizers::Tokenizer::from_bytes(json))
            .map_err(|_| wrong("malformed: the parser gave up".into()))?;
        let mut inner = parsed.map_err(|error| wrong(format!("malformed: {error}")))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| wrong(error.to_string()))?;
        let looked_at = catch_unwind(AssertUnwindSafe(|| {
            // A post-processor that asks for what is not there shows it only when it is asked.
            let _ = [true, false].map(|add_special| inner.encode_fast("a", add_special));
            pieces_of(&inner)
        }));
        let pieces =
            looked_at.unwrap_or_else(|_| Err("malformed: encoding or decoding gave up".into())).map_err(wrong)?;
        Ok(Self { inner, config, pieces: Arc::new(pieces), path: path.to_owned() })
    }

    /// The tokens of a prompt as a sequence of its own: special tokens that belong around it are added, the first
    /// one as `tokenizer_config.json` says.
    ///
    /// Text that spells a special token becomes that token, here and in [`encode_plain`](Self::encode_plain).
    ///
    /// # Errors
    /// `Tokenizer` if the text cannot be encoded.
    pub fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        let mut tokens = self.encode_with(text, true)?;
        if let (Some(wanted), Some(bos)) = (self.config.add_bos_token, self.bos()) {
            let leading = |tokens: &[TokenId]| tokens.iter().take_while(|&&token| token == bos).count();
            if wanted && leading(&tokens) == 0 {
                tokens.insert(0, bos);
            } else if !wanted && leading(&tokens) > 0 && leading(&tokens) > leading(&self.encode_plain(text)?) {
                tokens.remove(0);
            }
        }
        Ok(tokens)
    }

    /// The tokens of a text with nothing added: for rendered chat templates, which write their own special tokens.
    ///
    /// # Errors
    /// `Tokenizer` if the text cannot be encoded.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<TokenId>> {
        self.encode_with(text, false)
    }

    fn encode_with(&self, text: &str, add_special: bool) -> Result<Vec<TokenId>> {
        let encoded = catch_unwind(AssertUnwindSafe(|| self.inner.encode_fast(text, add_special)));
        let encoding = encoded.unwrap_or_else(|_| Err("the library gave up".into()));
        let encoding = encoding.map_err(|error| self.error(format!("cannot encode the text: {error}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of a whole token sequence.
    ///
    /// Equal to what Hugging Face decodes, with one exception. Where SentencePiece byte tokens in a row are not UTF-8
    /// as a whole, Hugging Face replaces all of them; here the characters that are complete stay. A stream could not
    /// agree otherwise without holding back every line break until the row of byte tokens ends.
    pub fn decode(&self, tokens: &[TokenId], special: SpecialTokens) -> String {
        let mut stream = self.stream(special);
        let mut text = String::new();
        for &token in tokens {
            stream.push(token, &mut text);
        }
        stream.finish(&mut text);
        text
    }

    /// A stream of text that begins with the next token: the content of an answer.
    pub fn stream(&self, special: SpecialTokens) -> TokenStream {
        TokenStream::new(Arc::clone(&self.pieces), special)
    }

    /// A stream of text that continues `context`, so that a leading space stays: the completion of a prompt.
    pub fn stream_after(&self, context: &[TokenId], special: SpecialTokens) -> TokenStream {
        TokenStream::after(Arc::clone(&self.pieces), special, context)
    }

    /// One more than the highest token id. The model's vocabulary may be wider, by padding.
    pub fn vocab_len(&self) -> usize {
        self.pieces.len()
    }

    /// The id of a token by its written form, such as `<|im_end|>`.
    pub fn id(&self, token: &str) -> Option<TokenId> {
        self.inner.token_to_id(token)
    }

    /// The written form of a token; `None` for ids that the vocabulary has not.
    pub fn token(&self, id: TokenId) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The token that begins a sequence.
    pub fn bos(&self) -> Option<TokenId> {
        self.config.bos_token.as_deref().and_then(|token| self.id(token))
    }

    /// The token that ends a sequence, as `tokenizer_config.json` names it. The model's own list may have more.
    pub fn eos(&self) -> Option<TokenId> {
        self.config.eos_token.as_deref().and_then(|token| self.id(token))
    }

    /// The padding token.
    pub fn pad(&self) -> Option<TokenId> {
        self.config.pad_token.as_deref().and_then(|token| self.id(token))
    }

    /// True for tokens that text hides unless asked for.
    pub fn is_special(&self, id: TokenId) -> bool {
        self.pieces.kind(id).special
    }

    /// The bytes that a token adds to a text under way; empty for ids that the vocabulary has not.
    pub fn token_bytes(&self, id: TokenId) -> &[u8] {
        self.pieces.later(id)
    }

    /// The settings from `tokenizer_config.json`.
    pub fn config(&self) -> &TokenizerConfig {
        &self.config
    }

    fn error(&self, reason: String) -> Error {
        Error::Tokenizer { path: self.path.clone(), reason }
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tokenizer").field("path", &self.path).field("vocab_len", &self.vocab_len()).finish()
    }
}

/// Works out the piece of every token.
fn pieces_of(inner: &tokenizers::Tokenizer) -> Result<Pieces, String> {
    let decoder =
        inner.get_decoder().map_or(Ok(Value::Null), serde_json::to_value).map_err(|error| error.to_string())?;
    let chain = DecoderChain::parse(&decoder)?;
    let tokens = vocabulary(inner)?;
    let added = inner.get_added_vocabulary();

    let table = |position| {
        let contents = tokens.iter().map(|token| token.clone().unwrap_or_default()).collect();
        single_token_stages(&chain, &decoder, position, contents)
    };
    let later = table(Position::Later)?;
    let first = if chain.first_differs() || decoder.is_null() { Some(table(Position::First)?) } else { None };
    let kinds = tokens.iter().map(|token| PieceKind {
        known: token.is_some(),
        special: token.as_deref().is_some_and(|token| added.is_special_token(token)),
        bytes: chain.joining.all_bytes || (chain.byte_fallback && token.as_deref().and_then(fallback_byte).is_some()),
    });
    Ok(Pieces::new(later, first, kinds.collect(), chain.joining))
}

/// The written form of every id, `None` in holes. Where two tokens share an id, the added one counts.
fn vocabulary(inner: &tokenizers::Tokenizer) -> Result<Vec<Option<String>>, String> {
    let added = inner.get_added_tokens_decoder();
    let of_model = inner.get_vocab(false);
    let len = of_model.values().chain(added.keys()).max().map_or(0, |&id| id as usize + 1);
    if len == 0 || len > VOCAB_LEN_MAX {
        return Err(format!("the highest token id makes a vocabulary of {len}; allowed are 1 to {VOCAB_LEN_MAX}"));
    }
    let mut tokens = vec![None; len];
    let added = added.into_iter().map(|(id, token)| (token.content, id));
    for (token, id) in of_model.into_iter().chain(added) {
        tokens[id as usize] = Some(token);
    }
    Ok(tokens)
}

#[derive(Clone, Copy, PartialEq)]
enum Position {
    First,
    Later,
}

/// Applies the stages that look at one token at a time, and writes the bytes of every token.
fn single_token_stages(
    chain: &DecoderChain,
    decoder: &Value,
    position: Position,
    mut contents: Vec<String>,
) -> Result<Table, String> {
    if decoder.is_null() && position == Position::Later {
        // Without a decoder tokens are joined by spaces.
        contents.iter_mut().for_each(|content| content.insert(0, ' '));
    }
    apply(&chain.before_bytes, position, &mut contents)?;
    let bytes: Vec<Option<u8>> = match chain.byte_fallback {
        true => contents.iter().map(|content| fallback_byte(content)).collect(),
        false => Vec::new(),
    };
    apply(&chain.after_bytes, position, &mut contents)?;
    let mut table = Table::default();
    for (id, content) in contents.iter().enumerate() {
        match bytes.get(id).copied().flatten() {
            Some(byte) => table.push(&[byte]),
            None if chain.joining.all_bytes => table.push(&byte_level_bytes(content)),
            None => table.push(content.as_bytes()),
        }
    }
    Ok(table)
}

/// Runs decoder stages over tokens as if each were the first, or none.
fn apply(stages: &[Value], position: Position, contents: &mut Vec<String>) -> Result<(), String> {
    if stages.is_empty() {
        return Ok(());
    }
    let sequence = json!({ "type": "Sequence", "decoders": stages });
    let decoder: DecoderWrapper = serde_json::from_value(sequence).map_err(|error| error.to_string())?;
    let run = |tokens: Vec<String>| decoder.decode_chain(tokens).map_err(|error| error.to_string());
    if position == Position::Later {
        // Any token will do in front.
        let mut tokens = vec![String::from("a")];
        tokens.append(contents);
        *contents = run(tokens)?;
        contents.remove(0);
    } else {
        for content in contents {
            *content = run(vec![std::mem::take(content)])?.concat();
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
