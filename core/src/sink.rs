//! Where drafts are made: warps the drafter's logits, samples, heeds the constraint, and records.

use crate::accept::Rule;
use crate::token_mask::allows;
use crate::verify::Verifier;
use crate::{DraftSink, Error, History, Proposal, Purpose, Result, TokenId, TokenMaskSource, Unusable};

/// The [`DraftSink`] of one round.
///
/// Every token taken is pushed to history and constraint, so that the next position's processors see it;
/// [`Verifier::verify`] takes back what is not accepted. Drafting ends at the length asked for, after a stop token,
/// where the constraint leaves the drafter nothing, and where the draft is too unlikely to be worth its cost.
pub struct ProposalSink<'a> {
    verifier: &'a mut Verifier,
    proposal: &'a mut Proposal,
    history: &'a mut History,
    constraint: Option<&'a mut dyn TokenMaskSource>,
    len_max: usize,
    reach_min: f64,
    /// Place of the first drafted token in the whole sequence.
    position: usize,
    /// Product of the largest probabilities so far: a guess at the chance that verification gets here.
    reach: f64,
}

impl Verifier {
    /// A sink for up to `len_max` tokens after `history`, into `proposal`, which is cleared.
    ///
    /// A further token is only sampled while the product of the largest probabilities of all positions, that token's
    /// included, is at least `reach_min`; 0 never stops early. The rule looks at distributions, never at a token
    /// sampled from them, so it does not bias the output.
    pub fn sink<'a>(
        &'a mut self,
        proposal: &'a mut Proposal,
        history: &'a mut History,
        constraint: Option<&'a mut dyn TokenMaskSource>,
        len_max: usize,
        reach_min: f64,
    ) -> ProposalSink<'a> {
        proposal.clear();
        let position = history.len();
        let len_max = len_max.min(proposal.len_max());
        ProposalSink { verifier: self, proposal, history, constraint, len_max, reach_min, position, reach: 1.0 }
    }
}

impl ProposalSink<'_> {
    /// True if no further token is wanted, whatever its distribution.
    fn is_done(&self) -> bool {
        let ended = self.proposal.tokens().last().is_some_and(|last| self.verifier.stop_tokens.contains(last));
        self.proposal.len() >= self.len_max || ended
    }

    /// Notes what the constraint allows next.
    fn note_mask(&mut self) -> Result<()> {
        let mask = match &mut self.constraint {
            Some(constraint) => constraint.mask()?,
            None => None,
        };
        self.proposal.mask_next(mask);
        Ok(())
    }

    /// Samples a token from the drafter's row; `None` if the draft is to end before it.
    fn draw(&mut self, row: &[f32]) -> Result<Option<TokenId>, Unusable> {
        let Verifier { rule, warper, random, .. } = &mut *self.verifier;
        let index = self.proposal.len();
        let (out, mask) = self.proposal.next_mut();
        let judged = self.reach_min > 0.0;
        let (best, chance) = match rule {
            Rule::Greedy | Rule::GreedyLenient(_) if judged => warper.best_with_chance(row, self.history, mask)?,
            Rule::Greedy | Rule::GreedyLenient(_) => (warper.best(row, self.history, mask)?, 1.0),
            _ => {
                warper.warp(row, self.history, mask, out)?;
                (0, if judged { out.prob_max() } else { 1.0 })
            }
        };
        if self.reach * chance < self.reach_min {
            return Ok(None);
        }
        self.reach *= chance;
        Ok(Some(match rule {
            Rule::Greedy | Rule::GreedyLenient(_) => best,
            Rule::SeedCoupled => out.pick(random.noise(self.position + index)),
            Rule::Token | Rule::Block | Rule::Lenient(_) => {
                out.sample(random.uniform(self.position, Purpose::Draft, index))
            }
        }))
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
        if self.is_done() {
            return Ok(None);
        }
        self.note_mask()?;
        let token = match self.draw(row) {
            Ok(Some(token)) => token,
            Ok(None) => return Ok(None),
            // A drafter with fewer tokens than the target may have none that the constraint allows.
            Err(Unusable::NothingFinite) if self.constraint.is_some() => return Ok(None),
            Err(unusable) => {
                let (model, row) = ("drafter", self.proposal.len());
                return Err(Error::InvalidLogits { model, row, reason: unusable.reason() });
            }
        };
        self.step(token)?;
        match self.verifier.rule {
            Rule::Greedy | Rule::GreedyLenient(_) => self.proposal.push_certain(token),
            _ => self.proposal.push_sampled(token),
        }
        Ok(Some(token))
    }

    fn offer_token(&mut self, token: TokenId) -> Result<bool> {
        if self.is_done() || token as usize >= self.verifier.warper.vocab_len() {
            return Ok(false);
        }
        self.note_mask()?;
        if self.proposal.next_mut().1.is_some_and(|mask| !allows(mask, token)) {
            return Ok(false);
        }
        self.step(token)?;
        self.proposal.push_certain(token);
        Ok(true)
    }
}
