//! What can go wrong while measuring or reading reports, with what to do.

use std::path::PathBuf;

/// An error of the harness.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The runtime could not open the pack or generate.
    #[error(transparent)]
    Runtime(#[from] drafthorse::Error),
    /// The plan asks for what cannot be done.
    #[error("plan, {field}: {reason}")]
    Plan {
        /// The field.
        field: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// A file of prompts cannot be used.
    #[error("{path}, line {line}: {reason}")]
    Prompts {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what is taken.
        reason: String,
    },
    /// A report cannot be used.
    #[error("{path}: {reason}")]
    Report {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file of limits cannot be used.
    #[error("{path}: {reason}")]
    Limits {
        /// The file.
        path: PathBuf,
        /// What is wrong and what is taken.
        reason: String,
    },
    /// The system refused a file.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The caller ended the run.
    #[error("cancelled")]
    Cancelled,
}

/// Result of the harness.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
