//! The forward pass over whole sequences, with or without gradients.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData, activation};

use super::fused::{Rotation, causal_softmax, rms_norm, swiglu};
use super::{Layer, Llama};

/// What is added to the score of a position that may not be seen.
pub(super) const MASKED: f32 = -1e30;

impl Llama {
    /// Logits of every position: `tokens` `[batch, seq]` to `[batch, seq, head_rows]`.
    ///
    /// # Panics
    /// If `seq` is above `context_len`.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [batch, seq] = tokens.dims();
        self.logits(self.hidden(tokens)).reshape([batch, seq, self.config.head_rows()])
    }

    /// The normalised last hidden state: `tokens` `[batch, seq]` to `[batch * seq, hidden_len]`.
    ///
    /// # Panics
    /// If `seq` is above `context_len`.
    pub fn hidden(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let [batch, seq] = tokens.dims();
        assert!(seq <= self.config.context_len, "{seq} tokens, but the context is {}", self.config.context_len);
        let rotation = self.rotation(0, seq);
        let mut hidden = self.embed(tokens);
        for layer in 0..self.layers.len() {
            hidden = self.through(layer, hidden, [batch, seq], &rotation);
        }
        self.normed(hidden)
    }

    /// One layer of a pass without a past: `[batch * seq, hidden_len]` to the same.
    pub(crate) fn through(
        &self,
        layer: usize,
        hidden: Tensor<2>,
        [batch, seq]: [usize; 2],
        rotation: &Rotation,
    ) -> Tensor<2> {
        let layer = &self.layers[layer];
        let (query, key, value) = layer.project(self, hidden.clone(), batch, seq, rotation);
        let hidden = hidden + layer.attend(self, query, key, value, None);
        hidden.clone() + layer.feed_forward(self, hidden)
    }

    /// The last norm: `[rows, hidden_len]` to what the head reads.
    pub(crate) fn normed(&self, hidden: Tensor<2>) -> Tensor<2> {
        rms_norm(hidden, self.norm.clone(), self.config.norm_eps)
    }

    /// Logits of normalised hidden states: `[rows, hidden_len]` to `[rows, head_rows]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.precision.linear(hidden, self.head.as_ref().unwrap_or(&self.embedding))
    }

    /// Rotary tables of `seq` positions from `start` on.
    pub(crate) fn rotation(&self, start: usize, seq: usize) -> Rotation {
        let half = self.config.head_len / 2;
        let range = start * half..(start + seq) * half;
        let host = Arc::new((self.rotary.0[range.clone()].to_vec(), self.rotary.1[range].to_vec()));
        Rotation { cos: self.cos.clone().narrow(0, start, seq), sin: self.sin.clone().narrow(0, start, seq), host }
    }

    /// `[batch, seq]` to `[batch * seq, hidden_len]`.
    pub(crate) fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let [batch, seq] = tokens.dims();
        self.embedding.clone().select(0, tokens.reshape([batch * seq]))
    }
}

