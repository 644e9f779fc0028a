//! The shape of a Llama-family decoder, read from and written as a Hugging Face `config.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::IoContext;
use crate::{Error, Result};

/// Most elements that one tensor may have: larger sizes are taken for damage.
const TENSOR_ELEMENTS_MAX: u64 = 1 << 33;

/// Sizes and variants of a decoder: RMS normalisation, rotary positions, grouped-query attention, SwiGLU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Tokens in the vocabulary: rows of the embedding.
    pub vocab_len: usize,
    /// Width of the residual stream.
    pub hidden_len: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head, even.
    pub head_len: usize,
    /// Width of the feed-forward part.
    pub ffn_len: usize,
    /// Longest sequence in tokens.
    pub context_len: usize,
    /// Base of the rotary frequencies.
    #[serde(default = "rope_theta_default")]
    pub rope_theta: f64,
    /// Llama 3's or linear scaling of the rotary frequencies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// Added to the mean square in RMS normalisation.
    #[serde(default = "norm_eps_default")]
    pub norm_eps: f64,
    /// The head is the embedding.
    #[serde(default = "tied_default")]
    pub tied_head: bool,
    /// Query, key and value projections have a bias (Qwen2).
    #[serde(default)]
    pub qkv_bias: bool,
    /// Query and key heads are normalised before rotation (Qwen3).
    #[serde(default)]
    pub qk_norm: bool,
    /// Token that begins a text, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bos_token: Option<u32>,
    /// Tokens that end a text.
    #[serde(default)]
    pub eos_tokens: Vec<u32>,
    /// Trimmed head: row `i` of the head scores token `head_tokens[i]`; all other tokens have probability 0
    /// (VocabTrim, arXiv 2506.22694). None: row `i` scores token `i`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_tokens: Option<Vec<u32>>,
}

/// How rotary frequencies are changed for contexts longer than the pretraining one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RopeScaling {
    /// All frequencies divided by the factor.
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// Llama 3: low frequencies divided, high ones kept, a smooth step between.
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_context_len / low_freq_factor` are scaled in full.
        low_freq_factor: f64,
        /// Wavelengths below `original_context_len / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context of the pretraining.
        original_context_len: f64,
    },
}

fn rope_theta_default() -> f64 {
    10_000.0
}

fn norm_eps_default() -> f64 {
    1e-5
}

fn tied_default() -> bool {
    true
}

