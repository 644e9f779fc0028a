//! What can go wrong, with the numbers that say why.

use std::path::PathBuf;

/// An error of the runtime. Every variant says what was wrong, where, and what would help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder cannot be opened as a pack.
    #[error(transparent)]
    Pack(#[from] drafthorse_pack::Error),
    /// An option is out of its range, or two options exclude each other.
    #[error("option {option}: {reason}")]
    InvalidOption {
        /// Name of the option as the caller wrote it.
        option: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// The tokens do not fit the KV cache.
    #[error("context is full: {needed} tokens needed, {capacity} fit; shorten the prompt, or raise the memory budget")]
    ContextFull {
        /// Tokens that would have to be in the cache.
        needed: usize,
        /// Tokens that the cache can hold.
        capacity: usize,
    },
    /// The KV cache does not fit the memory budget.
    #[error(
        "the KV cache needs {needed_bytes} bytes for {tokens} tokens, the budget allows {allowed_bytes}; raise it, or ask for a shorter context"
    )]
    OutOfMemory {
        /// Bytes needed.
        needed_bytes: u64,
        /// Bytes allowed.
        allowed_bytes: u64,
        /// Tokens that were to fit.
        tokens: usize,
    },
    /// The model returned logits that no token can be chosen from.
    #[error("the {model} returned unusable logits in row {row}: {reason}")]
    InvalidLogits {
        /// "target" or "drafter".
        model: &'static str,
        /// Row within the forward pass.
        row: usize,
        /// NaN, or no finite value.
        reason: &'static str,
    },
    /// The graph is one that the runtime cannot drive.
    #[error("{path}: {reason}")]
    UnsupportedGraph {
        /// The ONNX file.
        path: PathBuf,
        /// Which input, output or type, and why.
        reason: String,
    },
    /// The two models do not share a vocabulary.
    #[error("drafter and target do not share a vocabulary: {reason}")]
    VocabularyMismatch {
        /// The first difference.
        reason: String,
    },
    /// The ONNX Runtime library could not be loaded.
    #[error("ONNX Runtime library {path}: {reason}")]
    RuntimeLibrary {
        /// Where it was looked for.
        path: PathBuf,
        /// Why it could not be used, and what to do.
        reason: String,
    },
    /// No execution provider of the preference could run the model.
    #[error("no execution provider can run the {model}: {reason}")]
    ExecutionProvider {
        /// "target" or "drafter".
        model: &'static str,
        /// Each candidate with its refusal.
        reason: String,
    },
    /// ONNX Runtime failed.
    #[error("ONNX Runtime failed to {operation}: {message}")]
    Runtime {
        /// What was being done.
        operation: &'static str,
        /// What it said.
        message: String,
    },
    /// The tokenizer could not be used.
    #[error("tokenizer {path}: {reason}")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The chat template failed, or the pack has none.
    #[error("chat template of {}{}: {reason}", path.display(), line.map_or(String::new(), |line| format!(", line {line}")))]
    ChatTemplate {
        /// The file that has the template, or should have it.
        path: PathBuf,
        /// Line within the template, from 1, where one is known.
        line: Option<usize>,
        /// Why: the template's own words if it refuses the conversation.
        reason: String,
    },
    /// The schema, regular expression or grammar cannot be used, or the text has left it.
    #[error("constraint: {reason}")]
    Constraint {
        /// Where, and why.
        reason: String,
    },
    /// Another generation is running on this session.
    #[error("the session is busy with another generation; cancel it, or wait for it")]
    SessionBusy,
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
