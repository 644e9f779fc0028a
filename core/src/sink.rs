//! Where drafts are made: warps the drafter's logits, samples, heeds the constraint, and records.

use crate::accept::Rule;
use crate::token_mask::allows;
use crate::verify::Verifier;
use crate::{DraftSink, EarlyStop, Error, History, Proposal, Purpose, Result, TokenId, TokenMaskSource, Unusable};

/// The [`DraftSink`] of one round.
///
/// Every token taken is pushed to history and constraint, so that the next position's processors see it;
/// [`Verifier::verify`] takes back what is not accepted. Drafting ends at the length asked for, after a stop token,
/// where the constraint leaves the drafter nothing, and where the draft is too unlikely to be worth going on with.
pub struct ProposalSink<'a> {
    verifier: &'a mut Verifier,
    proposal: &'a mut Proposal,
    history: &'a mut History,
    constraint: Option<&'a mut dyn TokenMaskSource>,
    len_max: usize,
    stop: EarlyStop,
    /// Place of the first drafted token in the whole sequence.
    position: usize,
    /// Estimated chance that everything drafted so far is accepted.
    reach: f64,
    /// Tokens that were certain, which no estimate is about.
    certain: usize,
}

impl Verifier {
    /// A sink for up to `len_max` tokens after `history`, or fewer as `stop` says, into `proposal`, which is cleared.
    pub fn sink<'a>(
        &'a mut self,
        proposal: &'a mut Proposal,
        history: &'a mut History,
        constraint: Option<&'a mut dyn TokenMaskSource>,
        len_max: usize,
        stop: &EarlyStop,
    ) -> ProposalSink<'a> {
        proposal.clear();
        let position = history.len();
        let len_max = len_max.min(proposal.len_max());
        ProposalSink {
            verifier: self,
            proposal,
            history,
            constraint,
            len_max,
            stop: *stop,
            position,
            reach: 1.0,
            certain: 0,
        }
    }
}

impl ProposalSink<'_> {
    /// Notes what the constraint allows next.
    fn note_mask(&mut self) -> Result<()> {
        let mask = match &mut self.constraint {
            Some(constraint) => constraint.mask()?,
            None => None,
        };
        self.proposal.mask_next(mask);
        Ok(())
    }

    /// Samples a token from the drafter's row, and says how sure the drafter was of it.
    fn draw(&mut self, row: &[f32]) -> Result<(TokenId, f64), Unusable> {
        let Verifier { rule, warper, random, .. } = &mut *self.verifier;
        let index = self.proposal.len();
        let (out, mask) = self.proposal.next_mut();
        let token = match rule {
            Rule::Greedy | Rule::GreedyLenient(_) if self.stop.is_active() => {
                return warper.best_with_chance(row, self.history, mask);
            }
            Rule::Greedy | Rule::GreedyLenient(_) => return Ok((warper.best(row, self.history, mask)?, 1.0)),
            Rule::SeedCoupled => {
                warper.warp(row, self.history, mask, out)?;
                out.pick(random.noise(self.position + index))
            }
            Rule::Token | Rule::Block | Rule::Lenient(_) => {
                warper.warp(row, self.history, mask, out)?;
                out.sample(random.uniform(self.position, Purpose::Draft, index))
            }
        };
        Ok((token, out.prob(token)))
    }

    /// Moves on by a token that is about to be recorded.
    fn step(&mut self, token: TokenId) -> Result<()> {
        if let Some(constraint) = &mut self.constraint {
            constraint.push(token)?;
        }
        self.history.push(token);
        Ok(())
    }
}

impl DraftSink for ProposalSink<'_> {
    fn offer_logits(&mut self, row: &[f32]) -> Result<Option<TokenId>> {
        if !self.wants_more() {
            return Ok(None);
        }
        self.note_mask()?;
        let (token, confidence) = match self.draw(row) {
            Ok(drawn) => drawn,
            // A drafter with fewer tokens than the target may have none that the constraint allows.
            Err(Unusable::NothingFinite) if self.constraint.is_some() => return Ok(None),
            Err(unusable) => {
                let (model, row) = ("drafter", self.proposal.len());
                return Err(Error::InvalidLogits { model, row, reason: unusable.reason() });
            }
        };
        self.step(token)?;
        self.reach *= self.stop.acceptance(confidence);
        match self.verifier.rule {
            Rule::Greedy | Rule::GreedyLenient(_) => self.proposal.push_certain(token, confidence as f32),
            _ => self.proposal.push_sampled(token, confidence as f32),
        }
        Ok(Some(token))
    }

    fn offer_token(&mut self, token: TokenId) -> Result<bool> {
        if !self.wants_more() || token as usize >= self.verifier.warper.vocab_len() {
            return Ok(false);
        }
        self.note_mask()?;
        if self.proposal.next_mut().1.is_some_and(|mask| !allows(mask, token)) {
            return Ok(false);
        }
        self.step(token)?;
        self.proposal.push_certain(token, 1.0);
        self.certain += 1;
        Ok(true)
    }

    fn wants_more(&self) -> bool {
        let len = self.proposal.len();
        let ended = self.proposal.tokens().last().is_some_and(|last| self.verifier.stop_tokens.contains(last));
        len < self.len_max && !ended && self.stop.goes_on(len - self.certain, self.reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::early_stop::{ConfidenceRecord, TokenCost};
    use crate::scripted::ScriptedModel;
    use crate::{Drafter, GenerationOptions, Model, ModelDrafter, PlanContext};

    #[test]
    fn a_draft_ends_before_the_pass_that_is_not_worth_it() {
        // Sure of everything but what follows three tokens.
        let script = |tokens: &[TokenId], row: &mut [f32]| row[5] = if tokens.len() == 3 { 0.5 } else { 20.0 };
        let mut drafter = ModelDrafter::new(ScriptedModel::new(10, script), 10);
        let mut record = ConfidenceRecord::default();
        for unsure in [0.05, 0.15, 0.3, 0.4] {
            (0..100).for_each(|_| record.observe(&[0.99, unsure], 2, 1));
        }
        let stop = record.stop(0.5, 1.0, |_| TokenCost { draft: 0.1, row: 0.1 }, None);

        for (options, sampled) in [(None, false), (Some(0.3), true)] {
            let defaults = GenerationOptions::default();
            let options = GenerationOptions { temperature: options, ..GenerationOptions::default() };
            let context =
                PlanContext { vocab_len: 10, tokens_left: 99, stop_tokens: &[], defaults: &defaults, seed: 0 };
            let mut verifier = Verifier::new(&options.plan(&context).unwrap(), 10);
            let (mut proposal, mut history) = (Proposal::new(10, 8), History::new(10, 64));
            history.extend(&[1, 2]);
            drafter.truncate(0).unwrap();
            let mut sink = verifier.sink(&mut proposal, &mut history, None, 6, &stop);
            drafter.propose(&[1, 2], 6, &mut sink).unwrap();
            assert_eq!(proposal.len(), 2, "sampled: {sampled}");
            assert!(proposal.confidences()[0] > 0.9 && proposal.confidences()[1] < 0.8);
            // The second token was never fed.
            assert_eq!(drafter.model().len(), 3);
        }
    }
}
