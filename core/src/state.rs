//! The models of a session and the tokens that they have confirmed.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    DraftLengthController, DraftSource, Drafter, Error, History, Interrupt, Model, NodeCounts, Result, TokenId,
};

/// What a generation needs to itself while it runs.
pub(crate) struct State {
    pub(crate) target: Box<dyn Model>,
    pub(crate) drafter: Option<Box<dyn Drafter>>,
    /// Every confirmed token. The target's cache holds a prefix of it, the drafter's too.
    pub(crate) history: History,
    /// Keeps what it has learnt from one generation to the next.
    pub(crate) draft_length: DraftLengthController,
    /// What computes the models.
    pub(crate) nodes: Arc<NodeCounts>,
    /// False if the target's arithmetic lets rejected drafts change accepted rows.
    pub(crate) rows_independent: bool,
}

impl State {
    /// Forgets everything from position `len` on, in the history and in both caches.
    pub(crate) fn truncate(&mut self, len: usize) -> Result<()> {
        self.history.truncate(len);
        self.target.truncate(len)?;
        match &mut self.drafter {
            Some(drafter) => drafter.truncate(len),
            None => Ok(()),
        }
    }

    /// Most tokens that a round may draft where `tokens_left` may still be emitted: γ ≤ tokens left − 1, and anchor and
    /// draft must fit the target's cache.
    pub(crate) fn draft_len_limit(&self, tokens_left: usize) -> usize {
        if !self.target.scores_every_row() {
            return 0;
        }
        (tokens_left - 1).min(self.target.context_len_max().saturating_sub(self.history.len()))
    }

    /// Where a proposal after the history and `forced` tokens would come from.
    pub(crate) fn draft_source(&mut self, forced: &[TokenId]) -> DraftSource {
        let Some(drafter) = &mut self.drafter else { return DraftSource::Nothing };
        let confirmed = self.history.len();
        self.history.extend(forced);
        let source = drafter.source(self.history.tokens());
        self.history.truncate(confirmed);
        source
    }

    /// Has the drafter read the prompt but its last token, the first of `len` tokens of the history, as far as it has not.
    pub(crate) fn read_prompt(&mut self, len: usize) -> Result<()> {
        let Self { drafter: Some(drafter), history, .. } = self else { return Ok(()) };
        drafter.read(&history.tokens()[..len])
    }

    /// Bytes of both caches when full.
    pub(crate) fn cache_bytes(&self) -> usize {
        self.target.cache_bytes() + self.drafter.as_ref().map_or(0, |drafter| drafter.cache_bytes())
    }

    /// Switches that stop whichever model is running.
    pub(crate) fn interrupts(&self) -> Vec<Arc<dyn Interrupt>> {
        let drafter = self.drafter.as_ref().map_or_else(Vec::new, |drafter| drafter.interrupts());
        std::iter::once(self.target.interrupt()).chain(drafter).collect()
    }

    /// Makes the history `prompt`, keeping the caches as far as it begins as the history did.
    ///
    /// Returns how many tokens of the prompt are in the target's cache; at least one is not, the anchor.
    pub(crate) fn begin(&mut self, prompt: &[TokenId]) -> Result<usize> {
        let known = self.history.tokens();
        let common = known.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        self.truncate(common.min(prompt.len() - 1))?;
        let kept = self.target.len();
        self.history.extend(&prompt[self.history.len()..]);
        self.history.begin_output();
        Ok(kept)
    }
}

/// A session's state while nobody uses it; empty while a generation does. Clones are the same place.
#[derive(Clone)]
pub(crate) struct Place(Arc<Mutex<Option<Box<State>>>>);

impl Place {
    pub(crate) fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(state)))))
    }

    /// Takes the state until the result is dropped.
    ///
    /// # Errors
    /// `SessionBusy` if somebody has it.
    pub(crate) fn hold(&self) -> Result<Held> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(Error::SessionBusy)?;
        Ok(Held { place: self.clone(), state: Some(state) })
    }
}

/// The state of a session, put back when dropped.
pub(crate) struct Held {
    place: Place,
    state: Option<Box<State>>,
}

impl Held {
    pub(crate) fn state_mut(&mut self) -> &mut State {
        self.state.as_deref_mut().expect("the state is held until drop")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.place.0.lock().unwrap_or_else(PoisonError::into_inner) = self.state.take();
    }
}
