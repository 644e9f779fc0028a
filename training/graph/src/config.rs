//! Shape and constants of a decoder of the Llama family.

use crate::{Error, Result};

/// A decoder: embedding, layers of attention and gated feed-forward with RMS norms, final norm, head.
///
/// Biases on the projections and norms on queries and keys are present where [`crate::Weights`] has them.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// Which name the model goes by in configuration files; does not change the graph.
    pub family: Family,
    /// Rows of the embedding.
    pub vocab_len: usize,
    /// Columns of the logits: `vocab_len`, or fewer for a head that was cut to the most frequent tokens.
    pub head_vocab_len: usize,
    /// Width of the residual stream.
    pub hidden_len: usize,
    /// Width between the feed-forward projections.
    pub ffn_len: usize,
    /// Number of layers.
    pub layer_count: usize,
    /// Number of query heads.
    pub head_count: usize,
    /// Number of key and value heads; divides `head_count`.
    pub kv_head_count: usize,
    /// Width of one head; even.
    pub head_len: usize,
    /// Longest sequence: rows of the rotary tables.
    pub context_len_max: usize,
    /// Epsilon of every RMS norm.
    pub norm_epsilon: f32,
    /// Added to every norm weight: 1 for Gemma, else 0.
    pub norm_offset: f32,
    /// Factor on the embedding: `sqrt(hidden_len)` for Gemma, else 1.
    pub embedding_scale: f32,
    /// Factor on query·key; `1/sqrt(head_len)` if `None`.
    pub attention_scale: Option<f32>,
    /// Between the gate and the product.
    pub activation: Activation,
    /// Rotary position embedding.
    pub rope: Rope,
}

/// Model families that share this graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama, SmolLM and llama2.c models.
    Llama,
    /// Mistral without sliding window.
    Mistral,
    /// Qwen2 and Qwen2.5: biases on query, key and value.
    Qwen2,
    /// Qwen3: norms on query and key heads.
    Qwen3,
    /// Gemma 1: scaled embedding, `1 + w` norms, GeGLU.
    Gemma,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 5] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3, Self::Gemma];

    /// `model_type` of `config.json` and `model.type` of `genai_config.json`.
    #[must_use]
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma => "gemma",
        }
    }

    /// Entry of `architectures` in `config.json`.
    #[must_use]
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Gemma => "GemmaForCausalLM",
        }
    }
}

/// Function on the gate of the feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// GELU in its tanh approximation.
    GeluTanh,
}

/// Rotary position embedding: pair `i` of a head turns by `position · frequency(i)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base: the frequency of pair `i` is `theta^(-2i/head_len)` before scaling.
    pub theta: f32,
    /// True if a pair is `(2i, 2i+1)`, as in llama2.c; false if it is `(i, i + head_len/2)`.
    pub interleaved: bool,
    /// Change of the frequencies for long contexts.
    pub scaling: RopeScaling,
}

/// Change of the rotary frequencies.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// None.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// Divisor.
        factor: f32,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, those between blended.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f32,
        /// Wavelengths above `original_context_len / low_frequency_factor` are divided.
        low_frequency_factor: f32,
        /// Wavelengths below `original_context_len / high_frequency_factor` are kept.
        high_frequency_factor: f32,
        /// Context that the model was trained with first.
        original_context_len: usize,
    },
}

impl DecoderConfig {
    /// Llama shape with usual constants: epsilon 1e-5, theta 10,000, SiLU, no scaling, full head.
    #[must_use]
    pub fn llama(vocab_len: usize, hidden_len: usize, ffn_len: usize, layer_count: usize, head_count: usize) -> Self {
        Self {
            family: Family::Llama,
            vocab_len,
            head_vocab_len: vocab_len,
            hidden_len,
            ffn_len,
            layer_count,
            head_count,
            kv_head_count: head_count,
            head_len: hidden_len / head_count.max(1),
            context_len_max: 2048,
            norm_epsilon: 1e-5,
            norm_offset: 0.0,
            embedding_scale: 1.0,
            attention_scale: None,
            activation: Activation::Silu,
            rope: Rope { theta: 10_000.0, interleaved: false, scaling: RopeScaling::None },
        }
    }

    /// Factor on query·key.
    #[must_use]
    pub fn attention_scale(&self) -> f32 {
        self.attention_scale.unwrap_or_else(|| 1.0 / (self.head_len as f32).sqrt())
    }

    /// Width of all query heads together.
    #[must_use]
    pub fn query_len(&self) -> usize {
        self.head_count * self.head_len
    }

    /// Width of all key heads together, and of all value heads.
    #[must_use]
    pub fn kv_len(&self) -> usize {
        self.kv_head_count * self.head_len
    }

    /// Bytes that one token takes in the KV cache with `element_bytes` per element; more in the shared-buffer layout if
    /// [`crate::GraphOptions::head_len`] is wider.
    #[must_use]
    pub fn cache_bytes_per_token(&self, element_bytes: usize) -> usize {
        2 * self.layer_count * self.kv_len() * element_bytes
    }

    /// Checks that the numbers describe a model.
    ///
    /// # Errors
    /// `Config` naming the first field that does not.
    pub fn check(&self) -> Result<()> {
        let fail = |field, reason: &str| Err(Error::Config { field, reason: reason.into() });
        let sizes = [
            ("vocab_len", self.vocab_len),
            ("head_vocab_len", self.head_vocab_len),
            ("hidden_len", self.hidden_len),
            ("ffn_len", self.ffn_len),
            ("layer_count", self.layer_count),
            ("head_count", self.head_count),
            ("kv_head_count", self.kv_head_count),
            ("head_len", self.head_len),
            ("context_len_max", self.context_len_max),
        ];
        for (field, value) in sizes {
            if value == 0 || value > 1 << 24 {
                return fail(field, &format!("{value} is outside 1..=2^24"));
            }
        }
        if self.head_vocab_len > self.vocab_len {
            return fail("head_vocab_len", "the head is wider than the vocabulary");
        }
        if !self.head_count.is_multiple_of(self.kv_head_count) {
            return fail("kv_head_count", "it must divide head_count");
        }
        if !self.head_len.is_multiple_of(2) {
            return fail("head_len", "rotary embedding needs an even width");
        }
        let constants = [
            ("norm_epsilon", self.norm_epsilon),
            ("rope.theta", self.rope.theta),
            ("embedding_scale", self.embedding_scale),
            ("attention_scale", self.attention_scale()),
        ];
        for (field, value) in constants {
            if !(value.is_finite() && value > 0.0) {
                return fail(field, &format!("{value} is not a positive number"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_model() {
        let good = DecoderConfig::llama(64, 32, 48, 2, 4);
        good.check().unwrap();
        let bad = [
            DecoderConfig { kv_head_count: 3, ..good.clone() },
            DecoderConfig { head_len: 7, ..good.clone() },
            DecoderConfig { head_vocab_len: 65, ..good.clone() },
            DecoderConfig { layer_count: 0, ..good.clone() },
            DecoderConfig { vocab_len: usize::MAX, ..good.clone() },
            DecoderConfig { norm_epsilon: f32::NAN, ..good },
        ];
        for config in bad {
            assert!(matches!(config.check(), Err(Error::Config { .. })), "{config:?}");
        }
    }
}
