//! The tokens so far, with their counts for the penalties.

use crate::TokenId;

/// Prompt and output of a generation. Appending and shortening cost O(1) per token and allocate nothing within the
/// capacity reserved.
#[derive(Clone, Debug)]
pub struct History {
    tokens: Vec<TokenId>,
    output_start: usize,
    /// Every token that occurs, in the order of first occurrence.
    distinct: Vec<TokenId>,
    /// `[vocab_len]`: occurrences in prompt and output.
    counts: Vec<u32>,
    /// `[vocab_len]`: occurrences in the output.
    output_counts: Vec<u32>,
}

impl History {
    /// An empty history for ids below `vocab_len`, with room for `capacity` tokens.
    pub fn new(vocab_len: usize, capacity: usize) -> Self {
        Self {
            tokens: Vec::with_capacity(capacity),
            output_start: 0,
            distinct: Vec::with_capacity(capacity.min(vocab_len)),
            counts: vec![0; vocab_len],
            output_counts: vec![0; vocab_len],
        }
    }

    /// Ids below it are counted.
    pub fn vocab_len(&self) -> usize {
        self.counts.len()
    }

    /// Prompt and output.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// What came after the last [`begin_output`](Self::begin_output); everything if it was never called.
    pub fn output(&self) -> &[TokenId] {
        &self.tokens[self.output_start..]
    }

    /// Tokens of prompt and output.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// True before the first token.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Makes everything so far the prompt.
    pub fn begin_output(&mut self) {
        for &token in &self.tokens[self.output_start..] {
            if let Some(count) = self.output_counts.get_mut(token as usize) {
                *count = 0;
            }
        }
        self.output_start = self.tokens.len();
    }

    /// Appends a token. An id outside the vocabulary is kept but not counted.
    pub fn push(&mut self, token: TokenId) {
        self.tokens.push(token);
        let Some(count) = self.counts.get_mut(token as usize) else { return };
        if *count == 0 {
            self.distinct.push(token);
        }
        *count += 1;
        self.output_counts[token as usize] += 1;
    }

    /// Appends tokens in order.
    pub fn extend(&mut self, tokens: &[TokenId]) {
        for &token in tokens {
            self.push(token);
        }
    }

    /// Forgets everything from position `len` on. Does nothing if there are no more than `len`.
    pub fn truncate(&mut self, len: usize) {
        while self.tokens.len() > len {
            self.pop();
        }
        self.output_start = self.output_start.min(self.tokens.len());
    }

    /// Every token that occurs, once.
    pub(crate) fn distinct(&self) -> &[TokenId] {
        &self.distinct
    }

    /// Occurrences in the output of a token below `vocab_len`.
    pub(crate) fn output_count(&self, token: TokenId) -> u32 {
        self.output_counts[token as usize]
    }

    fn pop(&mut self) {
        let Some(token) = self.tokens.pop() else { return };
        let Some(count) = self.counts.get_mut(token as usize) else { return };
        *count -= 1;
        if *count == 0 {
            // Tokens leave in reverse order, so a first occurrence is the last of the distinct ones.
            self.distinct.pop();
        }
        if self.tokens.len() >= self.output_start {
            self.output_counts[token as usize] -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same(left: &History, right: &History) {
        assert_eq!(left.tokens, right.tokens);
        assert_eq!(left.distinct, right.distinct);
        assert_eq!(left.counts, right.counts);
        assert_eq!(left.output_counts, right.output_counts);
        assert_eq!(left.output_start, right.output_start);
    }

    proptest! {
        #[test]
        fn truncation_equals_never_having_pushed(
            prompt in prop::collection::vec(0_u32..9, 0..20),
            output in prop::collection::vec(0_u32..9, 0..20),
            cut in 0_usize..45,
        ) {
            let mut history = History::new(8, 64);
            history.extend(&prompt);
            history.begin_output();
            history.extend(&output);
            history.truncate(cut);

            let mut fresh = History::new(8, 64);
            fresh.extend(&prompt[..prompt.len().min(cut)]);
            fresh.begin_output();
            fresh.extend(&output[..output.len().min(cut.saturating_sub(prompt.len()))]);
            same(&history, &fresh);
        }
    }

    #[test]
    fn the_output_counts_start_anew_with_every_turn() {
        let mut history = History::new(4, 8);
        history.extend(&[1, 1, 2]);
        history.begin_output();
        history.extend(&[1, 3]);
        assert_eq!((history.output_count(1), history.output_count(2)), (1, 0));
        history.begin_output();
        assert_eq!((history.output_count(1), history.output_count(3)), (0, 0));
        assert_eq!(history.distinct(), &[1, 2, 3]);
    }
}
