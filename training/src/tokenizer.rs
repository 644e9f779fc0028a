//! Byte-level BPE tokenizers: training one, and reading one with the chat template beside it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use drafthorse::{Chat, ChatTemplate, LocalTime, Message};
use drafthorse_pack::TokenizerFiles;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

use crate::corpus::CorpusSettings;
use crate::{Error, Result};

/// Text that separates documents and ends an answer.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// A tokenizer read from a `tokenizer.json`.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    /// Read when first asked for: most models have none.
    template: OnceLock<ChatTemplate>,
}

/// What a chat template is told the date is, 1 January 2025: the same recipe gives the same prompts on any day.
const DATE_UNIX_SECONDS: i64 = 1_735_689_600;

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// `Format` if it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let inner = tokenizers::Tokenizer::from_file(path).map_err(|error| Error::format(path, error.to_string()))?;
        Ok(Self { inner, path: path.to_owned(), template: OnceLock::new() })
    }

    /// Tokens of a text; text that looks like a special token is one.
    ///
    /// # Errors
    /// `Tokenizer`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode(text, false).map_err(|error| Error::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Tokens of a text that a sequence begins with: what the tokenizer puts before every text comes first.
    ///
    /// # Errors
    /// `Tokenizer`.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode(text, true).map_err(|error| Error::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Tokens of a prompt that asks `text` as a user's message, in the chat template that the runtime too finds in the
    /// tokenizer's folder, up to where the answer begins.
    ///
    /// # Errors
    /// `Setting` if the folder has no chat template; `Format` if it does not parse or refuses the message; `Tokenizer`.
    pub fn encode_message(&self, text: &str) -> Result<Vec<u32>> {
        let template = match self.template.get() {
            Some(template) => template,
            None => {
                let opened = self.open_template()?;
                self.template.get_or_init(|| opened)
            }
        };
        let messages = [Message::new("user", text)];
        let chat = Chat { now: LocalTime::new(DATE_UNIX_SECONDS, 0), ..Chat::new(&messages) };
        let prompt = template.render(&chat).map_err(|error| Error::format(&self.path, error.to_string()))?;
        self.encode(&prompt)
    }

    fn open_template(&self) -> Result<ChatTemplate> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let wrong = |reason: String| Error::format(&self.path, reason);
        let files = TokenizerFiles::open(folder).map_err(|error| wrong(error.to_string()))?;
        if files.chat_templates.is_empty() {
            let reason = format!("{} has none in tokenizer_config.json, and no chat_template.jinja", folder.display());
            return Err(Error::setting("prompt", format!("needs a chat template: {reason}")));
        }
        ChatTemplate::open(&files).map_err(|error| wrong(error.to_string()))
    }

    /// Text of tokens, special ones included.
    ///
    /// # Errors
    /// `Tokenizer`.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        self.inner.decode(tokens, false).map_err(|error| Error::Tokenizer(error.to_string()))
    }

    /// Id of a token's text.
    pub fn token(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// Text of one token, as its file has it.
    pub fn token_text(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The end of a text, if the tokenizer has [`END_OF_TEXT`].
    pub fn end_of_text(&self) -> Option<u32> {
        self.token(END_OF_TEXT)
    }

    /// One more than the highest id, added tokens included.
    pub fn vocab_len(&self) -> usize {
        self.inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
    }

    /// Checks that a model with `rows` rows of embedding knows every token; it may have rows to spare.
    ///
    /// # Errors
    /// `Mismatch` if a token lies outside.
    pub fn check_rows(&self, rows: usize) -> Result<()> {
        let tokens = self.vocab_len();
        if rows < tokens {
            return Err(Error::Mismatch {
                reason: format!("{rows} rows of embedding for {tokens} tokens of the tokenizer"),
            });
        }
        Ok(())
    }
}

/// Trains a byte-level BPE of `vocab_len` tokens on corpora and writes a `tokenizer.json`.
///
/// Every byte is a token, so any text can be encoded; [`END_OF_TEXT`] is token 0.
///
/// # Errors
/// `Setting` if `vocab_len` cannot hold the bytes, `Io` or `Format` from the corpora.
pub fn train(corpora: &[CorpusSettings], data: &Path, vocab_len: usize, to: &Path) -> Result<()> {
    if !(257..=1 << 20).contains(&vocab_len) {
        return Err(Error::setting("vocab_len", format!("{vocab_len}: from 257 (every byte and the end) to 1048576")));
    }
    if to.exists() && Tokenizer::open(to).is_err() {
        let reason = format!("{} is there and is no tokenizer; name another file", to.display());
        return Err(Error::setting("out", reason));
    }
    let mut documents = Vec::new();
    for corpus in corpora {
        documents.extend(corpus.documents(data)?);
    }
    let failed = |error: tokenizers::Error| Error::Tokenizer(error.to_string());
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(vocab_len)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let byte_level = ByteLevel::new(false, true, true);
    let mut tokenizer: TokenizerImpl<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    > = TokenizerImpl::new(BPE::default());
    tokenizer
        .with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(byte_level)))
        .with_decoder(Some(DecoderWrapper::ByteLevel(byte_level)));
    tokenizer.train(&mut trainer, documents.into_iter()).map_err(failed)?;
    let text = serde_json::to_string(&tokenizer).map_err(|error| Error::Tokenizer(error.to_string()))?;
    crate::folder::write_file(to, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trained_tokenizer_gives_every_text_back() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), "the cat and the dog and the cat".repeat(20)).unwrap();
        let corpus = CorpusSettings::text("a.txt");
        let path = folder.path().join("tokenizer.json");
        train(&[corpus], folder.path(), 280, &path).unwrap();
        let tokenizer = Tokenizer::open(&path).unwrap();
        assert_eq!(tokenizer.end_of_text(), Some(0));
        assert!(tokenizer.vocab_len() <= 280);
        for text in ["the cat", "Grüße, 猫 \n\t", "a <|endoftext|> b"] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()).unwrap(), text);
        }
        assert!(train(&[], folder.path(), 100, &path).is_err());
    }
}
