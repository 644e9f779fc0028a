//! The few errors that an app tells apart, and the one conversion from the runtime's many.

use std::io::ErrorKind;

use drafthorse::Error;
use drafthorse_pack::Error as PackError;

/// What went wrong, by what an app can do about it. The message says what, where, and what would help.
#[derive(Debug, thiserror::Error, uniffi::Error)]
#[uniffi(flat_error)]
pub enum DrafthorseError {
    /// There is nothing at the pack's path: fetch or unpack it first.
    #[error("{0}")]
    PackNotFound(String),
    /// The folder is no pack, or a file in it is not what it should be.
    #[error("{0}")]
    PackInvalid(String),
    /// A file is cut short or differs from its digest: fetch the pack again.
    #[error("{0}")]
    PackDamaged(String),
    /// Drafter and target do not share a vocabulary: use another drafter.
    #[error("{0}")]
    VocabularyMismatch(String),
    /// The pack is sound, but this version of the library cannot run it.
    #[error("{0}")]
    Unsupported(String),
    /// The KV caches do not fit the memory budget: raise it, or ask for a shorter context.
    #[error("{0}")]
    OutOfMemoryBudget(String),
    /// None of the execution providers asked for can run the model: allow the CPU.
    #[error("{0}")]
    ProviderUnavailable(String),
    /// The ONNX Runtime library is missing, too old, or another one is loaded already.
    #[error("{0}")]
    RuntimeLibrary(String),
    /// An option or the prompt is out of its range; the message names it.
    #[error("{0}")]
    InvalidOptions(String),
    /// The pack has no chat template, or it refuses these messages.
    #[error("{0}")]
    ChatTemplate(String),
    /// The schema, regular expression or grammar cannot be used.
    #[error("{0}")]
    Constraint(String),
    /// The prompt does not fit the context: shorten it.
    #[error("{0}")]
    ContextFull(String),
    /// Another generation runs on this session: cancel it, or wait for it.
    #[error("{0}")]
    SessionBusy(String),
    /// The model returned logits that no token can be chosen from.
    #[error("{0}")]
    InvalidLogits(String),
    /// The engine, session or generation was closed.
    #[error("{0}")]
    Closed(String),
    /// The system refused to read or write a file.
    #[error("{0}")]
    Io(String),
    /// ONNX Runtime failed while running.
    #[error("{0}")]
    Internal(String),
    /// A mistake in this library; please report the message.
    #[error("the library panicked: {0}")]
    Panic(String),
}

/// Result of this crate.
pub type Result<T, E = DrafthorseError> = std::result::Result<T, E>;

impl DrafthorseError {
    pub(crate) fn closed(what: &str) -> Self {
        Self::Closed(format!("the {what} was closed"))
    }

    pub(crate) fn invalid(option: &str, reason: impl std::fmt::Display) -> Self {
        Self::InvalidOptions(format!("option {option}: {reason}"))
    }
}

impl From<Error> for DrafthorseError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Pack(error) => of_pack(&error, message),
            Error::InvalidOption { .. } => Self::InvalidOptions(message),
            Error::ContextFull { .. } => Self::ContextFull(message),
            Error::OutOfMemory { .. } => Self::OutOfMemoryBudget(message),
            Error::InvalidLogits { .. } => Self::InvalidLogits(message),
            Error::UnsupportedGraph { .. } => Self::Unsupported(message),
            Error::VocabularyMismatch { .. } => Self::VocabularyMismatch(message),
            Error::RuntimeLibrary { .. } => Self::RuntimeLibrary(message),
            Error::ExecutionProvider { .. } => Self::ProviderUnavailable(message),
            Error::Tokenizer { .. } => Self::PackInvalid(message),
            Error::ChatTemplate { .. } => Self::ChatTemplate(message),
            Error::Constraint { .. } => Self::Constraint(message),
            Error::SessionBusy => Self::SessionBusy(message),
            // A cancelled generation ends with an account, so `Cancelled` arrives here only by mistake.
            _ => Self::Internal(message),
        }
    }
}

fn of_pack(error: &PackError, message: String) -> DrafthorseError {
    use DrafthorseError as E;
    match error {
        PackError::Io { source, .. } if source.kind() == ErrorKind::NotFound => E::PackNotFound(message),
        PackError::Io { .. } | PackError::Exists { .. } => E::Io(message),
        PackError::Damaged { .. } | PackError::Truncated { .. } => E::PackDamaged(message),
        PackError::VocabularyMismatch { .. } => E::VocabularyMismatch(message),
        PackError::Unsupported { .. } | PackError::Version { .. } => E::Unsupported(message),
        PackError::Variant { .. } => E::InvalidOptions(message),
        _ => E::PackInvalid(message),
    }
}
