//! Why a round drafts nothing. Passthrough is a normal state, reported with its reason.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a round drafts nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Passthrough {
    /// A draft length of 0 was asked for.
    Off,
    /// The session has no drafter.
    NoDrafter,
    /// The target's graph returns logits for the last token only, so that proposals cannot be checked.
    LastRowOnly,
    /// The drafter has nothing to propose here: no earlier text to copy from, or its own context is full.
    NothingToPropose,
    /// One token is left of the tokens allowed or of the context.
    OneTokenLeft,
    /// Drafting would cost more time than the accepted tokens save.
    DoesNotPay {
        /// Estimated chance that the first drafted token is accepted.
        acceptance: f64,
        /// Time of drafting and checking that token, as a share of a plain step.
        cost: f64,
    },
    /// Drafts of late cost more than they saved; another is tried once plain steps have paid for it.
    TooManyRejections,
}

impl fmt::Display for Passthrough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("speculation is turned off"),
            Self::NoDrafter => f.write_str("there is no drafter"),
            Self::LastRowOnly => f.write_str("the target returns logits for the last token only"),
            Self::NothingToPropose => f.write_str("the drafter has nothing to propose"),
            Self::OneTokenLeft => f.write_str("only one token is left"),
            Self::DoesNotPay { acceptance, cost } => write!(
                f,
                "a drafted token is accepted {:.0} % of the time and costs {:.0} % of a plain step",
                acceptance * 100.0,
                cost * 100.0
            ),
            Self::TooManyRejections => f.write_str("too many of the last drafts were rejected"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_plain_text_with_its_numbers() {
        let reason = Passthrough::DoesNotPay { acceptance: 0.31, cost: 0.425 };
        assert_eq!(reason.to_string(), "a drafted token is accepted 31 % of the time and costs 42 % of a plain step");
    }
}
