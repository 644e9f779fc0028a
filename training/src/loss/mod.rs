//! The distillation losses: what is minimised between the target's p and the drafter's q at one position.
//!
//! With u = z / T the drafter's tempered logits, p and q the softmaxes of the target's and the drafter's tempered logits:
//!
//! | loss | value | gradient on u |
//! |---|---|---|
//! | forward KL | Σ p log(p/q) | q − p |
//! | reverse KL | Σ q log(q/p) | q (log(q/p) − KL(q‖p)) |
//! | JSD β | β KL(p‖m) + (1−β) KL(q‖m), m = βp + (1−β)q | (1−β) q (log(q/m) − KL(q‖m)) |
//! | TVD | 1 − Σ min(p,q) | q (Q − w), w = 1{q<p} + ½·1{q=p}, Q = Σ q w |
//! | TVD++ | −Σ stopgrad(A) q, A = (r − μ)/σ, r = 1{p>q} | −q (r − Σ q r)/σ |
//! | LK α | −log Σ min(p,q) | TVD's, divided by Σ min(p,q) |
//! | LK λ | λ KL + (1−λ) TVD, λ = exp(−decay · stopgrad(Σ min(p,q))) | the same mixture of gradients |
//!
//! The gradient on z is that on u divided by T. Because every gradient is closed, no tape is kept over the
//! vocabulary: [`divergence`] computes value and gradient of a chunk of positions, and [`crate::backward`] takes the
//! gradient through the output head into the rest of the model.
//!
//! A drafter whose head is trimmed to some kept ids has q = 0 elsewhere. Then p is taken over the full vocabulary
//! and read at the kept ids, its mass outside being acceptance that no drafter can win; only forward KL, infinite
//! otherwise, is taken against p renormalised over the kept ids. See [`divergence::Teacher`].

pub mod divergence;
#[cfg(test)]
mod reference;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Over what the standard deviation of TVD++'s rewards is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sigma {
    /// Each position has its own σ² = Q (1 − Q): changes the direction of the step.
    Position,
    /// One σ for all weighted positions of the batch: only rescales the step.
    Batch,
}

/// A distillation loss; the formulas are in the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Loss {
    /// KL(p‖q).
    ForwardKl,
    /// KL(q‖p).
    ReverseKl,
    /// Generalised Jensen-Shannon divergence, `beta` strictly between 0 and 1.
    Jsd {
        /// The weight of p in the mixture m.
        beta: f64,
    },
    /// Total variation distance, which is one minus the acceptance.
    Tvd,
    /// Total variation by normalised advantages.
    TvdPlusPlus(Sigma),
    /// Minus the logarithm of the acceptance.
    LkAlpha,
    /// Forward KL where acceptance is low, TVD where it is high.
    LkLambda {
        /// How fast the weight of KL falls as acceptance grows; 3 in the publication.
        decay: f64,
    },
}

impl Loss {
    /// One of each loss, at its usual setting.
    pub const ALL: [Self; 8] = [
        Self::ForwardKl,
        Self::ReverseKl,
        Self::Jsd { beta: 0.5 },
        Self::Tvd,
        Self::TvdPlusPlus(Sigma::Position),
        Self::TvdPlusPlus(Sigma::Batch),
        Self::LkAlpha,
        Self::LkLambda { decay: 3.0 },
    ];
}

/// A loss name that is not known, or a parameter outside its range.
#[derive(Debug, thiserror::Error)]
#[error(
    "'{0}' is not a loss: use kl, rkl, jsd:BETA with 0 < BETA < 1, tvd, tvd++, tvd++:batch, lk-alpha, lk-lambda or lk-lambda:DECAY"
)]
pub struct UnknownLoss(String);

impl FromStr for Loss {
    type Err = UnknownLoss;

    fn from_str(text: &str) -> Result<Self, UnknownLoss> {
        let unknown = || UnknownLoss(text.to_owned());
        let (name, parameter) = match text.split_once(':') {
            Some((name, parameter)) => (name, Some(parameter)),
            None => (text, None),
        };
        let number = |value: &str| value.parse::<f64>().map_err(|_| unknown());
        match (name, parameter) {
            ("kl", None) => Ok(Self::ForwardKl),
            ("rkl", None) => Ok(Self::ReverseKl),
            ("jsd", None) => Ok(Self::Jsd { beta: 0.5 }),
            ("jsd", Some(beta)) => match number(beta)? {
                beta if beta > 0.0 && beta < 1.0 => Ok(Self::Jsd { beta }),
                _ => Err(unknown()),
            },
            ("tvd", None) => Ok(Self::Tvd),
            ("tvd++", None | Some("position")) => Ok(Self::TvdPlusPlus(Sigma::Position)),
            ("tvd++", Some("batch")) => Ok(Self::TvdPlusPlus(Sigma::Batch)),
            ("lk-alpha", None) => Ok(Self::LkAlpha),
            ("lk-lambda", None) => Ok(Self::LkLambda { decay: 3.0 }),
            ("lk-lambda", Some(decay)) => match number(decay)? {
                decay if decay.is_finite() && decay >= 0.0 => Ok(Self::LkLambda { decay }),
                _ => Err(unknown()),
            },
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForwardKl => write!(out, "kl"),
            Self::ReverseKl => write!(out, "rkl"),
            Self::Jsd { beta } => write!(out, "jsd:{beta}"),
            Self::Tvd => write!(out, "tvd"),
            Self::TvdPlusPlus(Sigma::Position) => write!(out, "tvd++"),
            Self::TvdPlusPlus(Sigma::Batch) => write!(out, "tvd++:batch"),
            Self::LkAlpha => write!(out, "lk-alpha"),
            Self::LkLambda { decay } => write!(out, "lk-lambda:{decay}"),
        }
    }
}

impl TryFrom<String> for Loss {
    type Error = UnknownLoss;

    fn try_from(text: String) -> Result<Self, UnknownLoss> {
        text.parse()
    }
}

impl From<Loss> for String {
    fn from(loss: Loss) -> Self {
        loss.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for loss in Loss::ALL {
            assert_eq!(loss.to_string().parse::<Loss>().unwrap(), loss);
        }
        assert_eq!("jsd:0.1".parse::<Loss>().unwrap(), Loss::Jsd { beta: 0.1 });
        assert_eq!("lk-lambda".parse::<Loss>().unwrap(), Loss::LkLambda { decay: 3.0 });
    }

    #[test]
    fn bad_names_and_parameters_are_refused() {
        for bad in ["", "hinge", "jsd:0", "jsd:1", "jsd:NaN", "jsd:x", "kl:2", "lk-lambda:-1", "lk-lambda:inf"] {
            let error = bad.parse::<Loss>().unwrap_err().to_string();
            assert!(error.contains("is not a loss"), "{bad}: {error}");
        }
    }
}