impl ModelConfig {
    /// Checks that the sizes fit each other and are not absurd.
    ///
    /// # Errors
    /// `Setting` with the field.
    pub fn check(&self) -> Result<()> {
        for (name, value, max) in [
            ("vocab_len", self.vocab_len, 1 << 22),
            ("hidden_len", self.hidden_len, 1 << 17),
            ("layers", self.layers, 1 << 10),
            ("heads", self.heads, 1 << 12),
            ("kv_heads", self.kv_heads, 1 << 12),
            ("head_len", self.head_len, 1 << 12),
            ("ffn_len", self.ffn_len, 1 << 20),
            ("context_len", self.context_len, 1 << 24),
        ] {
            if value == 0 || value > max {
                return Err(Error::setting(name, format!("{value}: from 1 to {max}")));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(Error::setting("kv_heads", format!("{} does not divide {} heads", self.kv_heads, self.heads)));
        }
        if !self.head_len.is_multiple_of(2) {
            return Err(Error::setting("head_len", format!("{}: rotation needs an even width", self.head_len)));
        }
        for (name, value) in [("rope_theta", self.rope_theta), ("norm_eps", self.norm_eps)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::setting(name, format!("{value}: above 0")));
            }
        }
        if let Some(tokens) = &self.head_tokens {
            let ordered = tokens.windows(2).all(|pair| pair[0] < pair[1]);
            if tokens.is_empty() || !ordered || tokens.iter().any(|&token| token as usize >= self.vocab_len) {
                return Err(Error::setting("head_tokens", "must be ascending ids below vocab_len, at least one"));
            }
            if self.tied_head {
                return Err(Error::setting("tied_head", "a trimmed head has its own rows and cannot be tied"));
            }
        }
        // The rotary tables are no weights, but are made for the whole context at once.
        let tables = ("context_len".to_owned(), [self.context_len, self.head_len]);
        for (name, [rows, columns]) in self.shapes().into_iter().chain([tables]) {
            if rows as u64 * columns as u64 > TENSOR_ELEMENTS_MAX {
                return Err(Error::setting(name, format!("{rows} × {columns} elements are too many")));
            }
        }
        Ok(())
    }

    /// Rows of the head: the vocabulary, or the kept tokens.
    pub fn head_rows(&self) -> usize {
        self.head_tokens.as_ref().map_or(self.vocab_len, Vec::len)
    }

    /// Every tensor's Hugging Face name and `[rows, columns]`; vectors have one row.
    pub fn shapes(&self) -> Vec<(String, [usize; 2])> {
        let (hidden, head) = (self.hidden_len, self.head_len);
        let (query, key) = (self.heads * head, self.kv_heads * head);
        let mut shapes = vec![("model.embed_tokens.weight".to_owned(), [self.vocab_len, hidden])];
        for layer in 0..self.layers {
            let mut add = |name: &str, shape| shapes.push((format!("model.layers.{layer}.{name}"), shape));
            add("input_layernorm.weight", [1, hidden]);
            add("self_attn.q_proj.weight", [query, hidden]);
            add("self_attn.k_proj.weight", [key, hidden]);
            add("self_attn.v_proj.weight", [key, hidden]);
            add("self_attn.o_proj.weight", [hidden, query]);
            if self.qkv_bias {
                add("self_attn.q_proj.bias", [1, query]);
                add("self_attn.k_proj.bias", [1, key]);
                add("self_attn.v_proj.bias", [1, key]);
            }
            if self.qk_norm {
                add("self_attn.q_norm.weight", [1, head]);
                add("self_attn.k_norm.weight", [1, head]);
            }
            add("post_attention_layernorm.weight", [1, hidden]);
            add("mlp.gate_proj.weight", [self.ffn_len, hidden]);
            add("mlp.up_proj.weight", [self.ffn_len, hidden]);
            add("mlp.down_proj.weight", [hidden, self.ffn_len]);
        }
        shapes.push(("model.norm.weight".to_owned(), [1, hidden]));
        if !self.tied_head {
            shapes.push(("lm_head.weight".to_owned(), [self.head_rows(), hidden]));
        }
        shapes
    }

    /// True if weights of the one are weights of the other.
    pub(crate) fn same_shape(&self, other: &Self) -> bool {
        self.shapes() == other.shapes() && self.head_len == other.head_len && self.head_tokens == other.head_tokens
    }

    /// Number of trained values.
    pub fn parameters(&self) -> u64 {
        self.shapes().iter().map(|(_, [rows, columns])| *rows as u64 * *columns as u64).sum()
    }

    /// Rotary frequencies in radians per position, `[head_len / 2]`.
    pub fn rope_frequencies(&self) -> Vec<f64> {
        let pairs = self.head_len / 2;
        (0..pairs)
            .map(|pair| self.rope_theta.powf(-(pair as f64) / pairs as f64))
            .map(|frequency| match &self.rope_scaling {
                None => frequency,
                Some(RopeScaling::Linear { factor }) => frequency / factor,
                Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context_len }) => {
                    let turns = original_context_len * frequency / std::f64::consts::TAU;
                    let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                    kept * frequency + (1.0 - kept) * frequency / factor
                }
            })
            .collect()
    }

    /// Reads a Hugging Face `config.json`.
    ///
    /// # Errors
    /// `Unsupported` with the field that this family of graphs cannot honour; `Format` if a field is missing.
    pub fn from_hugging_face(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).at(path)?;
        let value: Value = serde_json::from_str(&text).map_err(|error| Error::format(path, error.to_string()))?;
        super::hugging_face::read(&value).map_err(|error| match error {
            Error::Setting { setting, reason } => Error::format(path, format!("{setting}: {reason}")),
            other => other,
        })
    }

    /// The same shape as a Hugging Face `config.json` that `from_hugging_face` and other tools read.
    pub fn to_hugging_face(&self) -> Value {
        let (architecture, model_type) = match (self.qkv_bias, self.qk_norm) {
            (true, false) => ("Qwen2ForCausalLM", "qwen2"),
            (_, true) => ("Qwen3ForCausalLM", "qwen3"),
            _ => ("LlamaForCausalLM", "llama"),
        };
        let mut value = json!({
            "architectures": [architecture],
            "model_type": model_type,
            "hidden_act": "silu",
            "torch_dtype": "float32",
            "vocab_size": self.vocab_len,
            "hidden_size": self.hidden_len,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_len,
            "intermediate_size": self.ffn_len,
            "max_position_embeddings": self.context_len,
            "rope_theta": self.rope_theta,
            "rms_norm_eps": self.norm_eps,
            "tie_word_embeddings": self.tied_head,
            "attention_bias": self.qkv_bias,
            "bos_token_id": self.bos_token,
            "eos_token_id": self.eos_tokens,
        });
        if let Some(scaling) = &self.rope_scaling {
            value["rope_scaling"] = match scaling {
                RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
                RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context_len } => json!({
                    "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
                    "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original_context_len,
                }),
            };
        }
        if let Some(tokens) = &self.head_tokens {
            value["drafthorse_head_tokens"] = json!(tokens);
        }
        value
    }

    /// A small valid shape, for tests and benches to begin with.
    #[doc(hidden)]
    pub fn tiny() -> Self {
        Self {
            vocab_len: 32,
            hidden_len: 16,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_len: 4,
            ffn_len: 24,
            context_len: 32,
            rope_theta: 10_000.0,
            rope_scaling: None,
            norm_eps: 1e-5,
            tied_head: true,
            qkv_bias: false,
            qk_norm: false,
            bos_token: None,
            eos_tokens: vec![0],
            head_tokens: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_sizes_are_refused() {
        let tiny = ModelConfig::tiny();
        assert!(tiny.check().is_ok());
        assert!(ModelConfig { layers: 0, ..tiny.clone() }.check().is_err());
        assert!(ModelConfig { kv_heads: 3, ..tiny.clone() }.check().is_err());
        assert!(ModelConfig { head_len: 5, ..tiny.clone() }.check().is_err());
        assert!(ModelConfig { vocab_len: usize::MAX, ..tiny.clone() }.check().is_err());
        assert!(ModelConfig { vocab_len: 1 << 21, hidden_len: 1 << 16, ..tiny.clone() }.check().is_err());
        assert!(ModelConfig { head_tokens: Some(vec![3, 2]), tied_head: false, ..tiny }.check().is_err());
    }

    #[test]
    fn hugging_face_round_trip_keeps_every_variant() {
        let mut config = ModelConfig::tiny();
        for variant in 0..4 {
            config.qkv_bias = variant == 1;
            config.qk_norm = variant == 2;
            if variant == 3 {
                config.tied_head = false;
                config.head_tokens = Some(vec![1, 5, 9]);
                config.rope_scaling = Some(RopeScaling::Llama3 {
                    factor: 8.0,
                    low_freq_factor: 1.0,
                    high_freq_factor: 4.0,
                    original_context_len: 16.0,
                });
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("config.json");
            std::fs::write(&path, config.to_hugging_face().to_string()).unwrap();
            assert_eq!(ModelConfig::from_hugging_face(&path).unwrap(), config);
        }
    }
}
