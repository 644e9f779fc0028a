//! The JSON files around a graph: `genai_config.json`, `config.json`, `generation_config.json`.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::config::{Activation, RopeScaling};
use crate::error::at;
use crate::options::{FloatType, GraphOptions, Layout};
use crate::weights::Weights;
use crate::{DecoderConfig, Result, write_model};

/// File name of a target in a folder that we write.
pub const TARGET_FILE: &str = "model.onnx";
/// File name of a drafter in a folder that we write.
pub const DRAFTER_FILE: &str = "drafter.onnx";

/// Tokens with a meaning of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Put before a text, if any.
    pub bos: Option<u32>,
    /// Each ends a text; at least one.
    pub eos: Vec<u32>,
    /// Fills batches; the first `eos` if `None`.
    pub pad: Option<u32>,
}

/// A graph with the file name that it goes by in its folder.
#[derive(Clone, Copy, Debug)]
pub struct GraphFile<'a> {
    /// File name relative to the folder.
    pub file_name: &'a str,
    /// Shape of the model.
    pub config: &'a DecoderConfig,
    /// How the graph was written.
    pub options: &'a GraphOptions,
}

/// A model with how it is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// Its shape.
    pub config: &'a DecoderConfig,
    /// Its weights.
    pub weights: &'a Weights,
    /// How the graph is written.
    pub options: &'a GraphOptions,
}

/// Writes `model.onnx`, `drafter.onnx` if there is a drafter, and `genai_config.json` into `folder`, which must exist.
///
/// The tokenizer's files are the caller's. `draft_len` is the fixed number of proposed tokens per round (1 to 16).
///
/// # Errors
/// Those of [`write_model`].
pub fn write_genai(
    folder: &Path,
    target: Model,
    drafter: Option<(Model, usize)>,
    tokens: &SpecialTokens,
) -> Result<()> {
    let file = |model: Model<'_>, file_name: &'static str| {
        write_model(&folder.join(file_name), model.config, model.weights, model.options)
    };
    fn entry<'a>(model: Model<'a>, file_name: &'a str) -> GraphFile<'a> {
        GraphFile { file_name, config: model.config, options: model.options }
    }
    file(target, TARGET_FILE)?;
    if let Some((drafter, _)) = drafter {
        file(drafter, DRAFTER_FILE)?;
    }
    let drafter = drafter.map(|(drafter, draft_len)| (entry(drafter, DRAFTER_FILE), draft_len));
    write_json(&folder.join("genai_config.json"), &genai_config(entry(target, TARGET_FILE), drafter, tokens))
}

/// Writes `config.json`, `generation_config.json` and one `onnx/model{suffix}.onnx` per variant into `folder`, which
/// must exist.
///
/// # Errors
/// Those of [`write_model`].
pub fn write_hugging_face(
    folder: &Path,
    config: &DecoderConfig,
    weights: &Weights,
    variants: &[(&str, GraphOptions)],
    tokens: &SpecialTokens,
) -> Result<()> {
    let graphs = folder.join("onnx");
    fs::create_dir_all(&graphs).map_err(at(&graphs))?;
    for (suffix, options) in variants {
        write_model(&graphs.join(format!("model{suffix}.onnx")), config, weights, options)?;
    }
    let json = hugging_face_config(config, weights, FloatType::F32, tokens);
    write_json(&folder.join("config.json"), &json)?;
    write_json(&folder.join("generation_config.json"), &generation_config(tokens))
}

/// `genai_config.json` of a target, and of its drafter if there is one.
///
/// onnxruntime-genai asks for one width of logits in both; a trimmed drafter head is for our runtime alone.
/// `draft_len` is the fixed number of proposed tokens per round (1 to 16).
#[must_use]
pub fn genai_config(target: GraphFile, drafter: Option<(GraphFile, usize)>, tokens: &SpecialTokens) -> Value {
    let config = target.config;
    let mut model = json!({
        "type": config.family.model_type(),
        "vocab_size": config.head_vocab_len,
        "context_length": config.context_len_max,
        "decoder": decoder_block(target),
    });
    insert_tokens(&mut model, tokens);
    let share = target.options.layout == Layout::Shared;
    let mut file = json!({
        "model": model,
        "search": {
            "do_sample": false,
            "min_length": 0,
            "max_length": config.context_len_max,
            "num_beams": 1,
            "num_return_sequences": 1,
            "early_stopping": true,
            "length_penalty": 1.0,
            "diversity_penalty": 0.0,
            "no_repeat_ngram_size": 0,
            "repetition_penalty": 1.0,
            "temperature": 1.0,
            "top_k": 1,
            "top_p": 1.0,
            "past_present_share_buffer": share,
        },
    });
    if let Some((drafter, draft_len)) = drafter {
        file["model"]["draft"] = decoder_block(drafter);
        file["speculative"] = json!({ "max_draft_tokens": draft_len });
    }
    file
}

