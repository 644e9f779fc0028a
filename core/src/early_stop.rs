//! When a draft is no longer worth going on with: judged by how sure the drafter was of the tokens drafted so far.

use crate::DRAFT_LEN_MAX;

/// Upper ends of the ranges of a drafter's probability that are told apart; the last holds the rest.
const BIN_ENDS: [f32; 7] = [0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 0.95];

const BIN_COUNT: usize = BIN_ENDS.len() + 1;

/// Draft on while the chance of getting through what is drafted is at least a bound that depends on the length.
///
/// The rule looks at tokens that are in the draft already and at earlier rounds, never at a token it would then drop,
/// so that it does not bias the output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarlyStop {
    /// Chance of acceptance by bin of the drafter's probability.
    acceptance: [f32; BIN_COUNT],
    /// By tokens drafted; all 0 never stops.
    reach_min: [f32; DRAFT_LEN_MAX + 1],
}

impl EarlyStop {
    /// Goes on to the length asked for.
    pub const NEVER: Self = Self { acceptance: [1.0; BIN_COUNT], reach_min: [0.0; DRAFT_LEN_MAX + 1] };

    /// The chance that a token is accepted which the drafter gave probability `confidence`.
    pub(crate) fn acceptance(&self, confidence: f64) -> f64 {
        f64::from(self.acceptance[bin(confidence as f32)])
    }

    /// True if a draft of `len` tokens that gets through with chance `reach` is worth another token.
    pub(crate) fn goes_on(&self, len: usize, reach: f64) -> bool {
        reach >= f64::from(self.reach_min[len.min(DRAFT_LEN_MAX)])
    }

    /// True if it can stop at all, so that confidences matter.
    pub(crate) fn is_active(&self) -> bool {
        *self != Self::NEVER
    }
}

/// How often tokens were accepted of late, by how sure the drafter was.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ConfidenceRecord {
    trials: [f64; BIN_COUNT],
    successes: [f64; BIN_COUNT],
}

/// Weight that an observation keeps when its bin's next one comes.
const MEMORY: f64 = 0.98;

/// Observations that the overall acceptance counts as in every bin.
const PRIOR_WEIGHT: f64 = 4.0;

impl ConfidenceRecord {
    /// Takes note of a proposal of one confidence per token: tokens up to `accepted` were kept, the next was rejected.
    pub(crate) fn observe(&mut self, confidences: &[f32], accepted: usize) {
        for (position, &confidence) in confidences.iter().enumerate().take(accepted + 1) {
            let bin = bin(confidence);
            self.trials[bin] = self.trials[bin] * MEMORY + 1.0;
            self.successes[bin] = self.successes[bin] * MEMORY + f64::from(position < accepted);
        }
    }

    /// The marginal rule: another token is worth its `cost` (in plain steps) where its chance of being reached and
    /// accepted, per cost, is at least `speed`, the tokens per plain step reached otherwise. `acceptance` is that of a
    /// token of which nothing is known yet.
    pub(crate) fn stop(&self, acceptance: f64, speed: f64, cost: impl Fn(usize) -> f64) -> EarlyStop {
        let of_bin =
            |bin: usize| ((self.successes[bin] + PRIOR_WEIGHT * acceptance) / (self.trials[bin] + PRIOR_WEIGHT)) as f32;
        // The first token is drafted whatever happens: the choice of a length was that it pays.
        let reach_min = |len: usize| match len {
            0 => 0.0,
            _ => (cost(len) * speed / acceptance.max(1e-6)) as f32,
        };
        EarlyStop { acceptance: std::array::from_fn(of_bin), reach_min: std::array::from_fn(reach_min) }
    }
}

fn bin(confidence: f32) -> usize {
    BIN_ENDS.iter().position(|&end| confidence < end).unwrap_or(BIN_ENDS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidence_is_worth_what_it_was_worth() {
        let mut record = ConfidenceRecord::default();
        for _ in 0..100 {
            record.observe(&[0.97, 0.3], 1);
        }
        let stop = record.stop(0.6, 1.5, |_| 0.2);
        assert!(stop.acceptance(0.99) > 0.9 && stop.acceptance(0.31) < 0.1);
        // Nothing was seen of this range.
        assert!((stop.acceptance(0.6) - 0.6).abs() < 1e-6);
        // Worth it from 0.2 · 1.5 / 0.6 = 0.5 on.
        assert!(stop.goes_on(1, 0.51) && !stop.goes_on(1, 0.49) && stop.goes_on(0, 0.0));
    }

    #[test]
    fn never_never_stops() {
        assert!(EarlyStop::NEVER.goes_on(99, 1e-9) && !EarlyStop::NEVER.is_active());
        assert_eq!(EarlyStop::NEVER.acceptance(0.0), 1.0);
    }
}
