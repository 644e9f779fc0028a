//! Prompt lookup where the text repeats itself, another drafter where it does not.

use std::sync::Arc;

use crate::prompt_lookup::Match;
use crate::{DraftSink, DraftSource, Drafter, Interrupt, PromptLookup, Result, TokenId};

/// Copies where the context's end occurred before at sufficient length, and asks the other drafter elsewhere.
///
/// The other drafter is not fed while copying goes on; it catches up when it is asked again.
#[derive(Debug)]
pub struct CombinedDrafter<D> {
    lookup: PromptLookup,
    drafter: D,
    match_len_min: usize,
}

impl<D: Drafter> CombinedDrafter<D> {
    /// Copies if at least `match_len_min` tokens agree.
    pub fn new(lookup: PromptLookup, drafter: D, match_len_min: usize) -> Self {
        Self { lookup, drafter, match_len_min }
    }

    /// The drafter that is asked where nothing repeats.
    pub fn drafter(&self) -> &D {
        &self.drafter
    }

    fn find(&mut self, context: &[TokenId]) -> Option<Match> {
        self.lookup.find(context).filter(|found| found.len >= self.match_len_min)
    }
}

impl<D: Drafter> Drafter for CombinedDrafter<D> {
    fn propose(&mut self, context: &[TokenId], len_max: usize, sink: &mut dyn DraftSink) -> Result<()> {
        match self.find(context) {
            Some(found) => PromptLookup::copy(context, found, len_max, sink),
            None => self.drafter.propose(context, len_max, sink),
        }
    }

    fn truncate(&mut self, len: usize) -> Result<()> {
        self.lookup.truncate(len)?;
        self.drafter.truncate(len)
    }

    fn source(&mut self, context: &[TokenId]) -> DraftSource {
        if self.find(context).is_some() { DraftSource::Lookup } else { self.drafter.source(context) }
    }

    fn interrupts(&self) -> Vec<Arc<dyn Interrupt>> {
        self.drafter.interrupts()
    }

    fn context_len_max(&self) -> usize {
        // Copying has no limit of its own; past the other drafter's it is all that is left.
        self.lookup.context_len_max()
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
}
