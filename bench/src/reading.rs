//! A value that a system may not have, with where it comes from or why it is absent.

use serde::{Deserialize, Serialize};

/// A value and its source, or the reason for having none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Reading<T> {
    /// The system has it.
    Present {
        /// The value.
        value: T,
        /// The file or call it was read from.
        source: String,
    },
    /// The system does not have it, or does not tell.
    Absent {
        /// Why.
        absent: String,
    },
}

impl<T> Reading<T> {
    /// A value read from `source`.
    pub fn present(value: T, source: impl Into<String>) -> Self {
        Self::Present { value, source: source.into() }
    }

    /// No value, for `reason`.
    pub fn absent(reason: impl Into<String>) -> Self {
        Self::Absent { absent: reason.into() }
    }

    /// The value, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Present { value, .. } => Some(value),
            Self::Absent { .. } => None,
        }
    }

    /// Where it comes from, or why it is absent.
    pub fn explanation(&self) -> &str {
        match self {
            Self::Present { source, .. } => source,
            Self::Absent { absent } => absent,
        }
    }
}
