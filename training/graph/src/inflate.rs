//! Makes a model bigger without changing its function: honest costs for benchmarks where no big model is at hand.

use crate::weights::{LayerWeights, Linear, Weights};
use crate::{DecoderConfig, Error, Result};

/// Sizes to inflate to; each at least that of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InflatedSize {
    /// Width of the residual stream.
    pub hidden_len: usize,
    /// Width between the feed-forward projections.
    pub ffn_len: usize,
    /// Number of key and value heads; query heads grow in proportion.
    pub kv_head_count: usize,
    /// Number of layers.
    pub layer_count: usize,
}

/// The same function at a bigger size: new channels, heads and layers compute as any other and add zero.
///
/// Norms divide by the root mean square over more channels, of which the new ones are zero: their weights shrink by
/// `sqrt(old / new)` and epsilon by `old / new`, which cancels exactly.
///
/// # Errors
/// `Config` if a size is smaller than the model's; `Config` or `Shape` if weights and configuration do not fit.
pub fn inflate(config: &DecoderConfig, weights: &Weights, size: InflatedSize) -> Result<(DecoderConfig, Weights)> {
    weights.check(config)?;
    let sizes = [
        ("hidden_len", config.hidden_len, size.hidden_len),
        ("ffn_len", config.ffn_len, size.ffn_len),
        ("kv_head_count", config.kv_head_count, size.kv_head_count),
        ("layer_count", config.layer_count, size.layer_count),
    ];
    for (field, from, to) in sizes {
        if to < from {
            return Err(Error::Config { field, reason: format!("cannot inflate from {from} to {to}") });
        }
    }
    let group = config.head_count / config.kv_head_count;
    let ratio = config.hidden_len as f32 / size.hidden_len as f32;
    let inflated = DecoderConfig {
        hidden_len: size.hidden_len,
        ffn_len: size.ffn_len,
        kv_head_count: size.kv_head_count,
        head_count: size.kv_head_count * group,
        layer_count: size.layer_count,
        norm_epsilon: config.norm_epsilon * ratio,
        attention_scale: Some(config.attention_scale()),
        ..config.clone()
    };
    inflated.check()?;
    if weights.layers.iter().any(|layer| layer.query_norm.is_some()) && ratio != 1.0 {
        let reason = "head norms share one epsilon with the others; inflate layers only".into();
        return Err(Error::Config { field: "hidden_len", reason });
    }
    let pad = Padding { from: config, to: &inflated, norm_ratio: ratio.sqrt() };
    let table = |rows: &[f32], count| grow(rows, config.hidden_len, size.hidden_len, count);
    let mut layers: Vec<_> = weights.layers.iter().map(|layer| pad.layer(layer)).collect();
    if let Some(idle) = layers.first().map(idle_layer) {
        layers.resize(size.layer_count, idle);
    }
    let weights = Weights {
        embedding: table(&weights.embedding, config.vocab_len),
        layers,
        final_norm: pad.norm(&weights.final_norm),
        head: weights.head.as_ref().map(|head| table(head, config.head_vocab_len)),
    };
    Ok((inflated, weights))
}

struct Padding<'a> {
    from: &'a DecoderConfig,
    to: &'a DecoderConfig,
    norm_ratio: f32,
}

impl Padding<'_> {
    fn layer(&self, layer: &LayerWeights) -> LayerWeights {
        let (from, to) = (self.from, self.to);
        let hidden = (from.hidden_len, to.hidden_len);
        let (query, kv, ffn) = (to.query_len(), to.kv_len(), to.ffn_len);
        LayerWeights {
            attention_norm: self.norm(&layer.attention_norm),
            query: linear(&layer.query, hidden, query),
            key: linear(&layer.key, hidden, kv),
            value: linear(&layer.value, hidden, kv),
            output: linear(&layer.output, (from.query_len(), query), to.hidden_len),
            query_norm: layer.query_norm.clone(),
            key_norm: layer.key_norm.clone(),
            ffn_norm: self.norm(&layer.ffn_norm),
            gate: linear(&layer.gate, hidden, ffn),
            up: linear(&layer.up, hidden, ffn),
            down: linear(&layer.down, (from.ffn_len, ffn), to.hidden_len),
        }
    }

    fn norm(&self, weight: &[f32]) -> Vec<f32> {
        let offset = self.from.norm_offset;
        let mut grown: Vec<f32> = weight.iter().map(|weight| (weight + offset) * self.norm_ratio - offset).collect();
        grown.resize(self.to.hidden_len, 1.0 - offset);
        grown
    }
}

/// A layer that computes what `layer` does and adds nothing.
fn idle_layer(layer: &LayerWeights) -> LayerWeights {
    let mut idle = layer.clone();
    for part in [&mut idle.output, &mut idle.down] {
        part.weight.fill(0.0);
        part.bias = None;
    }
    idle
}

fn linear(part: &Linear, (from, to): (usize, usize), out_len: usize) -> Linear {
    let bias = part.bias.as_ref().map(|bias| grow(bias, 1, 1, out_len));
    Linear { weight: grow(&part.weight, from, to, out_len), bias }
}

/// `[rows, from]` with zeros added up to `[out_len, to]`.
fn grow(rows: &[f32], from: usize, to: usize, out_len: usize) -> Vec<f32> {
    let mut grown = Vec::with_capacity(out_len * to);
    for row in rows.chunks_exact(from) {
        grown.extend_from_slice(row);
        grown.resize(grown.len() + to - from, 0.0);
    }
    grown.resize(out_len * to, 0.0);
    grown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Extras;
    use crate::reference::logits;

    #[test]
    fn function_stays_and_work_grows() {
        for (norm_offset, extras) in
            [(0.0, Extras { biases: true, ..Extras::default() }), (1.0, Extras { tied: true, ..Extras::default() })]
        {
            let config = DecoderConfig { kv_head_count: 2, norm_offset, ..DecoderConfig::llama(50, 32, 48, 2, 4) };
            let weights = Weights::random(&config, extras, 3.0, 9).unwrap();
            let size = InflatedSize { hidden_len: 64, ffn_len: 96, kv_head_count: 3, layer_count: 5 };
            let (big_config, big) = inflate(&config, &weights, size).unwrap();
            big.check(&big_config).unwrap();
            assert_eq!((big_config.head_count, big.layers.len()), (6, 5));
            let text: Vec<u32> = (0..12).map(|index| index * 7 % 50).collect();
            let (before, after) = (logits(&config, &weights, &text), logits(&big_config, &big, &text));
            let worst = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-4, "{worst}");
        }
    }

    #[test]
    fn layers_alone_change_no_bit() {
        let config = DecoderConfig::llama(50, 32, 48, 1, 4);
        let weights = Weights::random(&config, Extras { head_norms: true, ..Extras::default() }, 3.0, 9).unwrap();
        let size = InflatedSize { hidden_len: 32, ffn_len: 48, kv_head_count: 4, layer_count: 4 };
        let (big_config, big) = inflate(&config, &weights, size).unwrap();
        assert_eq!(logits(&config, &weights, &[1, 2, 3]), logits(&big_config, &big, &[1, 2, 3]));
    }

    #[test]
    fn refuses_to_shrink() {
        let config = DecoderConfig::llama(50, 32, 48, 2, 4);
        let weights = Weights::random(&config, Extras::default(), 3.0, 9).unwrap();
        let size = InflatedSize { hidden_len: 16, ffn_len: 48, kv_head_count: 4, layer_count: 2 };
        assert!(matches!(inflate(&config, &weights, size), Err(Error::Config { field: "hidden_len", .. })));
    }
}
