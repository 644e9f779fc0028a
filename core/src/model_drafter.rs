//! A drafter that is a smaller language model.

use std::sync::Arc;

use crate::{DraftSink, DraftSource, Drafter, Error, Interrupt, Model, Result, TokenId};

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
            // A full drafter ends the draft, not the generation.
            if !sink.wants_more() || self.model.len() + pending.len() > self.model.context_len_max() {
                break;
            }
            let logits = self.model.prefill(pending)?;
            let row = self.columns.in_target_ids(logits.last(), &mut self.row, self.target_vocab_len);
            let Some(token) = sink.offer_logits(row)? else { break };
            last = [token];
            pending = &last;
        }
        Ok(())
    }

    fn read(&mut self, context: &[TokenId]) -> Result<()> {
        if context.len() > self.model.len() && context.len() <= self.model.context_len_max() {
            self.model.prefill(&context[self.model.len()..])?;
        }
        Ok(())
    }

    fn truncate(&mut self, len: usize) -> Result<()> {
        self.model.truncate(len)
    }

    fn source(&mut self, context: &[TokenId]) -> DraftSource {
        if context.len() <= self.model.context_len_max() { DraftSource::Model } else { DraftSource::Nothing }
    }

    fn interrupts(&self) -> Vec<Arc<dyn Interrupt>> {
        vec![self.model.interrupt()]
    }

    fn cache_bytes(&self) -> usize {
        self.model.cache_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{RecordingSink, ScriptedModel};

    fn propose<M: Model>(drafter: &mut ModelDrafter<M>, context: &[TokenId], len_max: usize) -> Vec<TokenId> {
        let mut sink = RecordingSink::default();
        drafter.propose(context, len_max, &mut sink).unwrap();
        sink.tokens
    }

    /// Says the successor of the last token, so that a wrong cache shows.
    fn counting(vocab_len: usize) -> ScriptedModel {
        ScriptedModel::new(vocab_len, |tokens, row| {
            let sum: u32 = tokens.iter().sum();
            row[sum as usize % row.len()] = 1.0;
        })
    }

    #[test]
    fn feeds_what_is_new_after_full_and_partial_acceptance() {
        let mut drafter = ModelDrafter::new(counting(50), 50);
        let draft = propose(&mut drafter, &[1, 2, 3], 3);
        assert_eq!(draft, [6, 12, 24]);
        assert_eq!(drafter.model().tokens(), [1, 2, 3, 6, 12]);

        // All accepted and a bonus: the last drafted token and the bonus are new.
        let context = [1, 2, 3, 6, 12, 24, 7];
        drafter.truncate(6).unwrap();
        assert_eq!(propose(&mut drafter, &context, 2), [5, 10]);
        assert_eq!(drafter.model().passes(), [3, 1, 1, 2, 1]);

        // One accepted, one corrected: only the correction is new.
        let context = [1, 2, 3, 6, 12, 24, 7, 5, 9];
        drafter.truncate(8).unwrap();
        assert_eq!(propose(&mut drafter, &context, 1), [19]);
        assert_eq!(drafter.model().passes(), [3, 1, 1, 2, 1, 1]);
        assert_eq!(drafter.model().tokens(), context);

        // Asked again without anything new, it feeds the anchor once more.
        assert_eq!(propose(&mut drafter, &context, 1), [19]);
        assert_eq!(drafter.model().tokens(), context);
    }

    #[test]
    fn what_was_read_is_not_read_again() {
        let mut drafter = ModelDrafter::new(counting(50), 50);
        drafter.read(&[1, 2, 3, 4]).unwrap();
        drafter.read(&[1, 2, 3]).unwrap();
        let context = [1, 2, 3, 4, 5];
        assert_eq!(propose(&mut drafter, &context, 2), [15, 30]);
        assert_eq!(drafter.model().passes(), [4, 1, 1]);
    }

    #[test]
    fn a_full_drafter_drafts_less_and_then_nothing() {
        let mut drafter = ModelDrafter::new(counting(50).with_context_len_max(4), 50);
        assert_eq!(propose(&mut drafter, &[1, 2, 3], 5).len(), 2);
        drafter.truncate(3).unwrap();
        assert!(propose(&mut drafter, &[1, 2, 3, 4, 5], 5).is_empty());
        assert_eq!(drafter.source(&[1, 2, 3, 4]), DraftSource::Model);
        assert_eq!(drafter.source(&[1, 2, 3, 4, 5]), DraftSource::Nothing);
        drafter.read(&[1, 2, 3, 4, 5]).unwrap();
        assert_eq!(drafter.model().tokens(), [1, 2, 3], "too long a text is not begun");
        assert!(propose(&mut drafter, &[], 5).is_empty());
    }

    #[test]
    fn rows_arrive_in_the_targets_ids() {
        let script = |_: &[TokenId], row: &mut [f32]| (0..).zip(row).for_each(|(i, x)| *x = i as f32);
        let sink = |drafter: &mut ModelDrafter<ScriptedModel>| {
            let mut sink = RecordingSink::default();
            drafter.propose(&[1], 2, &mut sink).unwrap();
            sink
        };
        const NO: f32 = f32::NEG_INFINITY;
        let wide = sink(&mut ModelDrafter::new(ScriptedModel::new(6, script), 4));
        assert_eq!((&wide.rows[1][..], &wide.tokens[..]), (&[0.0, 1.0, 2.0, 3.0][..], &[3, 3][..]));
        let narrow = sink(&mut ModelDrafter::new(ScriptedModel::new(3, script), 5));
        assert_eq!(narrow.rows[1], [0.0, 1.0, 2.0, NO, NO]);
        // Three kept tokens and one padded column.
        let ids = vec![4, 0, 2];
        let mut trimmed = ModelDrafter::with_ids(ScriptedModel::new(4, script), ids, 5).unwrap();
        let trimmed = sink(&mut trimmed);
        assert_eq!((&trimmed.rows[1][..], &trimmed.tokens[..]), (&[1.0, NO, 2.0, NO, 0.0][..], &[2, 2][..]));
    }

    #[test]
    fn impossible_id_maps_are_refused() {
        for (ids, why) in [(vec![0, 9], "the target has 5"), (vec![1, 1], "earlier column"), (vec![0; 5], "5 ids")] {
            let error = ModelDrafter::with_ids(counting(4), ids, 5).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
