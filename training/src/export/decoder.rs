//! A trained model in the graph builder's terms.

use std::collections::BTreeMap;

use drafthorse_graph::{Activation, DecoderConfig, Family, LayerWeights, Linear, Rope, RopeScaling, Weights};

use crate::Result;
use crate::model::{self, Llama, ModelConfig};

/// Shape and weights of `model` for the graph builder.
///
/// # Errors
/// `Graph` if the builder refuses the shape.
pub(crate) fn decoder(model: &Llama) -> Result<(DecoderConfig, Weights)> {
    let config = model.config();
    let mut values: BTreeMap<String, Vec<f32>> =
        model.values().into_iter().map(|tensor| (tensor.name, tensor.values)).collect();
    let mut take = |name: &str| values.remove(name);
    let embedding = take("model.embed_tokens.weight").unwrap_or_default();
    let layers = (0..config.layers)
        .map(|layer| {
            let mut take = |name: &str| take(&format!("model.layers.{layer}.{name}"));
            let mut linear = |name: &str| Linear {
                weight: take(&format!("{name}.weight")).unwrap_or_default(),
                bias: take(&format!("{name}.bias")),
            };
            let [query, key, value, output] =
                ["q", "k", "v", "o"].map(|part| linear(&format!("self_attn.{part}_proj")));
            let [gate, up, down] = ["gate", "up", "down"].map(|part| linear(&format!("mlp.{part}_proj")));
            LayerWeights {
                attention_norm: take("input_layernorm.weight").unwrap_or_default(),
                query,
                key,
                value,
                output,
                query_norm: take("self_attn.q_norm.weight"),
                key_norm: take("self_attn.k_norm.weight"),
                ffn_norm: take("post_attention_layernorm.weight").unwrap_or_default(),
                gate,
                up,
                down,
            }
        })
        .collect();
    let final_norm = take("model.norm.weight").unwrap_or_default();
    let weights = Weights { embedding, layers, final_norm, head: take("lm_head.weight") };
    let shape = shape(config);
    weights.check(&shape).map_err(super::graph)?;
    Ok((shape, weights))
}

fn shape(config: &ModelConfig) -> DecoderConfig {
    let family = match (config.qkv_bias, config.qk_norm) {
        (_, true) => Family::Qwen3,
        (true, false) => Family::Qwen2,
        (false, false) => Family::Llama,
    };
    DecoderConfig {
        family,
        vocab_len: config.vocab_len,
        head_vocab_len: config.head_rows(),
        hidden_len: config.hidden_len,
        ffn_len: config.ffn_len,
        layer_count: config.layers,
        head_count: config.heads,
        kv_head_count: config.kv_heads,
        head_len: config.head_len,
        context_len_max: config.context_len,
        norm_epsilon: config.norm_eps as f32,
        norm_offset: 0.0,
        embedding_scale: 1.0,
        attention_scale: None,
        activation: Activation::Silu,
        rope: Rope { theta: config.rope_theta as f32, interleaved: false, scaling: scaling(config) },
    }
}

fn scaling(config: &ModelConfig) -> RopeScaling {
    match &config.rope_scaling {
        None => RopeScaling::None,
        Some(model::RopeScaling::Linear { factor }) => RopeScaling::Linear { factor: *factor as f32 },
        Some(model::RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context_len }) => {
            RopeScaling::Llama3 {
                factor: *factor as f32,
                low_frequency_factor: *low_freq_factor as f32,
                high_frequency_factor: *high_freq_factor as f32,
                original_context_len: *original_context_len as usize,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use drafthorse_graph::reference;

    use super::*;
    use crate::model::{host, token_tensor};

    #[test]
    fn the_builders_reference_computes_what_the_model_does() {
        let llama3 = model::RopeScaling::Llama3 {
            factor: 4.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context_len: 16.0,
        };
        for config in [
            ModelConfig::tiny(),
            ModelConfig { qkv_bias: true, tied_head: false, ..ModelConfig::tiny() },
            ModelConfig { qk_norm: true, rope_scaling: Some(llama3), ..ModelConfig::tiny() },
            ModelConfig { tied_head: false, head_tokens: Some(vec![1, 4, 30]), ..ModelConfig::tiny() },
        ] {
            // Larger weights than at the start of training, so that a wrong order of anything shows.
            let model = Llama::random(config, 4, &Device::flex()).unwrap().map(|_, tensor| tensor.mul_scalar(8.0));
            let (shape, weights) = decoder(&model).unwrap();
            let tokens = [3u32, 9, 27, 1, 30, 8, 2];
            let expected = host(model.forward(token_tensor(&[tokens], &model.device())));
            let found = reference::logits(&shape, &weights, &tokens);
            assert_eq!(found.len(), expected.len());
            for (x, y) in found.iter().zip(&expected) {
                assert!((x - y).abs() < 1e-3 * (1.0 + y.abs()), "{x} {y}");
            }
        }
    }
}
