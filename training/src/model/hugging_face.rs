//! What the fields of a Hugging Face `config.json` mean for this family, and which values it cannot honour.

use serde_json::Value;

use super::config::{ModelConfig, RopeScaling};
use crate::{Error, Result};

/// Families whose graph is this one.
const FAMILIES: [&str; 4] = ["llama", "mistral", "qwen2", "qwen3"];

/// Reads the shape from a parsed `config.json`.
///
/// # Errors
/// `Setting` for a missing or malformed field, `Unsupported` for a variant that would be computed wrongly.
pub(super) fn read(value: &Value) -> Result<ModelConfig> {
    let family = value["model_type"].as_str().unwrap_or("");
    if family.starts_with("gemma") {
        let reason = "Gemma scales its embeddings, adds one to the weights of its norms and gates with GELU; this graph \
                      has none of it, so its forward pass would be another model's";
        return Err(unsupported(format!("model_type {family:?}: {reason}")));
    }
    if !FAMILIES.contains(&family) {
        return Err(unsupported(format!("model_type {family:?}; known are {FAMILIES:?}")));
    }
    refuse_variants(value, family)?;
    let heads = size(value, "num_attention_heads")?;
    let hidden_len = size(value, "hidden_size")?;
    let qkv_bias = match value["attention_bias"].as_bool() {
        Some(true) if family != "qwen2" => {
            return Err(unsupported("attention_bias: the output projection would have a bias too".into()));
        }
        _ => family == "qwen2",
    };
    let config = ModelConfig {
        vocab_len: size(value, "vocab_size")?,
        hidden_len,
        layers: size(value, "num_hidden_layers")?,
        heads,
        kv_heads: if value["num_key_value_heads"].is_null() { heads } else { size(value, "num_key_value_heads")? },
        head_len: if value["head_dim"].is_null() { hidden_len / heads.max(1) } else { size(value, "head_dim")? },
        ffn_len: size(value, "intermediate_size")?,
        context_len: size(value, "max_position_embeddings")?,
        rope_theta: number(rope_field(value, "rope_theta"), "rope_theta", 10_000.0)?,
        rope_scaling: rope_scaling(value)?,
        norm_eps: number(&value["rms_norm_eps"], "rms_norm_eps", 1e-6)?,
        tied_head: value["tie_word_embeddings"].as_bool().unwrap_or(false),
        qkv_bias,
        qk_norm: family == "qwen3",
        bos_token: tokens(&value["bos_token_id"], "bos_token_id")?.first().copied(),
        eos_tokens: tokens(&value["eos_token_id"], "eos_token_id")?,
        head_tokens: match &value["drafthorse_head_tokens"] {
            Value::Null => None,
            list => Some(tokens(list, "drafthorse_head_tokens")?),
        },
    };
    config.check()?;
    Ok(config)
}

/// Refuses what would change the numbers without a place in this graph.
fn refuse_variants(value: &Value, family: &str) -> Result<()> {
    match value["hidden_act"].as_str() {
        None | Some("silu" | "swish") => {}
        Some(other) => return Err(unsupported(format!("hidden_act {other:?}; only silu"))),
    }
    if value["mlp_bias"].as_bool() == Some(true) {
        return Err(unsupported("mlp_bias true".into()));
    }
    if !value["quantization_config"].is_null() {
        return Err(unsupported("quantization_config: weights must be float32, float16 or bfloat16".into()));
    }
    let window_used = value["use_sliding_window"].as_bool().unwrap_or(family == "mistral");
    if window_used
        && let (Some(window), Some(context)) =
            (value["sliding_window"].as_u64(), value["max_position_embeddings"].as_u64())
        && window < context
    {
        return Err(unsupported(format!("sliding_window {window} is shorter than the context {context}")));
    }
    for field in ["embedding_multiplier", "residual_multiplier", "logits_scaling", "final_logit_softcapping"] {
        if !value[field].is_null() {
            return Err(unsupported(format!("{field} is set")));
        }
    }
    match value["partial_rotary_factor"].as_f64() {
        None => Ok(()),
        Some(1.0) => Ok(()),
        Some(factor) => Err(unsupported(format!("partial_rotary_factor {factor}; only 1"))),
    }
}

