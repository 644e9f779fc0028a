//! Prompt lookup where the text repeats itself, another drafter where it does not.

use std::sync::Arc;

use crate::prompt_lookup::Match;
use crate::{DraftSink, DraftSource, Drafter, Interrupt, NGRAM_RANGE, PromptLookup, Result, TokenId};

/// Copies where the context's end occurred before at sufficient length, and asks the other drafter elsewhere.
///
/// Which lengths suffice is learnt from what became of earlier copies. The other drafter is not fed while copying goes
/// on; it catches up when it is asked again.
#[derive(Debug)]
pub struct CombinedDrafter<D> {
    lookup: PromptLookup,
    drafter: D,
    match_len_min: usize,
    record: CopyRecord,
    /// The copy whose fate is not known yet.
    copied: Option<Copied>,
}

#[derive(Debug)]
struct Copied {
    context_len: usize,
    match_len: usize,
    taken: usize,
}

/// How often copied tokens were accepted of late, by the length of the match.
#[derive(Debug, Default)]
struct CopyRecord {
    trials: [f32; MATCH_LENS],
    successes: [f32; MATCH_LENS],
}

const MATCH_LENS: usize = *NGRAM_RANGE.end() + 1;

/// Chance per token from which on a copy, which costs no time to draft, is preferred to a model's draft.
const COPY_ACCEPTANCE_MIN: f32 = 0.5;

/// Weight that the past keeps at the next copy of the same match length, and at every copy not made.
const MEMORY: f32 = 0.9;
const MEMORY_UNUSED: f32 = 0.98;

/// Tokens that the presumption for a match length counts as.
const PRIOR_WEIGHT: f32 = 3.0;

impl CopyRecord {
    /// Estimated chance that a token copied after a match of `len` is accepted. Longer matches are presumed better.
    fn acceptance(&self, len: usize) -> f32 {
        let presumed = 1.0 - 1.0 / len as f32;
        (self.successes[len] + PRIOR_WEIGHT * presumed) / (self.trials[len] + PRIOR_WEIGHT)
    }

    /// Takes note that of a copy of `taken` tokens the first `accepted` stayed; what came after the first loss was
    /// not judged.
    fn observe(&mut self, len: usize, taken: usize, accepted: usize) {
        self.fade(len, MEMORY);
        self.trials[len] += taken.min(accepted + 1) as f32;
        self.successes[len] += accepted.min(taken) as f32;
    }

    /// Forgets a part, so that a length given up is tried again after a while.
    fn fade(&mut self, len: usize, memory: f32) {
        self.trials[len] *= memory;
        self.successes[len] *= memory;
    }
}

impl<D: Drafter> CombinedDrafter<D> {
    /// Copies if at least `match_len_min` tokens agree and copies after such matches are accepted often enough.
    pub fn new(lookup: PromptLookup, drafter: D, match_len_min: usize) -> Self {
        Self { lookup, drafter, match_len_min, record: CopyRecord::default(), copied: None }
    }

    /// The drafter that is asked where nothing repeats.
    pub fn drafter(&self) -> &D {
        &self.drafter
    }

    fn find(&mut self, context: &[TokenId]) -> Option<Match> {
        self.lookup.find(context).filter(|found| found.len >= self.match_len_min)
    }

    fn is_worth_copying(&self, found: Match) -> bool {
        self.record.acceptance(found.len) >= COPY_ACCEPTANCE_MIN
    }
}

impl<D: Drafter> Drafter for CombinedDrafter<D> {
    fn propose(&mut self, context: &[TokenId], len_max: usize, sink: &mut dyn DraftSink) -> Result<()> {
        self.copied = None;
        match self.find(context) {
            Some(found) if self.is_worth_copying(found) => {
                let taken = PromptLookup::copy(context, found, len_max, sink)?;
                self.copied = Some(Copied { context_len: context.len(), match_len: found.len, taken });
                return Ok(());
            }
            Some(found) => self.record.fade(found.len, MEMORY_UNUSED),
            None => {}
        }
        self.drafter.propose(context, len_max, sink)
    }

    fn read(&mut self, context: &[TokenId]) -> Result<()> {
        self.drafter.read(context)
    }

    fn truncate(&mut self, len: usize) -> Result<()> {
        // What is kept beyond the context that was copied for is what verification accepted.
        if let Some(Copied { context_len, match_len, taken }) = self.copied.take()
            && len >= context_len
        {
            self.record.observe(match_len, taken, len - context_len);
        }
        self.lookup.truncate(len)?;
        self.drafter.truncate(len)
    }

