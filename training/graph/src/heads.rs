//! Heads as `GroupQueryAttention` takes them: widths that are multiples of 16.

use crate::options::{GraphOptions, Layout};
use crate::rope::pairs_to_halves;
use crate::weights::{Linear, Weights};
use crate::{DecoderConfig, Error, Result};

/// ONNX Runtime's CPU kernel refuses other widths.
const WIDTH_STEP: usize = 16;

impl GraphOptions {
    /// Width of a head in the graph and its KV cache: in the shared-buffer layout the next multiple of 16.
    #[must_use]
    pub fn head_len(&self, config: &DecoderConfig) -> usize {
        match self.layout {
            Layout::Shared => config.head_len.next_multiple_of(WIDTH_STEP),
            Layout::Growing { .. } => config.head_len,
        }
    }
}

/// The same function with heads of `head_len`: the new rows and columns are zero.
pub(crate) fn pad(config: &DecoderConfig, weights: &Weights, head_len: usize) -> Result<(DecoderConfig, Weights)> {
    if weights.layers.iter().any(|layer| layer.query_norm.is_some()) {
        let reason =
            format!("heads of {} with norms cannot be padded to {head_len}; use the growing layout", config.head_len);
        return Err(Error::Option { option: "layout", reason });
    }
    let mut padded = weights.clone();
    let (half, grown) = (config.head_len / 2, head_len / 2);
    for layer in &mut padded.layers {
        for part in [&mut layer.query, &mut layer.key] {
            if config.rope.interleaved {
                part.map_rows(config.hidden_len, |rows, columns| pairs_to_halves(rows, config.head_len, columns));
            }
            part.map_rows(config.hidden_len, |rows, columns| grow(rows, half * columns, grown * columns));
        }
        let (old, new) = (config.head_len, head_len);
        layer.value.map_rows(config.hidden_len, |rows, columns| grow(rows, old * columns, new * columns));
        layer.output.weight = grow(&layer.output.weight, old, new);
    }
    let mut config = DecoderConfig { head_len, attention_scale: Some(config.attention_scale()), ..config.clone() };
    config.rope.interleaved = false;
    Ok((config, padded))
}

/// Every run of `from` values followed by zeros up to `to`.
fn grow(values: &[f32], from: usize, to: usize) -> Vec<f32> {
    values.chunks_exact(from).flat_map(|run| run.iter().copied().chain(std::iter::repeat_n(0.0, to - from))).collect()
}

impl Linear {
    /// Changes weight and bias alike; `change` is given the rows and their width.
    fn map_rows(&mut self, in_len: usize, change: impl Fn(&[f32], usize) -> Vec<f32>) {
        self.weight = change(&self.weight, in_len);
        self.bias = self.bias.as_ref().map(|bias| change(bias, 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Extras;
    use crate::reference::logits;

    #[test]
    fn padding_keeps_the_shape_of_the_model() {
        let mut config = DecoderConfig { kv_head_count: 2, ..DecoderConfig::llama(40, 32, 48, 2, 4) };
        config.rope.interleaved = true;
        let weights = Weights::random(&config, Extras { biases: true, ..Extras::default() }, 3.0, 1).unwrap();
        let (padded_config, padded) = pad(&config, &weights, 16).unwrap();
        padded.check(&padded_config).unwrap();
        // At position 0 nothing turns, so even the plain reference agrees.
        let (before, after) = (logits(&config, &weights, &[7]), logits(&padded_config, &padded, &[7]));
        assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn normed_heads_are_refused() {
        let config = DecoderConfig::llama(40, 32, 48, 1, 4);
        let weights = Weights::random(&config, Extras { head_norms: true, ..Extras::default() }, 3.0, 1).unwrap();
        assert!(matches!(pad(&config, &weights, 16), Err(Error::Option { option: "layout", .. })));
    }
}
