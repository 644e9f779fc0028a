//! Probabilities of the next token.

use crate::{Noise, TokenId};

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

    /// The largest probability.
    pub fn prob_max(&self) -> f64 {
        let mut max = 0.0;
        self.for_each(|_, p| max = if p > max { p } else { max });
        max
    }

    /// The sample that `noise` makes: argmax of ln p + Gumbel noise, the same for equal distributions whoever asks.
    pub fn pick(&self, noise: Noise) -> TokenId {
        // argmax (ln p + g) = argmin E / p with E = −ln u. As E ≥ 1 − u, most tokens are ruled out without a logarithm.
        let mut best = (f64::INFINITY, 0);
        self.for_each(|token, p| {
            let u = noise.uniform(token);
            if 1.0 - u < p * best.0 {
                let score = -u.ln() / p;
                if score < best.0 {
                    best = (score, token);
                }
            }
        });
        best.1
    }

    /// Calls `each` with the tokens of the support (and, if it is not listed, with impossible ones too).
    fn for_each(&self, mut each: impl FnMut(TokenId, f64)) {
        if self.listed {
            self.support.iter().for_each(|&token| each(token, self.probs[token as usize].into()));
        } else {
            (0..).zip(&self.probs).for_each(|(token, &p)| each(token, p.into()));
        }
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
    pub(crate) fn set_weights(&mut self, weights: impl ExactSizeIterator<Item = (f32, TokenId)>, total: f64) {
        if self.listed {
            for &token in &self.support {
                self.probs[token as usize] = 0.0;
            }
            self.support.clear();
        } else {
            self.probs.fill(0.0);
        }
        self.listed = weights.len() <= SUPPORT_LEN_MAX;
        for (weight, token) in weights {
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
    use crate::Random;

    #[test]
    fn listed_and_dense_rows_say_the_same() {
        let mut listed = Distribution::new(20);
        listed.set_weights([(1.0, 3), (3.0, 17), (4.0, 9)].into_iter(), 8.0);
        let dense = Distribution::from_probs(listed.probs().to_vec());
        assert_eq!(listed.support(), Some(&[3, 17, 9][..]));
        assert_eq!(dense.support(), None);
        assert_eq!(listed.best(), dense.best());
        for token in 0..20 {
            assert_eq!(listed.prob(token), dense.prob(token));
        }
    }

    #[test]
    fn writing_again_leaves_nothing_of_the_last_row() {
        let mut row = Distribution::new(10);
        row.set_weights([(1.0, 3), (1.0, 4)].into_iter(), 2.0);
        row.set_weights([(1.0, 5)].into_iter(), 1.0);
        assert_eq!((row.prob(3), row.prob(5)), (0.0, 1.0));
        row.dense_mut().fill(0.1);
        row.set_weights([(2.0, 7)].into_iter(), 2.0);
        assert_eq!(row.probs().iter().sum::<f32>(), 1.0);
        assert_eq!(row.best(), 7);
    }

    #[test]
    fn picks_follow_the_distribution_and_agree_between_listed_and_dense_rows() {
        let weights = [(4.0, 2), (1.0, 0), (3.0, 5), (2.0, 4)];
        let mut listed = Distribution::new(6);
        listed.set_weights(weights.into_iter(), 10.0);
        let dense = Distribution::from_probs(listed.probs().to_vec());
        let mut counts = [0; 6];
        for position in 0..20_000 {
            let noise = Random::new(11).noise(position);
            let token = listed.pick(noise);
            assert_eq!(dense.pick(noise), token);
            let by_definition = (0..6).max_by(|&a, &b| {
                (listed.prob(a).ln() + noise.gumbel(a)).total_cmp(&(listed.prob(b).ln() + noise.gumbel(b)))
            });
            assert_eq!(by_definition, Some(token));
            counts[token as usize] += 1;
        }
        let chi2: f64 = weights
            .map(|(w, t)| (f64::from(counts[t as usize]) - 2e3 * f64::from(w)).powi(2) / (2e3 * f64::from(w)))
            .iter()
            .sum();
        assert!(chi2 < 20.0, "chi-square {chi2} with 3 degrees of freedom");
    }

    #[test]
    fn equals_go_to_the_lowest_id() {
        let mut row = Distribution::new(9);
        row.set_weights([(1.0, 8), (1.0, 2), (0.5, 0)].into_iter(), 2.5);
        assert_eq!(row.best(), 2);
    }
}
