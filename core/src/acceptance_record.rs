//! How often drafted tokens were accepted of late, by their place in the draft.

use crate::DRAFT_LEN_MAX;

/// Running acceptance per draft position, the older the lighter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AcceptanceRecord {
    prior: f64,
    /// Weighted trials and successes per position.
    trials: [f64; DRAFT_LEN_MAX],
    successes: [f64; DRAFT_LEN_MAX],
}

/// Weight that an observation keeps when the position's next one comes: about twenty-five count.
const MEMORY: f64 = 0.96;

/// Observations that the prior counts as.
const PRIOR_WEIGHT: f64 = 4.0;

impl AcceptanceRecord {
    /// Nothing observed yet; `prior` is believed until then.
    pub(crate) fn new(prior: f64) -> Self {
        Self { prior, trials: [0.0; DRAFT_LEN_MAX], successes: [0.0; DRAFT_LEN_MAX] }
    }

    /// Takes note of a proposal: tokens up to `accepted` were tried and kept, the next one tried and rejected, later
    /// ones say nothing.
    pub(crate) fn observe(&mut self, drafted: usize, accepted: usize) {
        for position in 0..drafted.min(accepted + 1).min(DRAFT_LEN_MAX) {
            let kept = f64::from(position < accepted);
            self.trials[position] = self.trials[position] * MEMORY + 1.0;
            self.successes[position] = self.successes[position] * MEMORY + kept;
        }
    }

    /// Estimated chance that the token at `position` is accepted if those before it are. A position that was seldom
    /// tried is taken to be like the one before it.
    pub(crate) fn acceptance(&self, position: usize) -> f64 {
        let mut estimate = self.prior;
        for position in 0..=position.min(DRAFT_LEN_MAX - 1) {
            estimate = (self.successes[position] + PRIOR_WEIGHT * estimate) / (self.trials[position] + PRIOR_WEIGHT);
        }
        estimate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_move_from_the_prior_to_what_is_observed() {
        let mut record = AcceptanceRecord::new(0.7);
        assert_eq!((record.acceptance(0), record.acceptance(9)), (0.7, 0.7));
        for _ in 0..200 {
            record.observe(4, 2);
        }
        let estimates = [0, 1, 2].map(|position| record.acceptance(position));
        assert!(estimates[0] > 0.95 && estimates[1] > 0.95 && estimates[2] < 0.15, "{estimates:?}");
        // Never tried: like the position before.
        assert_eq!(record.acceptance(3), record.acceptance(2));
    }

    #[test]
    fn the_past_fades() {
        let mut record = AcceptanceRecord::new(0.7);
        (0..100).for_each(|_| record.observe(1, 1));
        (0..40).for_each(|_| record.observe(1, 0));
        assert!(record.acceptance(0) < 0.3, "{}", record.acceptance(0));
    }

    #[test]
    fn longer_drafts_than_the_record_are_taken() {
        let mut record = AcceptanceRecord::new(0.5);
        record.observe(100, 99);
        assert!(record.acceptance(50) > 0.5);
    }
}
