//! A drafter that is a smaller language model.

use std::sync::Arc;

use crate::{DraftSink, Drafter, Error, Interrupt, Model, Result, TokenId};

/// Proposes by sampling from a [`Model`] one token at a time.
///
/// The model sees every confirmed token at the latest when the next proposal is asked for: `[x_γ, y]` after a full
/// acceptance (the last drafted token was never fed), `[y]` otherwise, and whatever others confirmed in between.
#[derive(Debug)]
pub struct ModelDrafter<M> {
    model: M,
    columns: Columns,
    target_vocab_len: usize,
    /// `[target_vocab_len]`, −∞ where the drafter has no column; empty if its rows are used as they are.
    row: Vec<f32>,
}

/// Which target tokens the columns of the drafter's rows stand for.
#[derive(Clone, Debug)]
enum Columns {
    /// The same ids, and at least as many; more are padding.
    Same,
    /// The same ids, but fewer.
    Fewer,
    /// Column `i` is the token `ids[i]`; columns after them are padding.
    Mapped(Vec<TokenId>),
}

impl<M: Model> ModelDrafter<M> {
    /// A drafter with the target's ids. A wider row is padding and cut off; what a narrower one lacks is never drafted.
    pub fn new(model: M, target_vocab_len: usize) -> Self {
        let narrow = model.vocab_len() < target_vocab_len;
        Self {
            columns: if narrow { Columns::Fewer } else { Columns::Same },
            row: vec![f32::NEG_INFINITY; if narrow { target_vocab_len } else { 0 }],
            model,
            target_vocab_len,
        }
    }

    /// A drafter whose output head was trimmed: column `i` of its rows is the target's token `ids[i]`. Its input takes
    /// the target's ids.
    ///
    /// # Errors
    /// `VocabularyMismatch` if there are more ids than columns, or an id is unknown to the target or named twice.
    pub fn with_ids(model: M, ids: Vec<TokenId>, target_vocab_len: usize) -> Result<Self> {
        let mismatch = |reason| Err(Error::VocabularyMismatch { reason });
        if ids.len() > model.vocab_len() {
            return mismatch(format!("{} ids for the drafter's {} columns", ids.len(), model.vocab_len()));
        }
        let mut seen = vec![false; target_vocab_len];
        for (column, &id) in ids.iter().enumerate() {
            match seen.get_mut(id as usize) {
                None => return mismatch(format!("column {column} is id {id}; the target has {target_vocab_len}")),
                Some(true) => return mismatch(format!("column {column} is id {id}, which an earlier column is")),
                Some(seen) => *seen = true,
            }
        }
        let row = vec![f32::NEG_INFINITY; target_vocab_len];
        Ok(Self { model, columns: Columns::Mapped(ids), target_vocab_len, row })
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }
}

impl Columns {
    /// The drafter's row in the target's ids, `[vocab_len]`, written to `row` where it cannot be used as it is.
    fn in_target_ids<'a>(&self, logits: &'a [f32], row: &'a mut [f32], vocab_len: usize) -> &'a [f32] {
        match self {
            Self::Same => &logits[..vocab_len],
            Self::Fewer => {
                row[..logits.len()].copy_from_slice(logits);
                row
            }
            Self::Mapped(ids) => {
                for (&id, &logit) in ids.iter().zip(logits) {
                    row[id as usize] = logit;
                }
                row
            }
        }
    }
}

impl<M: Model> Drafter for ModelDrafter<M> {
    fn propose(&mut self, context: &[TokenId], len_max: usize, sink: &mut dyn DraftSink) -> Result<()> {
        let Some(anchor) = context.len().checked_sub(1) else { return Ok(()) };
        // The row after the anchor is wanted, so the anchor is fed even if it was already.
        self.model.truncate(anchor)?;
        let mut pending = &context[self.model.len()..];
        let mut last;
        for _ in 0..len_max {
            if self.model.len() + pending.len() > self.model.context_len_max() {
                break; // A full drafter ends the draft, not the generation.
            }
            let logits = self.model.prefill(pending)?;
            let row = self.columns.in_target_ids(logits.last(), &mut self.row, self.target_vocab_len);
            let Some(token) = sink.offer_logits(row)? else { break };
            last = [token];
            pending = &last;
        }
        Ok(())
    }

    fn truncate(&mut self, len: usize) -> Result<()> {
        self.model.truncate(len)
    }

    fn interrupts(&self) -> Vec<Arc<dyn Interrupt>> {
        vec![self.model.interrupt()]
    }

    fn context_len_max(&self) -> usize {
        self.model.context_len_max()
    }

    fn cache_bytes(&self) -> usize {
        self.model.cache_bytes()
    }
}
