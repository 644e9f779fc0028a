//! A conversation: one pair of caches, and the prefix they share with the next prompt.

use std::time::Instant;

use crate::{
    Error, Generation, GenerationOptions, Result, TokenId,
    conversation::{Conversation, Prompt},
    state::{Place, State},
};

/// A conversation with its own caches. Weights are shared with every other session of the engine.
///
/// Cheap to clone: clones are the same session. One generation runs at a time; a second one is `SessionBusy`.
#[derive(Clone)]
pub struct Session {
    place: Place,
    conversation: Conversation,
}

impl Session {
    pub(crate) fn new(state: State, conversation: Conversation) -> Self {
        Self { place: Place::new(state), conversation }
    }

    /// Starts a generation after `prompt`. What the prompt shares with the session's last tokens is not computed again.
    ///
    /// # Errors
    /// `SessionBusy` if another generation runs; `InvalidOption`; `ContextFull` if the prompt does not fit;
    /// `Tokenizer`, `ChatTemplate` or `Constraint` where the prompt or the constraint cannot be used. The session is
    /// unchanged.
    pub fn generate(&self, prompt: Prompt<'_>, options: &GenerationOptions) -> Result<Generation> {
        let start = Instant::now();
        let mut held = self.place.hold()?;
        let (conversation, context_len) = (&self.conversation, held.state_mut().target.context_len_max());
        let tokens = conversation.tokens(prompt, options, context_len)?;
        let plan = conversation.plan(options, tokens.len(), context_len)?;
        let output = conversation.output(prompt, &tokens, &plan)?;
        let constraint = conversation.constraint(options)?;
        held.state_mut().begin(&tokens)?;
        Ok(Generation::new(held, &plan, output, constraint, start))
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// `SessionBusy` if a generation runs.
    pub fn reset(&self) -> Result<()> {
        self.rewind(0)
    }

    /// Forgets every token from position `len` on.
    ///
    /// # Errors
    /// `SessionBusy` if a generation runs.
    pub fn rewind(&self, len: usize) -> Result<()> {
        self.place.hold()?.state_mut().truncate(len)
    }

    /// The confirmed tokens, prompt and output.
    ///
    /// # Errors
    /// `SessionBusy` if a generation runs.
    pub fn tokens(&self) -> Result<Vec<TokenId>> {
        Ok(self.place.hold()?.state_mut().history.tokens().to_vec())
    }

    /// The target's logits after `tokens`, `[vocab_len]`: for measuring how close a choice was.
    ///
    /// # Errors
    /// `SessionBusy`, `ContextFull`, or a runtime error. `InvalidOption` without tokens.
    pub fn next_logits(&self, tokens: &[TokenId]) -> Result<Vec<f32>> {
        if tokens.is_empty() {
            return Err(Error::InvalidOption { option: "tokens", reason: "at least one is needed".into() });
        }
        let mut held = self.place.hold()?;
        let state = held.state_mut();
        let kept = state.begin(tokens)?;
        Ok(state.target.prefill(&tokens[kept..])?.last().to_vec())
    }
}
