//! Something that proposes the next tokens cheaply.

use std::sync::Arc;

use crate::{Interrupt, Result, TokenId};

/// Proposes tokens that the target will check.
pub trait Drafter: Send {
    /// Offers up to `len_max` tokens to follow `context` into `sink`, in order, and stops when the sink has enough.
    ///
    /// `context` is every confirmed token, the prompt included; the last one is the anchor. What the drafter
    /// knows beyond `context` from an earlier proposal must have been truncated before.
    ///
    /// # Errors
    /// Errors of the drafter's model or of the sink. What the sink took before stays valid.
    fn propose(&mut self, context: &[TokenId], len_max: usize, sink: &mut dyn DraftSink) -> Result<()>;

    /// Reads what of `context` is new to it, so that the next proposal finds only its last tokens new.
    ///
    /// Without it a proposal reads what it misses; but reading a prompt is no part of what a drafted token costs.
    ///
    /// # Errors
    /// Errors of the drafter's model.
    fn read(&mut self, context: &[TokenId]) -> Result<()> {
        let _ = context;
        Ok(())
    }

    /// Forgets everything from position `len` on.
    ///
    /// # Errors
    /// Errors of the drafter's model.
    fn truncate(&mut self, len: usize) -> Result<()>;

    /// Where a proposal after `context` would come from, so that its length fits its cost and its record.
    fn source(&mut self, context: &[TokenId]) -> DraftSource {
        let _ = context;
        DraftSource::Model
    }

    /// Switches that stop a proposal under way from another thread; none where proposing runs no model.
    fn interrupts(&self) -> Vec<Arc<dyn Interrupt>> {
        Vec::new()
    }

    /// Bytes that the drafter's own cache takes when full.
    fn cache_bytes(&self) -> usize {
        0
    }
}

/// What makes a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DraftSource {
    /// A language model: every token costs a forward pass.
    Model,
    /// A copy of earlier text: tokens cost nothing.
    Lookup,
    /// Nothing to propose here.
    Nothing,
}

/// Where a drafter puts its proposal: it warps, samples, vets and records.
///
/// The decision to stop may depend on tokens already drafted and on the next distribution, never on a token already
/// sampled from it: dropping a sampled token would bias the output.
pub trait DraftSink {
    /// Takes the drafter's `[vocab_len]` logits (in the target's ids) for the next position, samples a token and
    /// records it with its distribution. `None`: no further token is wanted and none was sampled.
    ///
    /// # Errors
    /// `InvalidLogits` if the row has a NaN or no finite value.
    fn offer_logits(&mut self, row: &[f32]) -> Result<Option<TokenId>>;

    /// Takes a token that the drafter is certain of (a one-hot distribution). False: not wanted, and not recorded.
    ///
    /// # Errors
    /// Errors of the constraint, if there is one.
    fn offer_token(&mut self, token: TokenId) -> Result<bool>;

    /// False once no further token will be taken, so that a drafter need not make one.
    fn wants_more(&self) -> bool {
        true
    }
}
