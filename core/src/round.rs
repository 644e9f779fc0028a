//! One round: propose → score → accept → truncate.

use std::time::{Duration, Instant};

use crate::{
    DraftSink, Drafter, EarlyStop, GenerationPlan, History, Model, Result, RoundTime, TokenId, TokenMaskSource,
    proposal::Proposal, verify::Verifier,
};

/// The models and the confirmed tokens that a round works on. The history's last token is the anchor.
pub(crate) struct Pair<'a> {
    pub(crate) target: &'a mut dyn Model,
    pub(crate) drafter: Option<&'a mut (dyn Drafter + 'static)>,
    pub(crate) history: &'a mut History,
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Drafted tokens that the target was asked about.
    pub(crate) proposed: usize,
    /// Of these, the first ones, which the constraint left hardly a choice about and no drafter made.
    pub(crate) forced: usize,
    /// Drafted tokens confirmed; one more token, the target's own, follows them in the history.
    pub(crate) accepted: usize,
    /// The target's own token is the first drafted one that it was not asked about.
    pub(crate) foreseen: bool,
    /// Time of the passes.
    pub(crate) time: RoundTime,
    /// Time of the verification.
    pub(crate) accept: Duration,
}

/// The rounds of one generation. Allocates nothing after construction.
pub(crate) struct Rounds {
    verifier: Verifier,
    proposal: Proposal,
    constraint: Option<Box<dyn TokenMaskSource>>,
    /// What the constraint leaves hardly a choice about.
    forced: Vec<TokenId>,
    /// The anchor and the proposal: what the target scores.
    scored: Vec<TokenId>,
    /// The confirmed tokens and those forced, for the drafter.
    context: Vec<TokenId>,
    /// How sure the drafter was of each of its tokens, those pruned included.
    confidences: Vec<f32>,
}

impl Rounds {
    /// Rounds under `plan` that draft up to `draft_len_max` tokens each, in a context of up to `context_len_max`.
    pub(crate) fn new(
        plan: &GenerationPlan,
        vocab_len: usize,
        draft_len_max: usize,
        context_len_max: usize,
        constraint: Option<Box<dyn TokenMaskSource>>,
    ) -> Self {
        Self {
            verifier: Verifier::new(plan, vocab_len),
            proposal: Proposal::new(vocab_len, draft_len_max),
            constraint,
            forced: Vec::with_capacity(draft_len_max),
            scored: Vec::with_capacity(draft_len_max + 1),
            context: Vec::with_capacity(context_len_max + draft_len_max),
            confidences: Vec::with_capacity(draft_len_max),
        }
    }

    /// Most tokens that a round may draft.
    pub(crate) fn draft_len_max(&self) -> usize {
        self.proposal.len_max()
    }

    /// True if the output has the target's own distribution.
    pub(crate) fn is_lossless(&self) -> bool {
        self.verifier.rule().is_lossless()
    }

    /// True if a drafted token may be dropped before the target sees it.
    pub(crate) fn allows_pruning(&self) -> bool {
        self.verifier.rule().allows_pruning()
    }

    /// How sure the drafter was of each token that it drafted in the last round, whether or not the target was asked.
    pub(crate) fn confidences(&self) -> &[f32] {
        &self.confidences
    }

    /// Asks the constraint what must follow, of which the next round drafts at most `len_max` tokens before a drafter
    /// is asked. Returns them.
    pub(crate) fn look_ahead(&mut self, len_max: usize) -> &[TokenId] {
        self.forced.clear();
        let len_max = len_max.min(self.proposal.len_max());
        if let Some(constraint) = &mut self.constraint
            && len_max > 0
        {
            constraint.forced(&mut self.forced);
            self.forced.truncate(len_max);
        }
        &self.forced
    }

    /// Confirms at least one token and at most one more than what [`look_ahead`](Self::look_ahead) found and the
    /// drafter's `draft_len` tokens, and appends them to the history.
    ///
    /// The target's cache must hold all of the history but the last token, the anchor.
    ///
    /// # Errors
    /// Errors of the models and of the constraint. History and constraint are then as before the round; the caches
    /// may hold drafted tokens, which the next `truncate` to the history's length removes.
    pub(crate) fn run(&mut self, pair: &mut Pair<'_>, draft_len: usize, stop: &EarlyStop) -> Result<Outcome> {
        let confirmed = pair.history.len();
        let outcome = self.propose_and_verify(pair, draft_len, stop);
        if outcome.is_err() {
            let drafted = pair.history.len().saturating_sub(confirmed);
            pair.history.truncate(confirmed);
            if let Some(constraint) = &mut self.constraint
                && drafted > 0
                && let Err(error) = constraint.rollback(drafted)
            {
                log::error!("after a failed round: {error}");
            }
        }
        outcome
    }

