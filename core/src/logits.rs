//! Scores of the next token, before any warping.

/// Row-major `[rows, vocab_len]` f32 logits, borrowed from the model that made them.
///
/// Row `i` predicts the token after the `i`-th scored token.
#[derive(Clone, Copy, Debug)]
pub struct Logits<'a> {
    values: &'a [f32],
    vocab_len: usize,
}

impl<'a> Logits<'a> {
    /// Wraps `values` of shape `[rows, vocab_len]`.
    ///
    /// # Panics
    /// If `vocab_len` is zero or does not divide `values.len()`.
    pub fn new(values: &'a [f32], vocab_len: usize) -> Self {
        assert!(vocab_len > 0 && values.len().is_multiple_of(vocab_len), "logits must be whole rows");
        Self { values, vocab_len }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.vocab_len
    }

    /// Width of a row in tokens.
    pub fn vocab_len(&self) -> usize {
        self.vocab_len
    }

    /// Row `index`, `[vocab_len]`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.vocab_len..(index + 1) * self.vocab_len]
    }

    /// The last row alone, as `[1, vocab_len]` logits.
    ///
    /// # Panics
    /// If there are no rows.
    pub fn last_row(&self) -> Self {
        Self::new(self.last(), self.vocab_len)
    }

    /// The last row, `[vocab_len]`: what follows everything scored so far.
    ///
    /// # Panics
    /// If there are no rows.
    pub fn last(&self) -> &'a [f32] {
        self.row(self.rows() - 1)
    }
}

/// How much the best token of a row is preferred to the next best: the difference of the two largest logits. Where two
/// greedy texts part, a small one means a near tie.
pub fn margin(row: &[f32]) -> f32 {
    let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &logit in row {
        if logit > first {
            (first, second) = (logit, first);
        } else if logit > second {
            second = logit;
        }
    }
    first - second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_between_the_two_best() {
        assert_eq!(margin(&[1.0, 4.0, 3.5]), 0.5);
        assert_eq!(margin(&[4.0, 4.0]), 0.0);
    }
}
