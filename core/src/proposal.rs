//! The tokens drafted in a round, with what verification must know about each.

use crate::residual::Draft;
use crate::{Distribution, TokenId};

/// Drafted tokens, the distribution that each was sampled from, and the tokens that were allowed in its place.
///
/// All room is reserved at construction; a round allocates nothing.
#[derive(Clone, Debug)]
pub struct Proposal<F = f32> {
    tokens: Vec<TokenId>,
    certain: Vec<bool>,
    masked: Vec<bool>,
    confidences: Vec<f32>,
    /// `[len_max]`; those of certain tokens are stale.
    rows: Vec<Distribution<F>>,
    /// `[len_max, mask_len]` bit words; those of unmasked positions are stale.
    masks: Vec<u32>,
    mask_len: usize,
    next_masked: bool,
}

impl Proposal {
    /// Room for `len_max` tokens of a vocabulary of `vocab_len`.
    pub fn new(vocab_len: usize, len_max: usize) -> Self {
        let rows = (0..len_max).map(|_| Distribution::new(vocab_len)).collect();
        Self { masks: vec![0; len_max * vocab_len.div_ceil(32)], ..Self::with_rows(rows, vocab_len) }
    }

    /// The row to write the next position's distribution to before `push_sampled`, and the mask noted for it.
    ///
    /// # Panics
    /// If the proposal is full.
    pub fn next_mut(&mut self) -> (&mut Distribution, Option<&[u32]>) {
        let start = self.tokens.len() * self.mask_len;
        let mask = self.next_masked.then(|| &self.masks[start..start + self.mask_len]);
        (&mut self.rows[self.tokens.len()], mask)
    }

    /// Notes what the constraint allows at the next position; `None`: everything. Words beyond the vocabulary are
    /// dropped, missing ones allow nothing.
    ///
    /// # Panics
    /// If the proposal is full.
    pub fn mask_next(&mut self, mask: Option<&[u32]>) {
        self.next_masked = mask.is_some();
        let Some(mask) = mask else { return };
        let start = self.tokens.len() * self.mask_len;
        let words = &mut self.masks[start..start + self.mask_len];
        let len = mask.len().min(words.len());
        words[..len].copy_from_slice(&mask[..len]);
        words[len..].fill(0);
    }
}

impl<F: Copy + Into<f64>> Proposal<F> {
    /// A proposal of one token per row: `certain` of its token, or sampled from the row.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn from_rows(tokens: &[TokenId], certain: &[bool], rows: Vec<Distribution<F>>) -> Self {
        assert!(tokens.len() == rows.len() && certain.len() == rows.len(), "one row and one mark per token");
        let vocab_len = rows.first().map_or(0, |row| row.probs().len());
        let mut proposal = Self::with_rows(rows, vocab_len);
        for (&token, &certain) in tokens.iter().zip(certain) {
            proposal.push(token, certain, 1.0);
        }
        proposal
    }

    fn with_rows(rows: Vec<Distribution<F>>, vocab_len: usize) -> Self {
        Self {
            tokens: Vec::with_capacity(rows.len()),
            certain: Vec::with_capacity(rows.len()),
            masked: Vec::with_capacity(rows.len()),
            confidences: Vec::with_capacity(rows.len()),
            rows,
            masks: Vec::new(),
            mask_len: vocab_len.div_ceil(32),
            next_masked: false,
        }
    }

    /// The drafted tokens.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Tokens drafted.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// True if nothing was drafted.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Most tokens that fit.
    pub fn len_max(&self) -> usize {
        self.rows.len()
    }

    /// What the token at `index` was drafted from.
    ///
    /// # Panics
    /// If there is no such token.
    pub fn draft(&self, index: usize) -> Draft<'_, F> {
        if self.certain[index] { Draft::Certain(self.tokens[index]) } else { Draft::Sampled(&self.rows[index]) }
    }

    /// The tokens that the constraint allowed at `index`; `None`: all.
    pub fn mask(&self, index: usize) -> Option<&[u32]> {
        self.masked[index].then(|| &self.masks[index * self.mask_len..(index + 1) * self.mask_len])
    }

    /// How sure the drafter was of each token, in [0, 1].
    pub fn confidences(&self) -> &[f32] {
        &self.confidences
    }

    /// Records a token sampled from the row that [`next_mut`](Proposal::next_mut) gave, of which the drafter was sure
    /// to the degree `confidence`.
    ///
    /// # Panics
    /// If the proposal is full.
    pub fn push_sampled(&mut self, token: TokenId, confidence: f32) {
        self.push(token, false, confidence);
    }

    /// Records a token that had no alternative.
    ///
    /// # Panics
    /// If the proposal is full.
    pub fn push_certain(&mut self, token: TokenId, confidence: f32) {
        self.push(token, true, confidence);
    }

    fn push(&mut self, token: TokenId, certain: bool, confidence: f32) {
        assert!(self.tokens.len() < self.rows.len(), "the proposal is full");
        self.tokens.push(token);
        self.certain.push(certain);
        self.masked.push(std::mem::take(&mut self.next_masked));
        self.confidences.push(confidence);
    }

    /// Drops every token.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Drops the tokens from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len);
        self.certain.truncate(len);
        self.masked.truncate(len);
        self.confidences.truncate(len);
        self.next_masked = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn truncation_equals_never_having_pushed(
            pushes in prop::collection::vec((0_u32..70, any::<bool>(), prop::option::of(any::<u32>())), 0..8),
            cut in 0_usize..9,
            after in prop::option::of(any::<u32>()),
        ) {
            let push = |proposal: &mut Proposal, &(token, certain, mask): &(TokenId, bool, Option<u32>)| {
                proposal.mask_next(mask.map(|word| [word; 3]).as_ref().map(|words| &words[..]));
                proposal.next_mut().0.set_weights([(1.0, token)].into_iter(), 1.0);
                if certain { proposal.push_certain(token, 1.0) } else { proposal.push_sampled(token, 0.5) }
            };
            let mut proposal = Proposal::new(70, 9);
            pushes.iter().for_each(|p| push(&mut proposal, p));
            proposal.truncate(cut);
            push(&mut proposal, &(5, false, after));

            let mut fresh = Proposal::new(70, 9);
            pushes.iter().take(cut).for_each(|p| push(&mut fresh, p));
            push(&mut fresh, &(5, false, after));
            prop_assert_eq!(proposal.tokens(), fresh.tokens());
            prop_assert_eq!(proposal.confidences(), fresh.confidences());
            for index in 0..fresh.len() {
                prop_assert_eq!(proposal.mask(index), fresh.mask(index));
                for token in 0..70 {
                    prop_assert_eq!(proposal.draft(index).prob(token), fresh.draft(index).prob(token));
                }
            }
        }
    }

    #[test]
    fn a_short_mask_allows_nothing_beyond_it() {
        let mut proposal = Proposal::new(70, 1);
        proposal.mask_next(Some(&[u32::MAX]));
        proposal.push_certain(3, 1.0);
        assert_eq!(proposal.mask(0), Some(&[u32::MAX, 0, 0][..]));
    }
}
