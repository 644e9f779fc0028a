//! What a folder says about a model and about generating with it, whatever kind of folder it is.

use std::collections::BTreeMap;

/// Names of a decoder's inputs and outputs; those of layers hold `%d` for the layer's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoNames {
    /// Token ids, `[batch, rows]`.
    pub input_ids: String,
    /// Mask over past and new tokens, `[batch, total]`.
    pub attention_mask: String,
    /// Positions of the new tokens, `[batch, rows]`; many graphs have no such input.
    pub position_ids: String,
    /// Keys of a layer before the pass.
    pub past_key: String,
    /// Values of a layer before the pass.
    pub past_value: String,
    /// Keys and values of a layer in one tensor, where the graph combines them.
    pub past: Option<String>,
    /// Number of tokens in the cache, where the graph asks for it.
    pub past_sequence_length: String,
    /// Number of new tokens, where the graph asks for it.
    pub current_sequence_length: String,
    /// Number of tokens in all, where the graph asks for it.
    pub total_sequence_length: String,
    /// Scores of the next token, `[batch, rows, vocabulary]`.
    pub logits: String,
    /// Keys of a layer after the pass.
    pub present_key: String,
    /// Values of a layer after the pass.
    pub present_value: String,
    /// Keys and values of a layer in one tensor, where the graph combines them.
    pub present: Option<String>,
    /// Hidden states of the last layer, where the graph gives them.
    pub hidden_states: Option<String>,
}

impl Default for IoNames {
    /// The names that onnxruntime-genai and optimum use where nothing else is said.
    fn default() -> Self {
        Self {
            input_ids: "input_ids".into(),
            attention_mask: "attention_mask".into(),
            position_ids: "position_ids".into(),
            past_key: "past_key_values.%d.key".into(),
            past_value: "past_key_values.%d.value".into(),
            past: None,
            past_sequence_length: "past_sequence_length".into(),
            current_sequence_length: "current_sequence_length".into(),
            total_sequence_length: "total_sequence_length".into(),
            logits: "logits".into(),
            present_key: "present.%d.key".into(),
            present_value: "present.%d.value".into(),
            present: None,
            hidden_states: None,
        }
    }
}

/// `template` for one layer: its `%d` becomes the layer's number.
pub fn layer_name(template: &str, layer: usize) -> String {
    template.replacen("%d", &layer.to_string(), 1)
}

/// An execution provider that the folder asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderChoice {
    /// Name as written ("cuda", "webgpu", "qnn", …).
    pub name: String,
    /// Its options as written, without those that name files or addresses.
    pub options: BTreeMap<String, String>,
}

/// `session_options` of a decoder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionSettings {
    /// Threads within an operator.
    pub intra_op_threads: Option<usize>,
    /// Threads across operators; of no effect here, where operators run one after another.
    pub inter_op_threads: Option<usize>,
    /// "ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED" or "ORT_ENABLE_ALL"; of no effect here, where all are.
    pub graph_optimization_level: Option<String>,
    /// False refuses a provider that would leave a node to the CPU.
    pub cpu_fallback: Option<bool>,
    /// Key and value pairs passed to the session as they are: switches of threads, optimisers and kernels alone.
    pub config_entries: BTreeMap<String, String>,
    /// Providers in order of preference; empty means CPU.
    pub providers: Vec<ProviderChoice>,
}

/// Sizes of a decoder, where the folder or the graph states them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Columns of the logits; may be more than the tokenizer has tokens.
    pub vocab_len: Option<usize>,
    /// Most tokens that the model was made for.
    pub context_len: Option<usize>,
    /// Transformer layers.
    pub layers: Option<usize>,
    /// Query heads.
    pub heads: Option<usize>,
    /// Key and value heads.
    pub kv_heads: Option<usize>,
    /// Width of a head.
    pub head_len: Option<usize>,
    /// Width of the residual stream.
    pub hidden_len: Option<usize>,
}

impl Shape {
    /// `self`, with what it leaves open taken from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            vocab_len: self.vocab_len.or(other.vocab_len),
            context_len: self.context_len.or(other.context_len),
            layers: self.layers.or(other.layers),
            heads: self.heads.or(other.heads),
            kv_heads: self.kv_heads.or(other.kv_heads),
            head_len: self.head_len.or(other.head_len),
            hidden_len: self.hidden_len.or(other.hidden_len),
        }
    }
}

/// Defaults of generation: `search` of genai_config.json, or generation_config.json. Absent fields were not stated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchDefaults {
    /// False, or absent, asks for greedy decoding whatever the temperature.
    pub do_sample: Option<bool>,
    /// Divides the logits.
    pub temperature: Option<f64>,
    /// Tokens kept; 0 keeps all.
    pub top_k: Option<usize>,
    /// Probability kept.
    pub top_p: Option<f64>,
    /// Share of the likeliest token's probability below which tokens are dropped.
    pub min_p: Option<f64>,
    /// 1 is off.
    pub repetition_penalty: Option<f64>,
    /// Longest repeated n-gram allowed plus one; 0 is off.
    pub no_repeat_ngram_size: Option<usize>,
    /// Fewest tokens, prompt included.
    pub min_length: Option<usize>,
    /// Most tokens, prompt included.
    pub max_length: Option<usize>,
    /// Fewest new tokens.
    pub min_new_tokens: Option<usize>,
    /// Most new tokens.
    pub max_new_tokens: Option<usize>,
    /// Seed; absent where one is to be drawn.
    pub seed: Option<u64>,
    /// Tokens of a prefill chunk; of no effect here, where the width of the vocabulary decides.
    pub chunk_len: Option<usize>,
}

impl SearchDefaults {
    /// Temperature that the folder means: 0 (greedy) unless it asks to sample.
    pub fn temperature_meant(&self) -> f64 {
        if self.do_sample == Some(true) { self.temperature.unwrap_or(1.0) } else { 0.0 }
    }
}

/// The `speculative` block of genai_config.json, kept for onnxruntime-genai.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeculativeSettings {
    /// Tokens drafted in a round, 1 to 16; not a limit (16 is) when `adaptive_len_min` is above 0.
    pub max_draft_tokens: usize,
    /// Length of the n-gram looked up, 2 to 16; 0 turns prompt lookup off.
    pub ngram_size: usize,
    /// True if a lookup goes on from its own result.
    pub ngram_chained_lookup: bool,
    /// First and least draft length of the adaptive rule, to 16; 0 keeps the length fixed.
    pub adaptive_len_min: usize,
    /// True if repeated rejection at the least length earns a plain step.
    pub cooldown: bool,
}

/// Longest draft that the `speculative` block allows.
pub const DRAFT_TOKENS_MAX: usize = 16;

impl Default for SpeculativeSettings {
    fn default() -> Self {
        Self { max_draft_tokens: 4, ngram_size: 0, ngram_chained_lookup: false, adaptive_len_min: 0, cooldown: false }
    }
}