    fn source(&mut self, context: &[TokenId]) -> DraftSource {
        match self.find(context) {
            Some(found) if self.is_worth_copying(found) => DraftSource::Lookup,
            _ => self.drafter.source(context),
        }
    }

    fn interrupts(&self) -> Vec<Arc<dyn Interrupt>> {
        self.drafter.interrupts()
    }

    fn cache_bytes(&self) -> usize {
        self.drafter.cache_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelDrafter;
    use crate::scripted::{RecordingSink, ScriptedModel};

    fn propose<D: Drafter>(drafter: &mut CombinedDrafter<D>, context: &[TokenId], len_max: usize) -> Vec<TokenId> {
        let mut sink = RecordingSink::default();
        drafter.propose(context, len_max, &mut sink).unwrap();
        sink.tokens
    }

    #[test]
    fn the_model_is_left_alone_while_copying_and_catches_up_after() {
        let model = ScriptedModel::new(10, |tokens, row| row[tokens.len() % 10] = 5.0);
        let mut drafter = CombinedDrafter::new(PromptLookup::new(2, 4, 64), ModelDrafter::new(model, 10), 3);

        let context = [1, 2, 3];
        assert_eq!(drafter.source(&context), DraftSource::Model);
        assert_eq!(propose(&mut drafter, &context, 4), [3, 4, 5, 6]);
        // Two of them are kept; then the text repeats its beginning.
        drafter.truncate(5).unwrap();
        let context = [1, 2, 3, 3, 4, 1, 2, 3];
        assert_eq!(drafter.source(&context), DraftSource::Lookup);
        assert_eq!(propose(&mut drafter, &context, 4), [3, 4, 1, 2]);
        assert_eq!(drafter.drafter().model().tokens(), [1, 2, 3, 3, 4]);
        // One copied token is kept, then something new: too short a match to copy.
        drafter.truncate(9).unwrap();
        let context = [1, 2, 3, 3, 4, 1, 2, 3, 3, 9];
        assert_eq!(drafter.source(&context), DraftSource::Model);
        assert_eq!(propose(&mut drafter, &context, 2), [0, 1]);
        assert_eq!(drafter.drafter().model().tokens(), [1, 2, 3, 3, 4, 1, 2, 3, 3, 9, 0]);
    }

    #[test]
    fn a_match_shorter_than_asked_for_is_not_copied() {
        let model = ScriptedModel::reciting(10, &[7]);
        let mut drafter = CombinedDrafter::new(PromptLookup::new(2, 4, 64), ModelDrafter::new(model, 10), 3);
        assert_eq!(propose(&mut drafter, &[1, 2, 5, 1, 2], 1), [7]);
        assert_eq!(propose(&mut drafter, &[1, 2, 5, 1, 2, 5], 1), [1]);
    }

    #[test]
    fn matches_whose_copies_are_rejected_are_left_to_the_model_for_a_while() {
        let model = ScriptedModel::reciting(10, &[7]);
        let mut drafter = CombinedDrafter::new(PromptLookup::new(2, 4, 64), ModelDrafter::new(model, 10), 2);
        let context = [1, 2, 3, 5, 1, 2, 3];
        let mut copies = Vec::new();
        for _ in 0..200 {
            copies.push(drafter.source(&context) == DraftSource::Lookup);
            let draft = propose(&mut drafter, &context, 2);
            assert_eq!(draft[0], if copies[copies.len() - 1] { 5 } else { 7 });
            drafter.truncate(context.len()).unwrap();
        }
        assert!(copies[0] && !copies[12], "the presumption was not given up");
        let tried = copies.iter().filter(|copied| **copied).count();
        assert!((3..30).contains(&tried), "{tried} of 200 were copied");
        // Another length has a record of its own.
        drafter.truncate(3).unwrap();
        assert_eq!(drafter.source(&[1, 2, 3, 4, 6, 1, 2, 3, 4]), DraftSource::Lookup);
    }

    #[test]
    fn copies_that_are_accepted_go_on() {
        let model = ScriptedModel::reciting(10, &[7]);
        let mut drafter = CombinedDrafter::new(PromptLookup::new(2, 4, 64), ModelDrafter::new(model, 10), 2);
        let context = [1, 2, 5, 6, 1, 2];
        for _ in 0..50 {
            assert_eq!(propose(&mut drafter, &context, 2), [5, 6]);
            drafter.truncate(context.len() + 2).unwrap();
        }
    }
}