    fn propose_and_verify(&mut self, pair: &mut Pair<'_>, draft_len: usize, stop: &EarlyStop) -> Result<Outcome> {
        let start = Instant::now();
        let forced = self.propose(pair, draft_len, stop)?;
        let pruned = self.prune(pair.history, forced, stop)?;
        let drafted = Instant::now();

        let anchor = pair.history.len() - self.proposal.len() - 1;
        self.scored.clear();
        self.scored.extend_from_slice(&pair.history.tokens()[anchor..]);
        let logits = pair.target.score(&self.scored)?;
        let scored = Instant::now();

        let constraint = self.constraint.as_deref_mut().map(|constraint| constraint as &mut dyn TokenMaskSource);
        let acceptance = self.verifier.verify(&self.proposal, logits, pair.history, constraint)?;
        if let Some(constraint) = &mut self.constraint {
            constraint.push(acceptance.next)?;
        }
        pair.history.push(acceptance.next);
        let known = pair.history.len() - 1;
        pair.target.truncate(known)?;
        if let Some(drafter) = &mut pair.drafter {
            drafter.truncate(known)?;
        }
        let time = RoundTime { draft: drafted - start, score: scored - drafted };
        let (proposed, accepted) = (self.proposal.len(), acceptance.accepted);
        let foreseen = accepted == proposed && pruned == Some(acceptance.next);
        Ok(Outcome { proposed, forced, accepted, foreseen, time, accept: scored.elapsed() })
    }

    /// Drops from the end of the drafter's tokens, which follow `forced` others, what is not worth its row of the target's
    /// pass. Returns the first token dropped.
    fn prune(&mut self, history: &mut History, forced: usize, stop: &EarlyStop) -> Result<Option<TokenId>> {
        self.confidences.clear();
        self.confidences.extend_from_slice(&self.proposal.confidences()[forced..]);
        if !self.allows_pruning() {
            return Ok(None);
        }
        let kept = forced + stop.worth(forced, &self.confidences);
        let Some(&first) = self.proposal.tokens().get(kept) else { return Ok(None) };
        let dropped = self.proposal.len() - kept;
        self.proposal.truncate(kept);
        history.truncate(history.len() - dropped);
        if let Some(constraint) = &mut self.constraint {
            constraint.rollback(dropped)?;
        }
        Ok(Some(first))
    }

    /// Returns how many tokens of the proposal no drafter made.
    fn propose(&mut self, pair: &mut Pair<'_>, draft_len: usize, stop: &EarlyStop) -> Result<usize> {
        self.proposal.clear();
        let drafter = pair.drafter.as_deref_mut().filter(|_| draft_len > 0);
        if drafter.is_none() && self.forced.is_empty() {
            return Ok(0);
        }
        // Drafted tokens go to the history, so the drafter looks at a copy. Only what the last round confirmed is new:
        // a generation never takes tokens back and goes on.
        self.context.extend_from_slice(&pair.history.tokens()[self.context.len()..]);
        let constraint = self.constraint.as_deref_mut().map(|constraint| constraint as &mut dyn TokenMaskSource);
        let len_max = self.forced.len() + draft_len;
        let mut sink = self.verifier.sink(&mut self.proposal, pair.history, constraint, len_max, stop);
        let confirmed = self.context.len();
        let taken = offer_all(&mut sink, &self.forced);
        let drafted = taken.and_then(|forced| {
            self.context.extend_from_slice(&self.forced[..forced]);
            if let Some(drafter) = drafter {
                drafter.propose(&self.context, draft_len, &mut sink)?;
            }
            Ok(forced)
        });
        self.context.truncate(confirmed);
        drafted
    }
}

