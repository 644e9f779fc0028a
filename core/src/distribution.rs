//! Probabilities of the next token.

use crate::TokenId;

/// Longest support that is listed; beyond it, walking the whole row costs no more.
const SUPPORT_LEN_MAX: usize = 4096;

/// A probability for every token of a vocabulary, f32 in production and f64 in tests of exactness.
///
/// The row is dense, so that looking a token up costs one load; where few tokens are possible they are also listed,
/// so that sums and samples touch only those.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution<F = f32> {
    /// `[vocab_len]`, 0 outside the support.
    probs: Vec<F>,
    /// Every token whose probability is not 0, if `listed`.
    support: Vec<TokenId>,
    listed: bool,
}

impl<F: Copy + Into<f64>> Distribution<F> {
    /// Takes `probs` as they are: `[vocab_len]`, not negative, summing to 1.
    pub fn from_probs(probs: Vec<F>) -> Self {
        Self { probs, support: Vec::new(), listed: false }
    }

    /// The probability of every token, `[vocab_len]`.
    pub fn probs(&self) -> &[F] {
        &self.probs
    }

    /// The possible tokens, in no order, if they are few enough to be listed.
    pub fn support(&self) -> Option<&[TokenId]> {
        self.listed.then_some(&self.support)
    }

    /// The probability of one token; 0 outside the vocabulary.
    pub fn prob(&self, token: TokenId) -> f64 {
        self.probs.get(token as usize).map_or(0.0, |&p| p.into())
    }

    /// The likeliest token, the lowest id among equals.
    pub fn best(&self) -> TokenId {
        let mut best = (f64::NEG_INFINITY, 0);
        self.for_each(|token, p| {
            if p > best.0 || (p == best.0 && token < best.1) {
                best = (p, token);
            }
        });
        best.1
    }

    /// The token at share `u` in [0, 1) of the cumulated probability.
    pub fn sample(&self, u: f64) -> TokenId {
        self.sample_weighted(u, |_, p| p)
    }

    /// Sum of `weight(token, p)` over the support, in f64. Tokens of weight 0 elsewhere are presumed.
    pub(crate) fn sum(&self, weight: impl Fn(TokenId, f64) -> f64) -> f64 {
        let mut lanes = [0.0; 8];
        if self.listed {
            self.support.iter().map(|&token| weight(token, self.probs[token as usize].into())).sum()
        } else {
            let mut base = 0;
            let mut chunks = self.probs.chunks_exact(8);
            for chunk in &mut chunks {
                for (lane, &p) in chunk.iter().enumerate() {
                    lanes[lane] += weight(base + lane as TokenId, p.into());
                }
                base += 8;
            }
            let rest = chunks.remainder().iter().enumerate();
            let rest: f64 = rest.map(|(i, &p)| weight(base + i as TokenId, p.into())).sum();
            lanes.iter().sum::<f64>() + rest
        }
    }

    /// The token at share `u` of the cumulated `weight`, which is 0 outside the support and not 0 everywhere.
    pub(crate) fn sample_weighted(&self, u: f64, weight: impl Fn(TokenId, f64) -> f64) -> TokenId {
        let mut left = u * self.sum(&weight);
        let mut last = 0;
        let found = self.find(|token, p| {
            let w = weight(token, p);
            if w > 0.0 {
                // Rounding may leave a crumb at the end; it falls to the last possible token.
                last = token;
                left -= w;
            }
            w > 0.0 && left < 0.0
        });
        found.unwrap_or(last)
    }

    fn find(&self, mut is_it: impl FnMut(TokenId, f64) -> bool) -> Option<TokenId> {
        if self.listed {
            self.support.iter().copied().find(|&token| is_it(token, self.probs[token as usize].into()))
        } else {
            (0..).zip(&self.probs).find(|&(token, &p)| is_it(token, p.into())).map(|(token, _)| token)
        }
    }

    /// Calls `each` with the tokens of the support (and, if it is not listed, with impossible ones too).
    pub(crate) fn for_each(&self, mut each: impl FnMut(TokenId, f64)) {
        self.find(|token, p| {
            each(token, p);
            false
        });
    }
}

impl Distribution {
    /// Room for the probabilities of `vocab_len` tokens; all 0 until something is written.
    pub fn new(vocab_len: usize) -> Self {
        Self { probs: vec![0.0; vocab_len], support: Vec::with_capacity(vocab_len.min(SUPPORT_LEN_MAX)), listed: true }
    }

    /// The whole row, to be overwritten in full.
    pub(crate) fn dense_mut(&mut self) -> &mut [f32] {
        self.listed = false;
        self.support.clear();
        &mut self.probs
    }

    /// Makes the distribution proportional to `(weight, token)` pairs: no token twice, weights above 0 and summing
    /// to `total`.
    pub(crate) fn set_weights(&mut self, weights: &[(f32, TokenId)], total: f64) {
        if self.listed {
            for &token in &self.support {
                self.probs[token as usize] = 0.0;
            }
            self.support.clear();
        } else {
            self.probs.fill(0.0);
        }
        self.listed = weights.len() <= SUPPORT_LEN_MAX;
        for &(weight, token) in weights {
            self.probs[token as usize] = (f64::from(weight) / total) as f32;
            if self.listed {
                self.support.push(token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_and_dense_rows_say_the_same() {
        let mut listed = Distribution::new(20);
        listed.set_weights(&[(1.0, 3), (3.0, 17), (4.0, 9)], 8.0);
        let dense = Distribution::from_probs(listed.probs().to_vec());
        assert_eq!(listed.support(), Some(&[3, 17, 9][..]));
        assert_eq!(dense.support(), None);
        assert_eq!(listed.best(), dense.best());
        assert_eq!(listed.sum(|token, p| f64::from(token) * p), dense.sum(|token, p| f64::from(token) * p));
        for token in 0..20 {
            assert_eq!(listed.prob(token), dense.prob(token));
        }
    }

    #[test]
    fn writing_again_leaves_nothing_of_the_last_row() {
        let mut row = Distribution::new(10);
        row.set_weights(&[(1.0, 3), (1.0, 4)], 2.0);
        row.set_weights(&[(1.0, 5)], 1.0);
        assert_eq!(row.sum(|_, p| p), 1.0);
        row.dense_mut().fill(0.1);
        row.set_weights(&[(2.0, 7)], 2.0);
        assert_eq!(row.probs().iter().sum::<f32>(), 1.0);
        assert_eq!(row.best(), 7);
    }

    #[test]
    fn sampling_inverts_the_cumulated_probability() {
        let row = Distribution::from_probs(vec![0.0, 0.25, 0.0, 0.5, 0.25, 0.0]);
        let drawn: Vec<_> = [0.0, 0.24, 0.25, 0.74, 0.76, 0.999_999_999].iter().map(|&u| row.sample(u)).collect();
        assert_eq!(drawn, [1, 1, 3, 3, 4, 4]);
    }

    #[test]
    fn equals_go_to_the_lowest_id() {
        let mut row = Distribution::new(9);
        row.set_weights(&[(1.0, 8), (1.0, 2), (0.5, 0)], 2.5);
        assert_eq!(row.best(), 2);
    }
}
