//! A causal language model with a KV cache, as the target or inside a drafter.

use std::sync::Arc;

use crate::{Logits, Result, TokenId};

/// A causal language model that keeps the keys and values of the tokens it has seen.
///
/// The cache holds tokens `0..len()`. Scoring appends, truncating forgets from the end.
pub trait Model: Send {
    /// Width of a logits row in tokens.
    fn vocab_len(&self) -> usize;

    /// Tokens in the cache.
    fn len(&self) -> usize;

    /// True before the first token.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Most tokens that the cache can hold.
    fn context_len_max(&self) -> usize;

    /// Bytes that the cache takes when full.
    fn cache_bytes(&self) -> usize;

    /// True if `score` returns a row for every token; false if only for the last one, which rules out verification.
    fn scores_every_row(&self) -> bool {
        true
    }

    /// Runs the model over `tokens` and appends them to its cache.
    ///
    /// Returns `[tokens.len(), vocab_len]` f32 logits (`[1, vocab_len]` if not `scores_every_row`); row `i` predicts
    /// the token after `tokens[i]`.
    ///
    /// # Errors
    /// `ContextFull` if the cache would pass `context_len_max`; `Cancelled` if interrupted; a runtime error otherwise.
    /// The cache is unchanged after an error.
    fn score(&mut self, tokens: &[TokenId]) -> Result<Logits<'_>>;

    /// Runs the model over `tokens`, appends them to its cache, and returns only what follows the last of them:
    /// `[1, vocab_len]`. Any number of tokens is taken; a model may do it in chunks and leave out the other rows.
    ///
    /// # Errors
    /// As [`score`](Self::score); the cache is unchanged after an error.
    ///
    /// # Panics
    /// If there are no tokens.
    fn prefill(&mut self, tokens: &[TokenId]) -> Result<Logits<'_>> {
        Ok(self.score(tokens)?.last_row())
    }

    /// Forgets every token from position `len` on. Does nothing if there are no more than `len`.
    ///
    /// # Errors
    /// A runtime error if the cache cannot be shortened.
    fn truncate(&mut self, len: usize) -> Result<()>;

    /// A switch that stops a `score` under way from another thread.
    fn interrupt(&self) -> Arc<dyn Interrupt>;
}

/// Stops a forward pass from another thread.
pub trait Interrupt: Send + Sync {
    /// Makes the pass under way, and every later one, end with `Cancelled` until `clear`.
    fn interrupt(&self);

    /// Allows passes again.
    fn clear(&self);
}