impl Layer {
    /// Rotated queries `[batch, heads, seq, head_len]`, rotated keys and values `[batch, kv_heads, seq, head_len]`.
    pub(super) fn project(
        &self,
        model: &Llama,
        hidden: Tensor<2>,
        batch: usize,
        seq: usize,
        rotation: &Rotation,
    ) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
        let Llama { config, precision, .. } = model;
        let normed = rms_norm(hidden, self.attention_norm.clone(), config.norm_eps);
        let mut parts = [&self.query, &self.key, &self.value].map(|weight| precision.linear(normed.clone(), weight));
        if let Some(biases) = &self.qkv_bias {
            let mut index = 0;
            parts = parts.map(|part| {
                index += 1;
                part + biases[index - 1].clone()
            });
        }
        let [query, key, value] = parts;
        let norm = |x: Tensor<2>, heads: usize, weight: &Tensor<2>| {
            let rows = x.reshape([batch * seq * heads, config.head_len]);
            rms_norm(rows, weight.clone(), config.norm_eps).reshape([batch * seq, heads * config.head_len])
        };
        let (query, key) = match &self.qk_norm {
            Some([on_query, on_key]) => (norm(query, config.heads, on_query), norm(key, config.kv_heads, on_key)),
            None => (query, key),
        };
        (
            rotation.apply(query, config.heads),
            rotation.apply(key, config.kv_heads),
            value.reshape([batch, seq, config.kv_heads, config.head_len]).swap_dims(1, 2),
        )
    }

    /// Attention of `seq` queries over `past + seq` keys, through the output projection: `[batch * seq, hidden_len]`.
    ///
    /// Query heads of a group share keys by folding the group into the rows, so keys are never repeated.
    /// `mask` `[batch or 1, 1, group * seq, past + seq]` is added to the scores; without one, attention is causal and
    /// there is no past.
    pub(super) fn attend(
        &self,
        model: &Llama,
        query: Tensor<4>,
        key: Tensor<4>,
        value: Tensor<4>,
        mask: Option<Tensor<4>>,
    ) -> Tensor<2> {
        let Llama { config, precision, .. } = model;
        let [batch, heads, seq, head_len] = query.dims();
        let group = heads / config.kv_heads;
        let scale = 1.0 / (head_len as f32).sqrt();
        let query = query.mul_scalar(scale).reshape([batch, config.kv_heads, group * seq, head_len]);
        let scores = precision.product(query, key.swap_dims(2, 3));
        let weights = match mask {
            Some(mask) => activation::softmax(scores + mask, 3),
            None => causal_softmax(scores),
        };
        let mixed = precision.product(weights, value);
        let mixed = mixed.reshape([batch, heads, seq, head_len]).swap_dims(1, 2);
        precision.linear(mixed.reshape([batch * seq, heads * head_len]), &self.output)
    }

    /// SwiGLU: `[rows, hidden_len]` to the same.
    pub(super) fn feed_forward(&self, model: &Llama, hidden: Tensor<2>) -> Tensor<2> {
        let Llama { config, precision, .. } = model;
        let normed = rms_norm(hidden, self.ffn_norm.clone(), config.norm_eps);
        let gate = precision.linear(normed.clone(), &self.gate);
        precision.linear(swiglu(gate, precision.linear(normed, &self.up)), &self.down)
    }
}

/// Rows of equal length as `[batch, seq]` on `device`.
///
/// # Panics
/// If rows differ in length or there are none.
pub fn token_tensor(rows: &[impl AsRef<[u32]>], device: &Device) -> Tensor<2, Int> {
    let seq = rows[0].as_ref().len();
    let mut values = Vec::with_capacity(rows.len() * seq);
    for row in rows {
        assert_eq!(row.as_ref().len(), seq, "rows must have one length");
        values.extend(row.as_ref().iter().map(|&token| token as i32));
    }
    Tensor::from_data(TensorData::new(values, [rows.len(), seq]), device)
}

#[cfg(test)]
mod tests {
    use super::super::ModelConfig;
    use super::super::weights::host;
    use super::*;

    fn forward(model: &Llama, rows: &[Vec<u32>]) -> Vec<f32> {
        host(model.forward(token_tensor(rows, &model.device())))
    }

    #[test]
    fn a_position_sees_only_what_came_before() {
        let model = Llama::random(ModelConfig::tiny(), 3, &Device::flex()).unwrap();
        let all = forward(&model, &[vec![1, 2, 3, 4, 5, 6]]);
        let other = forward(&model, &[vec![1, 2, 3, 9, 9, 9]]);
        let row = model.config().vocab_len;
        assert_eq!(all[..3 * row], other[..3 * row]);
        assert_ne!(all[3 * row..], other[3 * row..]);
    }

    #[test]
    fn rows_of_a_batch_are_independent() {
        let config = ModelConfig { qk_norm: true, ..ModelConfig::tiny() };
        let model = Llama::random(config, 3, &Device::flex()).unwrap();
        let both = forward(&model, &[vec![1, 2, 3], vec![7, 8, 9]]);
        let alone = forward(&model, &[vec![7, 8, 9]]);
        for (x, y) in both[alone.len()..].iter().zip(&alone) {
            assert!((x - y).abs() < 1e-5);
        }
    }

    #[test]
    fn every_weight_receives_a_gradient() {
        let config = ModelConfig { qkv_bias: true, tied_head: false, ..ModelConfig::tiny() };
        let model = Llama::random(config, 3, &Device::flex()).unwrap().trainable();
        let logits = model.forward(token_tensor(&[vec![1, 2, 3, 4]], &model.device()));
        let gradients = logits.square().sum().backward();
        for (name, tensor) in model.tensors() {
            let gradient = tensor.grad(&gradients).unwrap_or_else(|| panic!("{name} has no gradient"));
            // A key's bias moves all scores of a row alike, which softmax ignores; positions break that only slightly.
            if !name.ends_with("k_proj.bias") {
                assert!(host(gradient).iter().any(|x| x.abs() > 0.0), "{name}");
            }
        }
    }
}
