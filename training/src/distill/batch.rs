//! Texts as a padded batch, with the positions that the loss is taken over.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::top_k::TopK;
use crate::model::token_tensor;

/// A prompt and what follows it; the loss is taken where completion tokens are predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Tokens that are given: at least one, so that every completion token has something to be predicted from.
    pub prompt: Vec<u32>,
    /// Tokens that follow.
    pub completion: Vec<u32>,
    /// What the target thought at each completion position, where that is on disk.
    #[serde(skip)]
    pub judged: Option<Arc<TopK>>,
}

impl Example {
    /// A text that the target has not judged yet.
    pub fn new(prompt: Vec<u32>, completion: Vec<u32>) -> Self {
        Self { prompt, completion, judged: None }
    }

    /// Prompt and completion together, cut to `context_len`.
    pub fn tokens(&self, context_len: usize) -> Vec<u32> {
        self.prompt.iter().chain(&self.completion).copied().take(context_len).collect()
    }
}

/// Right-padded rows and the places of their completions.
pub struct Batch {
    /// `[rows, length]`.
    pub tokens: Tensor<2, Int>,
    /// For each position with a loss, its place in the flattened `[rows · length]` hidden states.
    pub places: Tensor<1, Int>,
    /// The token that follows each of these places.
    pub next: Vec<u32>,
    /// Which of the examples each of these places belongs to.
    pub rows: Vec<usize>,
    /// What the target thought at each of these places, if that is known of all of them.
    pub judged: Option<TopK>,
}

impl Batch {
    /// Puts `examples` into one batch on `device`, cutting each to `context_len` tokens.
    ///
    /// Returns none if no completion token is left to predict.
    pub fn new(examples: &[&Example], context_len: usize, device: &Device) -> Option<Self> {
        let mut texts: Vec<Vec<u32>> = examples.iter().map(|example| example.tokens(context_len)).collect();
        let length = texts.iter().map(Vec::len).max().unwrap_or(0);
        let (mut places, mut next, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for (row, (example, text)) in examples.iter().zip(&mut texts).enumerate() {
            for (at, &token) in text.iter().enumerate().skip(example.prompt.len().max(1)) {
                places.push((row * length + at - 1) as i32);
                next.push(token);
                rows.push(row);
            }
            text.resize(length, 0);
        }
        if places.is_empty() {
            return None;
        }
        let count = places.len();
        let positions = |row| rows.iter().filter(|&&of| of == row).count();
        let judged = TopK::join(examples.iter().enumerate().map(|(row, e)| (e.judged.as_deref(), positions(row))));
        Some(Self {
            tokens: token_tensor(&texts, device),
            places: Tensor::from_data(TensorData::new(places, [count]), device),
            next,
            rows,
            judged,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_completion_tokens_are_predicted() {
        let examples = [Example::new(vec![1, 2, 3], vec![4, 5]), Example::new(vec![6], vec![7])];
        let batch = Batch::new(&[&examples[0], &examples[1]], 32, &Device::flex()).unwrap();
        assert_eq!(batch.tokens.dims(), [2, 5]);
        assert_eq!(batch.places.try_into_vec_as::<i32>().unwrap(), [2, 3, 5]);
        assert_eq!(batch.next, [4, 5, 7]);
        assert_eq!(batch.rows, [0, 0, 1]);
    }

    #[test]
    fn a_text_is_cut_to_the_context_and_a_bare_prompt_gives_nothing() {
        let long = Example::new(vec![1, 2], vec![3, 4, 5]);
        assert_eq!(Batch::new(&[&long], 4, &Device::flex()).unwrap().next, [3, 4]);
        assert!(Batch::new(&[&long], 2, &Device::flex()).is_none());
        assert!(Batch::new(&[], 4, &Device::flex()).is_none());
    }
}