/// Offers tokens up to the first that the sink does not want; how many it took.
fn offer_all(sink: &mut dyn DraftSink, tokens: &[TokenId]) -> Result<usize> {
    for (taken, &token) in tokens.iter().enumerate() {
        if !sink.offer_token(token)? {
            return Ok(taken);
        }
    }
    Ok(tokens.len())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::early_stop::{ConfidenceRecord, TokenCost};
    use crate::scripted::ScriptedModel;
    use crate::{DraftLength, GenerationOptions, ModelDrafter, PlanContext};

    const VOCAB_LEN: usize = 32;

    /// Allows every token but one, by position, and lets the test see what it was told.
    struct AllButOne(Arc<Mutex<Vec<TokenId>>>, [u32; 1]);

    impl TokenMaskSource for AllButOne {
        fn mask(&mut self) -> Result<Option<&[u32]>> {
            self.1 = [!(1 << (self.0.lock().unwrap().len() * 7 % VOCAB_LEN))];
            Ok(Some(&self.1))
        }
        fn push(&mut self, token: TokenId) -> Result<()> {
            self.0.lock().unwrap().push(token);
            Ok(())
        }
        fn rollback(&mut self, count: usize) -> Result<()> {
            let mut told = self.0.lock().unwrap();
            let len = told.len().checked_sub(count).expect("no more than was pushed");
            told.truncate(len);
            Ok(())
        }
    }

    /// Of every three tokens the drafter is sure of two and right, and unsure of one and wrong.
    fn model(wrong: u32) -> ScriptedModel {
        ScriptedModel::new(VOCAB_LEN, move |tokens, row| {
            let (len, last) = (tokens.len() as u32, tokens.last().copied().unwrap_or(0));
            let unsure = len.is_multiple_of(3);
            let best = (last * 5 + len + if unsure { wrong } else { 0 }) as usize % VOCAB_LEN;
            row[best] = if unsure && wrong > 0 { 0.5 } else { 20.0 };
        })
        .with_context_len_max(256)
    }

    /// Greedy rounds under a constraint, and what it was told.
    fn rounds_of(draft_len: usize) -> (Rounds, Arc<Mutex<Vec<TokenId>>>) {
        let defaults = GenerationOptions::default();
        let options = GenerationOptions {
            temperature: Some(0.0),
            draft_length: Some(DraftLength::Fixed(draft_len)),
            ..GenerationOptions::default()
        };
        let context =
            PlanContext { vocab_len: VOCAB_LEN, tokens_left: 200, stop_tokens: &[], defaults: &defaults, seed: 0 };
        let told = Arc::new(Mutex::new(Vec::new()));
        let constraint = Box::new(AllButOne(Arc::clone(&told), [0]));
        let rounds = Rounds::new(&options.plan(&context).unwrap(), VOCAB_LEN, draft_len, 256, Some(constraint));
        (rounds, told)
    }

    /// Stops that drop what the drafter is unsure of.
    fn prune() -> EarlyStop {
        let mut record = ConfidenceRecord::default();
        (0..100).for_each(|_| record.observe(&[0.99, 0.05], 2, 1));
        let cost = |_| TokenCost { draft: 0.01, row: 0.3 };
        let verify_cost = std::array::from_fn(|rows| 0.7 + 0.3 * rows as f64);
        record.stop(0.5, 1.0, cost, Some(&verify_cost))
    }

    /// Tokens of 30 rounds with what the constraint was told, and drafted and checked tokens.
    fn rounds(draft_len: usize, stop: &EarlyStop) -> (Vec<TokenId>, Vec<TokenId>, usize, usize) {
        let (mut rounds, told) = rounds_of(draft_len);
        let (mut target, mut drafter) = (model(0), ModelDrafter::new(model(3), VOCAB_LEN));
        let mut history = History::new(VOCAB_LEN, 300);
        history.extend(&[1]);
        let (mut drafted, mut checked) = (0, 0);
        for _ in 0..30 {
            let mut pair = Pair { target: &mut target, drafter: Some(&mut drafter), history: &mut history };
            let outcome = rounds.run(&mut pair, draft_len, stop).unwrap();
            drafted += rounds.confidences().len();
            checked += outcome.proposed;
            assert!(outcome.accepted <= outcome.proposed);
        }
        let told = told.lock().unwrap().clone();
        (history.tokens()[1..].to_vec(), told, drafted, checked)
    }

    #[test]
    fn a_pruned_draft_changes_neither_text_nor_constraint() {
        let (plain, ..) = rounds(0, &EarlyStop::NEVER);
        for (stop, pruned) in [(EarlyStop::NEVER, false), (prune(), true)] {
            let (text, told, drafted, checked) = rounds(6, &stop);
            assert_eq!(text[..plain.len()], plain[..]);
            assert_eq!(told, text, "the constraint was told of every token that stays, and of no other");
            assert_eq!(checked < drafted, pruned, "{checked} of {drafted}");
        }
    }

    /// A model that fails at its `fails_at`th pass.
    struct Failing(ScriptedModel, usize);

    impl Model for Failing {
        fn vocab_len(&self) -> usize {
            self.0.vocab_len()
        }
        fn len(&self) -> usize {
            self.0.len()
        }
        fn context_len_max(&self) -> usize {
            self.0.context_len_max()
        }
        fn cache_bytes(&self) -> usize {
            0
        }
        fn score(&mut self, tokens: &[TokenId]) -> Result<crate::Logits<'_>> {
            if self.0.passes().len() == self.1 {
                return Err(crate::Error::Cancelled);
            }
            self.0.score(tokens)
        }
        fn prefill(&mut self, tokens: &[TokenId]) -> Result<crate::Logits<'_>> {
            self.score(tokens)
        }
        fn truncate(&mut self, len: usize) -> Result<()> {
            self.0.truncate(len)
        }
        fn interrupt(&self) -> Arc<dyn crate::Interrupt> {
            self.0.interrupt()
        }
    }

    #[test]
    fn a_failing_round_leaves_history_and_constraint_as_before_it() {
        for (target_fails, drafter_fails) in [(4, usize::MAX), (usize::MAX, 4), (usize::MAX, 9), (0, 0)] {
            let (mut rounds, told) = rounds_of(6);
            let mut target = Failing(model(0), target_fails);
            let mut drafter = ModelDrafter::new(Failing(model(3), drafter_fails), VOCAB_LEN);
            let mut history = History::new(VOCAB_LEN, 300);
            history.extend(&[1]);
            let mut last = history.tokens().to_vec();
            let failed = (0..30).any(|_| {
                last = history.tokens().to_vec();
                let mut pair = Pair { target: &mut target, drafter: Some(&mut drafter), history: &mut history };
                rounds.run(&mut pair, 6, &prune()).is_err()
            });
            assert!(failed);
            assert_eq!(history.tokens(), last);
            assert_eq!(*told.lock().unwrap(), last[1..]);
        }
    }
}
