//! What can be wrong with a folder: which file, which field, why, and what to do.

use std::path::{Path, PathBuf};

/// A folder or file that cannot be used, with the place and the reason.
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
    /// The folder is none of the three kinds that open.
    #[error("{folder}: {reason}")]
    UnknownFolder {
        /// The folder.
        folder: PathBuf,
        /// What was looked for.
        reason: String,
    },
    /// A file that the folder needs, or names, is not there.
    #[error("{folder}: {file} is missing ({reason})")]
    Missing {
        /// The folder looked in.
        folder: PathBuf,
        /// The file, relative to the folder.
        file: String,
        /// Who needs it, and what to do.
        reason: String,
    },
    /// A file is not what its name says: bad JSON, a wrong type, a number out of its range.
    #[error("{path}: {field}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Dotted name of the field, or a line and column.
        field: String,
        /// What was found and what is allowed.
        reason: String,
    },
    /// The file is sound, but describes something that this runtime does not run.
    #[error("{path}: {field}: {reason}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Dotted name of the field.
        field: String,
        /// Why it cannot work.
        reason: String,
    },
    /// A path leads out of the folder that was opened.
    #[error("{path}: {field} names {target:?}, which {reason}")]
    OutsideFolder {
        /// The file that holds the path (or the folder).
        path: PathBuf,
        /// Dotted name of the field.
        field: String,
        /// The path as written.
        target: String,
        /// In what way it leaves, and what to do.
        reason: String,
    },
    /// A file is larger than any sound one of its kind.
    #[error("{path}: {bytes} bytes, at most {bytes_max} are read for a file of this kind")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A file of weights ends before the last tensor in it does.
    #[error("{path}: {bytes} bytes, but {named_by} needs {bytes_needed}; the file is cut short, fetch it again")]
    Truncated {
        /// The file of external data.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// End of the last tensor in it.
        bytes_needed: u64,
        /// The ONNX file that names it.
        named_by: PathBuf,
    },
    /// The ONNX file cannot be read.
    #[error("{path}: at byte {offset}: {reason}")]
    Onnx {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The folder has several models, or not the one asked for.
    #[error("{folder}: {}; found: {}", asked.as_ref().map_or_else(|| "choose a variant".to_owned(), |name| format!("there is no variant {name:?}")), found.join(", "))]
    Variant {
        /// The folder.
        folder: PathBuf,
        /// What the caller asked for.
        asked: Option<String>,
        /// The variants that exist.
        found: Vec<String>,
    },
    /// The two models do not share a vocabulary.
    #[error("{target} and {drafter} do not share a vocabulary: {reason}")]
    VocabularyMismatch {
        /// The target's file.
        target: PathBuf,
        /// The drafter's file.
        drafter: PathBuf,
        /// The first difference.
        reason: String,
    },
    /// The file was written for a later version of this library.
    #[error("{path}: format version {version}, this library knows up to {version_max}; update it")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        version: u64,
        /// The newest one known.
        version_max: u64,
    },
    /// Files differ from what the manifest says.
    #[error("{folder}: {report}")]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// Each file that differs.
        report: crate::Report,
    },
    /// The place to write to is taken.
    #[error("{path}: exists already; choose another place, or allow overwriting")]
    Exists {
        /// The folder or file.
        path: PathBuf,
    },
    /// The progress callback asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Shorthand for `map_err` on I/O at `path`.
pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |source| Error::Io { path: path.to_owned(), source }
}
