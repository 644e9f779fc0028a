//! What can be wrong with a model that is to be written.

use std::path::PathBuf;

/// A graph that cannot be built or written, with the place and the reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A weight has not the length that the configuration asks for.
    #[error("weight {tensor} has {found} elements, the configuration asks for {expected}")]
    Shape {
        /// Which weight, as a path such as `layers.3.query.weight`.
        tensor: String,
        /// Elements asked for.
        expected: usize,
        /// Elements given.
        found: usize,
    },
    /// The configuration describes no model that can be built.
    #[error("configuration field {field}: {reason}")]
    Config {
        /// Name of the field.
        field: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// The options exclude each other or do not fit the model.
    #[error("graph option {option}: {reason}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Gives an I/O error the path that it happened at.
pub(crate) fn at(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.into();
    move |source| Error::Io { path, source }
}
