//! One round's verification: the target's logits become distributions as a rule asks for them.

use crate::accept::{Acceptance, Rule, TargetRows, accept};
use crate::{
    Distribution, Error, GenerationPlan, History, Logits, Proposal, Random, Result, SamplingPlan, TokenId,
    TokenMaskSource, Unusable, Warper,
};

/// Checks proposals against the target's logits under one plan. Allocates nothing after construction.
#[derive(Clone, Debug)]
pub struct Verifier {
    pub(crate) rule: Rule,
    pub(crate) warper: Warper,
    pub(crate) stop_tokens: Vec<TokenId>,
    pub(crate) random: Random,
    row: Distribution,
}

impl Verifier {
    /// A verifier for rows whose first `vocab_len` columns are tokens.
    pub fn new(plan: &GenerationPlan, vocab_len: usize) -> Self {
        let rule = Rule::of(plan);
        let warper = match rule {
            // Nearly as likely as the best is judged by the plain softmax.
            Rule::GreedyLenient(_) => {
                let (top_k, top_p, min_p) = (vocab_len, 1.0, 0.0);
                Warper::new(&SamplingPlan { temperature: 1.0, top_k, top_p, min_p, ..plan.sampling.clone() }, vocab_len)
            }
            _ => Warper::new(&plan.sampling, vocab_len),
        };
        Self {
            rule,
            warper,
            stop_tokens: plan.sampling.stop_tokens.clone(),
            random: Random::new(plan.seed),
            row: Distribution::new(vocab_len),
        }
    }

    /// The rule in force.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Verifies `proposal` against `logits`, `[proposal.len() + 1, vocab_len]` rows of the target; an empty proposal
    /// makes it a plain step.
    ///
    /// On entry `history` and `constraint` stand after the drafted tokens, as the sink leaves them; on return, after
    /// the accepted ones. `next` has not been pushed.
    ///
    /// # Errors
    /// `InvalidLogits` if a row that is needed has a NaN or no token left; `Constraint`. History and constraint are
    /// then back at the anchor.
    ///
    /// # Panics
    /// If there are not as many rows as that, or `history` is shorter than the proposal.
    pub fn verify(
        &mut self,
        proposal: &Proposal,
        logits: Logits<'_>,
        history: &mut History,
        mut constraint: Option<&mut dyn TokenMaskSource>,
    ) -> Result<Acceptance> {
        assert_eq!(logits.rows(), proposal.len() + 1, "one row per drafted token and one more");
        let position = history.len() - proposal.len();
        let mut rows = WarpedRows {
            logits,
            proposal,
            warper: &mut self.warper,
            position,
            history,
            // Not `as_deref_mut`: only here can the trait object's lifetime shrink with the reference's.
            constraint: match &mut constraint {
                Some(constraint) => Some(&mut **constraint),
                None => None,
            },
            row: &mut self.row,
            row_index: None,
        };
        let acceptance = accept(self.rule, proposal, &mut rows, &self.random, position);
        let accepted = acceptance.as_ref().map_or(0, |acceptance| acceptance.accepted);
        history.truncate(position);
        history.extend(&proposal.tokens()[..accepted]);
        if let Some(constraint) = constraint
            && accepted < proposal.len()
        {
            constraint.rollback(proposal.len() - accepted)?;
        }
        acceptance
    }
}

/// The target's rows of one round, one distribution at a time.
struct WarpedRows<'a> {
    logits: Logits<'a>,
    proposal: &'a Proposal,
    warper: &'a mut Warper,
    position: usize,
    history: &'a mut History,
    constraint: Option<&'a mut dyn TokenMaskSource>,
    row: &'a mut Distribution,
    row_index: Option<usize>,
}

impl WarpedRows<'_> {
    /// Brings the history to where row `index` is about.
    fn seek(&mut self, index: usize) {
        self.history.truncate(self.position + index);
        let known = self.history.len() - self.position;
        self.history.extend(&self.proposal.tokens()[known..index]);
    }
}

/// What may follow the first `index` drafted tokens. The drafter asked already, except for the bonus.
fn mask_at<'a>(
    proposal: &'a Proposal,
    constraint: &'a mut Option<&mut dyn TokenMaskSource>,
    index: usize,
) -> Result<Option<&'a [u32]>> {
    match constraint {
        _ if index < proposal.len() => Ok(proposal.mask(index)),
        Some(constraint) => constraint.mask(),
        None => Ok(None),
    }
}

fn unusable(row: usize) -> impl Fn(Unusable) -> Error {
    move |unusable| Error::InvalidLogits { model: "target", row, reason: unusable.reason() }
}

impl TargetRows<f32> for WarpedRows<'_> {
    fn row(&mut self, index: usize) -> Result<&Distribution> {
        if self.row_index != Some(index) {
            self.seek(index);
            self.row_index = None;
            let mask = mask_at(self.proposal, &mut self.constraint, index)?;
            let logits = self.logits.row(index);
            self.warper.warp(logits, self.history, mask, self.row).map_err(unusable(index))?;
            self.row_index = Some(index);
        }
        Ok(self.row)
    }

    fn best(&mut self, index: usize) -> Result<TokenId> {
        self.seek(index);
        let mask = mask_at(self.proposal, &mut self.constraint, index)?;
        self.warper.best(self.logits.row(index), self.history, mask).map_err(unusable(index))
    }
}
