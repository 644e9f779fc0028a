//! What the target thought of a text, read from disk: its likeliest tokens at each position instead of a forward pass.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};

/// Least probability that is spread over the tokens that were not kept, so that none has a logarithm of −∞.
const REST_MIN: f64 = 1e-6;

/// The `k` likeliest tokens at consecutive positions, with their log-probabilities at temperature 1.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    k: usize,
    /// `[positions, k]`.
    tokens: Vec<u32>,
    /// `[positions, k]`.
    log_probabilities: Vec<f32>,
}

impl TopK {
    /// Of `positions` positions of a vocabulary of `vocab_len` tokens; `k` follows from the lengths.
    ///
    /// # Errors
    /// What does not fit: lengths, a token outside the vocabulary, or probabilities that are none.
    pub fn new(
        positions: usize,
        tokens: Vec<u32>,
        log_probabilities: Vec<f32>,
        vocab_len: usize,
    ) -> Result<Self, String> {
        let k = tokens.len() / positions.max(1);
        if k == 0 || k > vocab_len || k * positions != tokens.len() || tokens.len() != log_probabilities.len() {
            let (tokens, values) = (tokens.len(), log_probabilities.len());
            return Err(format!("{tokens} likeliest tokens and {values} log-probabilities at {positions} positions"));
        }
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocab_len) {
            return Err(format!("token {token} is not below {vocab_len}"));
        }
        let sum = |row: &[f32]| row.iter().map(|&value| f64::from(value).exp()).sum::<f64>();
        let absurd = |row: &[f32]| sum(row).is_nan() || sum(row) > 1.001;
        match log_probabilities.chunks_exact(k).position(absurd) {
            Some(position) => Err(format!("the probabilities at position {position} sum to more than 1")),
            None => Ok(Self { k, tokens, log_probabilities }),
        }
    }

    /// The first positions of each part, one after the other; none if one part is missing or keeps another number.
    pub(super) fn join<'a>(parts: impl Iterator<Item = (Option<&'a Self>, usize)>) -> Option<Self> {
        let mut joined: Option<Self> = None;
        for (part, positions) in parts {
            let part = part?;
            let to = joined.get_or_insert(Self { k: part.k, tokens: vec![], log_probabilities: vec![] });
            if part.k != to.k {
                return None;
            }
            to.tokens.extend(part.tokens.get(..positions * part.k)?);
            to.log_probabilities.extend(part.log_probabilities.get(..positions * part.k)?);
        }
        joined
    }

    /// Log-probabilities over the whole vocabulary at `positions`: `[positions, vocab_len]`. What is left beside the kept
    /// tokens is spread evenly over the others.
    pub(super) fn log_probabilities(&self, positions: Range<usize>, vocab_len: usize, device: &Device) -> Tensor<2> {
        let (k, rows) = (self.k, positions.len());
        let mut values = Vec::with_capacity(rows * vocab_len);
        for position in positions {
            let row = position * k..(position + 1) * k;
            let kept = &self.log_probabilities[row.clone()];
            let rest = (1.0 - kept.iter().map(|&value| f64::from(value).exp()).sum::<f64>()).max(REST_MIN);
            let start = values.len();
            values.resize(start + vocab_len, (rest / (vocab_len - k).max(1) as f64).ln() as f32);
            for (&token, &value) in self.tokens[row].iter().zip(kept) {
                values[start + token as usize] = value;
            }
        }
        Tensor::from_data(TensorData::new(values, [rows, vocab_len]), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::host;

    #[test]
    fn the_rest_is_spread_over_the_others() {
        let half = 0.5_f32.ln();
        let judged = TopK::new(2, vec![3, 0, 1, 2], vec![half, 0.25_f32.ln(), half, half], 4).unwrap();
        let found = host(judged.log_probabilities(0..2, 4, &Device::flex()).exp());
        for (found, wanted) in found.iter().zip([0.25, 0.125, 0.125, 0.5, 0.0, 0.5, 0.5, 0.0]) {
            assert!((found - wanted).abs() < 1e-5, "{found} {wanted}");
        }
        let joined = TopK::join([(Some(&judged), 1), (Some(&judged), 2)].into_iter()).unwrap();
        assert_eq!(joined.tokens, [3, 0, 3, 0, 1, 2]);
        assert_eq!(TopK::join([(Some(&judged), 1), (None, 1)].into_iter()), None);
    }

    #[test]
    fn what_is_no_judgement_is_refused() {
        let refused = |positions, tokens: &[u32], values: &[f32]| {
            TopK::new(positions, tokens.to_vec(), values.to_vec(), 4).unwrap_err()
        };
        assert!(refused(2, &[1, 2, 3], &[-1.0; 3]).contains("3 likeliest"));
        assert!(refused(1, &[1, 2], &[-1.0]).contains("1 log-prob"));
        assert!(refused(1, &[], &[]).contains("0 likeliest"));
        assert!(refused(1, &[4], &[-1.0]).contains("token 4"));
        assert!(refused(1, &[1, 2], &[-0.1, -0.1]).contains("position 0"));
        assert!(refused(1, &[1], &[f32::NAN]).contains("position 0"));
    }
}
