//! config.json and generation_config.json of a Hugging Face folder.

use std::path::Path;

use serde_json::Value;

use crate::{
    Result, genai,
    json::{self, Fields},
    settings::{SearchDefaults, Shape},
};

/// Name of the file of defaults of generation.
pub(crate) const GENERATION_FILE: &str = "generation_config.json";

/// What config.json says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HubConfig {
    pub(crate) model_type: String,
    pub(crate) shape: Shape,
    pub(crate) tokens: SpecialTokens,
    /// Tokens after which LongRoPE changes its factors, where the model has it.
    pub(crate) short_rope_len: Option<usize>,
}

/// Ids of special tokens, as config.json and generation_config.json have them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SpecialTokens {
    pub(crate) eos: Vec<u32>,
    pub(crate) bos: Option<u32>,
    pub(crate) pad: Option<u32>,
}

impl SpecialTokens {
    /// `self`, with what it leaves open taken from `other`.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            eos: if self.eos.is_empty() { other.eos } else { self.eos },
            bos: self.bos.or(other.bos),
            pad: self.pad.or(other.pad),
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self> {
        Ok(Self {
            eos: fields.tokens("eos_token_id")?.unwrap_or_default(),
            bos: fields.token("bos_token_id")?,
            pad: fields.token("pad_token_id")?,
        })
    }
}

/// Parses config.json. It holds whatever training left in it, so keys not known here are not reported.
pub(crate) fn parse_config(path: &Path, bytes: &[u8]) -> Result<HubConfig> {
    let map = json::parse_object(path, bytes)?;
    let mut fields = Fields::new(path, &map);
    if fields.flag("is_encoder_decoder")? == Some(true) {
        return Err(fields.unsupported("is_encoder_decoder", "the model has an encoder; only decoders run here"));
    }
    for key in ["vision_config", "audio_config", "speech_config"] {
        if fields.value(key).is_some() {
            return Err(fields.unsupported(key, "the model is multimodal; only decoders of text run here"));
        }
    }
    for layer in fields.list("layer_types")?.unwrap_or_default() {
        if let Some(reason) = genai::hybrid(layer) {
            return Err(fields.unsupported("layer_types", reason));
        }
    }
    let model_type = fields.text("model_type")?.unwrap_or_default().to_owned();
    Ok(HubConfig {
        model_type,
        shape: shape(&mut fields)?,
        tokens: SpecialTokens::read(&mut fields)?,
        short_rope_len: short_rope_len(&mut fields)?,
    })
}

fn short_rope_len(fields: &mut Fields<'_>) -> Result<Option<usize>> {
    const LEN: &str = "original_max_position_embeddings";
    let scaling = ["rope_scaling", "rope_parameters"].into_iter().find_map(|key| fields.value(key)?.as_object());
    let Some(scaling) = scaling else { return Ok(None) };
    let kind = scaling.get("rope_type").or(scaling.get("type")).and_then(Value::as_str);
    if !matches!(kind, Some("longrope" | "su")) {
        return Ok(None);
    }
    let within = scaling.get(LEN).and_then(Value::as_u64).and_then(|len| usize::try_from(len).ok());
    Ok(fields.size(LEN)?.or(within))
}

/// Sizes; the second name of each is GPT-2's.
fn shape(fields: &mut Fields<'_>) -> Result<Shape> {
    let mut either = |name, older| Ok::<_, crate::Error>(fields.size(name)?.or(fields.size(older)?));
    let heads = either("num_attention_heads", "n_head")?;
    let hidden_len = either("hidden_size", "n_embd")?;
    let head_len = either("head_dim", "head_size")?;
    Ok(Shape {
        vocab_len: either("vocab_size", "n_vocab")?,
        context_len: either("max_position_embeddings", "n_positions")?,
        layers: either("num_hidden_layers", "n_layer")?,
        heads,
        kv_heads: either("num_key_value_heads", "num_kv_heads")?.or(heads),
        head_len: head_len.or_else(|| hidden_len?.checked_div(heads?)),
        hidden_len,
    })
}

/// Parses generation_config.json.
pub(crate) fn parse_generation(path: &Path, bytes: &[u8]) -> Result<(SearchDefaults, SpecialTokens)> {
    let map = json::parse_object(path, bytes)?;
    let mut fields = Fields::new(path, &map);
    Ok((genai::defaults(&mut fields)?, SpecialTokens::read(&mut fields)?))
}