fn decoder_block(graph: GraphFile) -> Value {
    let config = graph.config;
    let mut inputs = json!({
        "input_ids": "input_ids",
        "attention_mask": "attention_mask",
        "past_key_names": "past_key_values.%d.key",
        "past_value_names": "past_key_values.%d.value",
    });
    if graph.options.layout == (Layout::Growing { position_ids: true }) {
        inputs["position_ids"] = json!("position_ids");
    }
    let mut outputs = json!({
        "logits": "logits",
        "present_key_names": "present.%d.key",
        "present_value_names": "present.%d.value",
    });
    if graph.options.hidden_states {
        outputs["hidden_states"] = json!("hidden_states");
    }
    json!({
        "session_options": { "log_id": "onnxruntime-genai", "provider_options": [] },
        "filename": graph.file_name,
        "head_size": graph.options.head_len(config),
        "hidden_size": config.hidden_len,
        "num_attention_heads": config.head_count,
        "num_key_value_heads": config.kv_head_count,
        "num_hidden_layers": config.layer_count,
        "inputs": inputs,
        "outputs": outputs,
    })
}

/// `config.json` as Hugging Face libraries read it. `weights` say what the configuration leaves open: a tied head and
/// biases.
#[must_use]
pub fn hugging_face_config(config: &DecoderConfig, weights: &Weights, io: FloatType, tokens: &SpecialTokens) -> Value {
    let activation = match config.activation {
        Activation::Silu => "silu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
    };
    let mut file = json!({
        "architectures": [config.family.architecture()],
        "model_type": config.family.model_type(),
        "vocab_size": config.vocab_len,
        "hidden_size": config.hidden_len,
        "intermediate_size": config.ffn_len,
        "num_hidden_layers": config.layer_count,
        "num_attention_heads": config.head_count,
        "num_key_value_heads": config.kv_head_count,
        "head_dim": config.head_len,
        "max_position_embeddings": config.context_len_max,
        "rms_norm_eps": shortest(config.norm_epsilon),
        "rope_theta": shortest(config.rope.theta),
        "rope_scaling": rope_scaling(&config.rope.scaling),
        "hidden_act": activation,
        "attention_bias": weights.layers.iter().any(|layer| layer.query.bias.is_some()),
        "tie_word_embeddings": weights.head.is_none(),
        "torch_dtype": match io { FloatType::F32 => "float32", FloatType::F16 => "float16" },
        "use_cache": true,
    });
    insert_tokens(&mut file, tokens);
    file
}

fn rope_scaling(scaling: &RopeScaling) -> Value {
    match *scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": shortest(factor) }),
        RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context_len } => json!({
            "rope_type": "llama3",
            "factor": shortest(factor),
            "low_freq_factor": shortest(low_frequency_factor),
            "high_freq_factor": shortest(high_frequency_factor),
            "original_max_position_embeddings": original_context_len,
        }),
    }
}

/// `generation_config.json`: greedy, with the special tokens.
#[must_use]
pub fn generation_config(tokens: &SpecialTokens) -> Value {
    let mut file = json!({ "do_sample": false });
    insert_tokens(&mut file, tokens);
    file
}

fn insert_tokens(object: &mut Value, tokens: &SpecialTokens) {
    let mut fields = Map::new();
    if let Some(bos) = tokens.bos {
        fields.insert("bos_token_id".into(), bos.into());
    }
    let eos = if let [only] = tokens.eos[..] { only.into() } else { tokens.eos.clone().into() };
    fields.insert("eos_token_id".into(), eos);
    if let Some(pad) = tokens.pad.or(tokens.eos.first().copied()) {
        fields.insert("pad_token_id".into(), pad.into());
    }
    if let Value::Object(object) = object {
        object.extend(fields);
    }
}

/// The f64 that prints like the f32.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

/// Writes `value` to `path` as indented JSON, whole or not at all.
///
/// # Errors
/// `Io` if the file cannot be written.
pub fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_text(path, &format!("{value:#}\n"))
}

/// Writes `text` to `path`, whole or not at all.
///
/// # Errors
/// `Io` if the file cannot be written.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    drafthorse_pack::write_whole(path, text.as_bytes()).map_err(at(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_cannot_be_placed_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let taken = root.path().join("config.json");
        fs::create_dir(&taken).unwrap();
        assert!(write_text(&taken, "{}").is_err());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        write_text(&root.path().join("other.json"), "{}").unwrap();
        assert_eq!(fs::read_to_string(root.path().join("other.json")).unwrap(), "{}");
    }
}
