//! What can go wrong in training, with the place and what to do.

use std::path::{Path, PathBuf};

/// An error of training. Every variant says what was wrong, where, and what would help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {cause}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said; no source of this error, which would be printed twice.
        cause: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Which field or tensor, what was expected, what was found.
        reason: String,
    },
    /// A setting is out of its range, or settings exclude each other.
    #[error("setting {setting}: {reason}")]
    Setting {
        /// Name as in the recipe.
        setting: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// A model family or feature that cannot be trained or exported here.
    #[error("unsupported model: {reason}")]
    Unsupported {
        /// Which field of its configuration, and why.
        reason: String,
    },
    /// The loss or the gradient is not a finite number. The last good checkpoint is untouched.
    #[error(
        "{quantity} is {value} at step {step}; the checkpoint of step {checkpoint_step} is kept: lower the learning rate or the clipping norm, and resume"
    )]
    NotFinite {
        /// "loss" or "gradient norm".
        quantity: &'static str,
        /// NaN or an infinity.
        value: f32,
        /// Step that failed, from 0.
        step: usize,
        /// Step of the checkpoint that remains.
        checkpoint_step: usize,
    },
    /// A model that answers gives logits that are not finite numbers.
    #[error(
        "the model's logits after {tokens} tokens of an answer are not finite: its weights are damaged or too large"
    )]
    InvalidLogits {
        /// Tokens that were answered before.
        tokens: usize,
    },
    /// Drafter, target and tokenizer do not fit each other.
    #[error("drafter, target and tokenizer do not match: {reason}")]
    Mismatch {
        /// The first difference.
        reason: String,
    },
    /// The exported model does not compute what the trained one does; nothing was written.
    #[error("parity of the exported {model} failed: {reason}")]
    Parity {
        /// "target" or "drafter".
        model: String,
        /// Which threshold, and the figure found.
        reason: String,
    },
    /// The tokenizer failed.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The runtime refused a pack or failed in it.
    #[error("runtime, pack {pack}: {reason}")]
    Runtime {
        /// The pack's folder.
        pack: PathBuf,
        /// What it said.
        reason: String,
    },
    /// The graph builder refused.
    #[error("graph: {0}")]
    Graph(String),
    /// The backend is not in this build.
    #[error("device {device}: {reason}")]
    Device {
        /// As asked for.
        device: String,
        /// Which cargo feature has it.
        reason: String,
    },
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A file that is not what it should be.
    pub fn format(path: &Path, reason: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), reason: reason.into() }
    }

    /// A setting out of its range.
    pub fn setting(setting: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Setting { setting: setting.into(), reason: reason.into() }
    }
}

/// Adds the path to an input or output error.
pub trait IoContext<T> {
    /// Names the file that the operation was about.
    ///
    /// # Errors
    /// The same error, as `Error::Io` with the path.
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|cause| Error::Io { path: path.to_owned(), cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let path = Path::new("nowhere/at/all");
        let error = std::fs::read(path).at(path).unwrap_err();
        assert!(error.to_string().starts_with("nowhere/at/all: ") && std::error::Error::source(&error).is_none());
    }
}
