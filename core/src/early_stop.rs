//! When a draft is no longer worth going on with, and how much of it is worth a target pass: judged by how sure the
//! drafter was of its tokens.

use crate::DRAFT_LEN_MAX;

/// Upper ends of the ranges of a drafter's probability that are told apart; the last holds the rest.
const BIN_ENDS: [f32; 7] = [0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 0.95];

const BIN_COUNT: usize = BIN_ENDS.len() + 1;

/// Draft on while the chance of getting through what is drafted is at least a bound that depends on the length.
///
/// That rule looks at tokens that are in the draft already and at earlier rounds, never at a token it would then drop,
/// so that it does not bias the output. Where the output is the same whatever is drafted, a drafted token may be
/// dropped for what it is: `worth` says how many of them pay for their rows of the pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarlyStop {
    /// Wants to know how sure the drafter is.
    active: bool,
    /// Chance of acceptance by bin of the drafter's probability.
    acceptance: [f32; BIN_COUNT],
    /// By tokens drafted; all 0 never stops.
    reach_min: [f32; DRAFT_LEN_MAX + 1],
    /// What the target's pass over the anchor and so many drafted tokens takes, in tokens that could be had elsewhere in
    /// that time; all 0 drops nothing.
    pass_price: [f32; DRAFT_LEN_MAX + 1],
}

impl EarlyStop {
    /// Goes on to the length asked for.
    pub const NEVER: Self = Self {
        active: false,
        acceptance: [1.0; BIN_COUNT],
        reach_min: [0.0; DRAFT_LEN_MAX + 1],
        pass_price: [0.0; DRAFT_LEN_MAX + 1],
    };

    /// The same, but it wants to know how sure the drafter is, to learn from it.
    pub(crate) const WATCHING: Self = Self { active: true, ..Self::NEVER };

    /// The chance that a token is accepted which the drafter gave probability `confidence`.
    pub(crate) fn acceptance(&self, confidence: f64) -> f64 {
        f64::from(self.acceptance[bin(confidence as f32)])
    }

    /// True if a draft of `len` tokens that gets through with chance `reach` is worth another token.
    pub(crate) fn goes_on(&self, len: usize, reach: f64) -> bool {
        reach >= f64::from(self.reach_min[len.min(DRAFT_LEN_MAX)])
    }

    /// How many of the tokens drafted with these `confidences` to have checked: as many as make the expected tokens of
    /// the round, less the price of the pass, greatest. `forced` others are in the pass before them. What drafting took
    /// is spent either way.
    pub(crate) fn worth(&self, forced: usize, confidences: &[f32]) -> usize {
        let price = |drafted: usize| self.pass_price[(forced + drafted).min(DRAFT_LEN_MAX)];
        let (mut reach, mut tokens) = (1.0, 0.0);
        let mut best = (0, -price(0));
        for (index, &confidence) in confidences.iter().enumerate() {
            reach *= self.acceptance[bin(confidence)];
            tokens += reach;
            let value = tokens - price(index + 1);
            if value >= best.1 {
                best = (index + 1, value);
            }
        }
        best.0
    }

    /// True if it wants to know how sure the drafter was.
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }
}

/// How often tokens were accepted of late, by how sure the drafter was, and how often it was that sure.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ConfidenceRecord {
    trials: [f64; BIN_COUNT],
    successes: [f64; BIN_COUNT],
    drafted: [f64; BIN_COUNT],
}

/// Weight that an observation keeps when its bin's next one comes.
const MEMORY: f64 = 0.98;

/// Observations that the overall acceptance counts as in every bin.
const PRIOR_WEIGHT: f64 = 4.0;

/// What a drafted token costs, in plain steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenCost {
    /// The drafter's pass.
    pub(crate) draft: f64,
    /// Its row in the target's pass.
    pub(crate) row: f64,
}

impl ConfidenceRecord {
    /// Takes note of a proposal of one confidence per token. Of its first `judged` tokens, those up to `accepted` were
    /// kept and the next was rejected; nothing is known of the others.
    pub(crate) fn observe(&mut self, confidences: &[f32], judged: usize, accepted: usize) {
        for (position, &confidence) in confidences.iter().enumerate() {
            let bin = bin(confidence);
            self.drafted.iter_mut().for_each(|weight| *weight *= MEMORY);
            self.drafted[bin] += 1.0;
            if position < judged.min(accepted + 1) {
                self.trials[bin] = self.trials[bin] * MEMORY + 1.0;
                self.successes[bin] = self.successes[bin] * MEMORY + f64::from(position < accepted);
            }
        }
    }

    /// The marginal rule: another token is worth its `cost` where its chance of being reached and accepted, per cost, is
    /// at least `speed`, the tokens per plain step reached otherwise. `acceptance` is that of a token of which nothing is
    /// known yet.
    ///
    /// With `verify_cost`, v by rows in plain steps, drafted tokens may be dropped: only those that turn out likely
    /// enough have to pay for their rows. Without it nothing is dropped.
    pub(crate) fn stop(
        &self,
        acceptance: f64,
        speed: f64,
        cost: impl Fn(usize) -> TokenCost,
        verify_cost: Option<&[f64; DRAFT_LEN_MAX + 2]>,
    ) -> EarlyStop {
        let acceptances = self.acceptances(acceptance);
        let (kept, all) = (self.kept(&acceptances), [(1.0, acceptance)]);
        let kept = if verify_cost.is_some() { &kept[..] } else { &all };
        let reach_min = |len: usize| match len {
            // The first token is drafted whatever happens: the choice of a length was that it pays.
            0 => 0.0,
            // With the bins that are kept: reach · accepted − row · speed · share = draft · speed.
            _ => {
                let TokenCost { draft, row } = cost(len);
                let needed = |&(share, accepted): &(f64, f64)| (draft + row * share) * speed / accepted.max(1e-6);
                kept.iter().map(needed).fold(f64::INFINITY, f64::min) as f32
            }
        };
        EarlyStop {
            active: true,
            acceptance: acceptances.map(|chance| chance as f32),
            reach_min: std::array::from_fn(reach_min),
            pass_price: verify_cost.map_or([0.0; DRAFT_LEN_MAX + 1], |costs| {
                std::array::from_fn(|drafted| (speed * costs[drafted + 1]) as f32)
            }),
        }
    }