/// A rotary field at the top level or, in newer files, under `rope_parameters`.
fn rope_field<'a>(value: &'a Value, name: &str) -> &'a Value {
    if value[name].is_null() { &value["rope_parameters"][name] } else { &value[name] }
}

fn rope_scaling(value: &Value) -> Result<Option<RopeScaling>> {
    let scaling = if value["rope_scaling"].is_null() { &value["rope_parameters"] } else { &value["rope_scaling"] };
    let kind = scaling["rope_type"].as_str().or(scaling["type"].as_str());
    let field = |name: &str| {
        scaling[name]
            .as_f64()
            .filter(|x| x.is_finite() && *x > 0.0)
            .ok_or_else(|| missing(&format!("rope_scaling.{name}")))
    };
    match kind {
        None if scaling.is_null() || scaling["factor"].is_null() => Ok(None),
        Some("default") => Ok(None),
        Some("linear") => Ok(Some(RopeScaling::Linear { factor: field("factor")? })),
        Some("llama3") => Ok(Some(RopeScaling::Llama3 {
            factor: field("factor")?,
            low_freq_factor: field("low_freq_factor")?,
            high_freq_factor: field("high_freq_factor")?,
            original_context_len: field("original_max_position_embeddings")?,
        })),
        other => {
            let name = other.unwrap_or("that it does not name");
            Err(unsupported(format!("rope_scaling of type {name}; known are linear and llama3")))
        }
    }
}

fn size(value: &Value, name: &str) -> Result<usize> {
    value[name].as_u64().and_then(|size| usize::try_from(size).ok()).ok_or_else(|| missing(name))
}

fn number(value: &Value, name: &str, default: f64) -> Result<f64> {
    if value.is_null() { Ok(default) } else { value.as_f64().ok_or_else(|| missing(name)) }
}

fn tokens(value: &Value, name: &str) -> Result<Vec<u32>> {
    let id = |item: &Value| item.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| missing(name));
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => items.iter().map(id).collect(),
        single => Ok(vec![id(single)?]),
    }
}

fn missing(name: &str) -> Error {
    Error::setting(name, "missing, or not a number of the kind expected")
}

fn unsupported(reason: String) -> Error {
    Error::Unsupported { reason }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn base() -> Value {
        ModelConfig::tiny().to_hugging_face()
    }

    #[test]
    fn what_would_be_computed_wrongly_is_refused() {
        for (field, value) in [
            ("model_type", json!("phi3")),
            ("hidden_act", json!("gelu")),
            ("mlp_bias", json!(true)),
            ("attention_bias", json!(true)),
            ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})),
            ("rope_scaling", json!({"factor": 4.0})),
            ("partial_rotary_factor", json!(0.5)),
            ("logits_scaling", json!(8.0)),
            ("quantization_config", json!({"bits": 4})),
        ] {
            let mut config = base();
            config[field] = value;
            let error = read(&config).unwrap_err();
            assert!(matches!(error, Error::Unsupported { .. }) && !error.to_string().contains("Some"), "{error}");
        }
        let mut mistral = base();
        mistral["model_type"] = json!("mistral");
        mistral["sliding_window"] = json!(8);
        assert!(read(&mistral).is_err());
        mistral["sliding_window"] = json!(null);
        assert!(read(&mistral).is_ok());
    }

    #[test]
    fn gemma_is_refused_with_the_reason() {
        for family in ["gemma", "gemma2", "gemma3_text"] {
            let mut config = base();
            config["model_type"] = json!(family);
            let error = read(&config).unwrap_err();
            assert!(matches!(error, Error::Unsupported { .. }) && error.to_string().contains("GELU"), "{error}");
        }
    }

    #[test]
    fn a_missing_size_is_named() {
        let mut config = base();
        config["hidden_size"] = json!(null);
        assert!(read(&config).unwrap_err().to_string().contains("hidden_size"));
        config["hidden_size"] = json!(-3);
        assert!(read(&config).is_err());
    }
}
