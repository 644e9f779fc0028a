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