    /// Expected tokens per plain step where one token a round is drafted, and dropped where that is better.
    pub(crate) fn speed_of_one(&self, acceptance: f64, cost: TokenCost) -> f64 {
        let speed = |&(share, accepted): &(f64, f64)| (1.0 + accepted) / (1.0 + cost.draft + share * cost.row);
        self.kept(&self.acceptances(acceptance)).iter().map(speed).fold(0.0, f64::max)
    }

    /// For the best bin, the best two, and so on: the share of drafted tokens in them, and of those that are accepted.
    fn kept(&self, acceptances: &[f64; BIN_COUNT]) -> [(f64, f64); BIN_COUNT] {
        let total: f64 = self.drafted.iter().sum();
        let share = |bin: usize| if total > 0.0 { self.drafted[bin] / total } else { 1.0 / BIN_COUNT as f64 };
        let mut bins: [usize; BIN_COUNT] = std::array::from_fn(|bin| bin);
        bins.sort_unstable_by(|&a, &b| acceptances[b].total_cmp(&acceptances[a]));
        let mut kept = (0.0, 0.0);
        bins.map(|bin| {
            kept = (kept.0 + share(bin), kept.1 + share(bin) * acceptances[bin]);
            kept
        })
    }

    /// Chance of acceptance by bin, `acceptance` where little was seen of one.
    fn acceptances(&self, acceptance: f64) -> [f64; BIN_COUNT] {
        std::array::from_fn(|bin| (self.successes[bin] + PRIOR_WEIGHT * acceptance) / (self.trials[bin] + PRIOR_WEIGHT))
    }
}

fn bin(confidence: f32) -> usize {
    BIN_ENDS.iter().position(|&end| confidence < end).unwrap_or(BIN_ENDS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(draft: f64, row: f64) -> impl Fn(usize) -> TokenCost {
        move |_| TokenCost { draft, row }
    }

    #[test]
    fn confidence_is_worth_what_it_was_worth() {
        let mut record = ConfidenceRecord::default();
        for _ in 0..100 {
            record.observe(&[0.97, 0.3], 2, 1);
        }
        let stop = record.stop(0.6, 1.5, cost(0.1, 0.1), None);
        assert!(stop.acceptance(0.99) > 0.9 && stop.acceptance(0.31) < 0.1);
        // Nothing was seen of this range.
        assert!((stop.acceptance(0.6) - 0.6).abs() < 1e-6);
        // Worth it from 0.2 · 1.5 / 0.6 = 0.5 on.
        assert!(stop.goes_on(1, 0.51) && !stop.goes_on(1, 0.49) && stop.goes_on(0, 0.0));
    }

    #[test]
    fn what_turns_out_unlikely_does_not_pay_for_its_row() {
        let mut record = ConfidenceRecord::default();
        for _ in 0..200 {
            record.observe(&[0.97], 1, 1);
            record.observe(&[0.3], 1, 0);
        }
        // Half of all tokens are accepted, a row costs half a step: drafting every token and checking it gains nothing.
        let price = TokenCost { draft: 0.05, row: 0.5 };
        assert!(1.5 / 1.55 < 1.0 && record.speed_of_one(0.5, price) > 1.1, "{}", record.speed_of_one(0.5, price));
        let verify_cost = std::array::from_fn(|rows| 0.5 + 0.5 * rows as f64);
        let stop = record.stop(0.5, 1.0, |_| price, Some(&verify_cost));
        assert_eq!(
            [&[0.97][..], &[0.3], &[0.97, 0.3, 0.97], &[0.97, 0.97, 0.97]].map(|c| stop.worth(0, c)),
            [1, 0, 1, 3]
        );
        // Half of the next tokens are as good as certain and pay 1 − 0.5 each: a draft of 0.05 is worth it from a reach on
        // that lets (reach − 0.5) / 2 be 0.05.
        assert!(stop.goes_on(1, 0.65) && !stop.goes_on(1, 0.55), "{stop:?}");
        assert_eq!(record.stop(0.5, 1.0, |_| price, None).worth(0, &[0.3, 0.3]), 2, "nothing is dropped");
    }

    #[test]
    fn a_pass_that_costs_in_steps_is_looked_past() {
        let record = ConfidenceRecord::default();
        // The second row costs much, the next two nothing.
        let verify_cost = std::array::from_fn(|rows| if rows < 2 { 1.0 } else { 1.9 });
        let stop = record.stop(0.7, 1.0, cost(0.0, 0.3), Some(&verify_cost));
        assert_eq!([1, 2, 3].map(|len| stop.worth(0, &[0.9; 3][..len])), [0, 2, 3]);
        // Somebody else has paid for the step.
        assert_eq!(stop.worth(1, &[0.9]), 1);
    }

    #[test]
    fn never_never_stops() {
        assert!(EarlyStop::NEVER.goes_on(99, 1e-9) && !EarlyStop::NEVER.is_active());
        assert_eq!(EarlyStop::NEVER.acceptance(0.0), 1.0);
        assert_eq!(EarlyStop::NEVER.worth(0, &[0.0; 5]), 5);
        assert!(EarlyStop::WATCHING.goes_on(99, 1e-9) && EarlyStop::WATCHING.is_active());
    }
}
