//! genai_config.json of onnxruntime-genai.
//!
//! Keys and defaults are those of its `src/config.h`; keys that it has and this runtime does not need are passed over,
//! and those that change what the model is are refused.

use std::path::Path;

use serde_json::{Map, Value};

use crate::{
    Result,
    genai_session::session,
    json::{self, Fields},
    settings::{DRAFT_TOKENS_MAX, IoNames, SearchDefaults, SessionSettings, Shape, SpeculativeSettings},
};

/// Name of the file.
pub(crate) const FILE: &str = "genai_config.json";

/// One decoder of the configuration: the target or `draft`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DecoderConfig {
    pub(crate) filename: String,
    pub(crate) io: IoNames,
    pub(crate) session: SessionSettings,
    /// Vocabulary and context are left open: the whole model has them.
    pub(crate) shape: Shape,
}

/// The whole file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GenaiConfig {
    pub(crate) model_type: String,
    pub(crate) decoder: DecoderConfig,
    pub(crate) draft: Option<DecoderConfig>,
    pub(crate) eos: Vec<u32>,
    pub(crate) bos: Option<u32>,
    pub(crate) pad: Option<u32>,
    pub(crate) vocab_len: Option<usize>,
    pub(crate) context_len: Option<usize>,
    pub(crate) tokenizer_dir: Option<String>,
    pub(crate) search: SearchDefaults,
    pub(crate) shared_buffer: Option<bool>,
    pub(crate) speculative: Option<SpeculativeSettings>,
    /// Dotted names of keys that nothing here knows.
    pub(crate) unknown: Vec<String>,
}

/// Model types whose graphs are not one decoder over token ids.
const OTHER_TYPES: [(&str, &str); 5] = [
    ("decoder-pipeline", "is split over several graphs"),
    ("whisper", "is an encoder-decoder for speech"),
    ("marian-ssru", "is an encoder-decoder"),
    ("phi3v", "is multimodal"),
    ("phi4mm", "is multimodal"),
];

pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<GenaiConfig> {
    let map = json::parse_object(path, bytes)?;
    let mut unknown = Vec::new();
    let mut file = Fields::new(path, &map);
    let Some(mut model) = file.object("model")? else {
        return Err(file.malformed("model", "is missing"));
    };
    let model_type = model.text("type")?.unwrap_or_default().to_owned();
    if let Some((_, reason)) = OTHER_TYPES.iter().find(|(name, _)| *name == model_type) {
        return Err(model.unsupported("type", format!("{model_type:?} {reason}; only decoders of text run here")));
    }
    refuse_other_parts(&mut model)?;
    let decoder = match model.object("decoder")? {
        Some(fields) => decoder(fields, &mut unknown)?,
        None => return Err(model.malformed("decoder", "is missing")),
    };
    let draft = model.object("draft")?.map(|fields| self::decoder(fields, &mut unknown)).transpose()?;
    let eos = model.tokens("eos_token_id")?.unwrap_or_default();
    let bos = model.token("bos_token_id")?;
    let pad = model.token("pad_token_id")?;
    let vocab_len = model.size("vocab_size")?;
    let context_len = model.size("context_length")?;
    let tokenizer_dir = model.text("tokenizer_dir")?.filter(|dir| !dir.is_empty() && *dir != ".").map(str::to_owned);
    model.known(&["mtp", "bot_token_id", "eot_token_id", "bor_token_id", "eor_token_id", "sep_token_id"]);
    model.known(&["decoder_start_token_id", "prompt_templates"]);
    model.finish(&mut unknown);

    let (search, shared_buffer) = match file.object("search")? {
        Some(fields) => search(fields, &mut unknown)?,
        None => (SearchDefaults::default(), None),
    };
    let speculative = file.object("speculative")?.map(|fields| speculative(fields, &mut unknown)).transpose()?;
    file.known(&["engine"]);
    file.finish(&mut unknown);
    Ok(GenaiConfig {
        model_type,
        decoder,
        draft,
        eos,
        bos,
        pad,
        vocab_len,
        context_len,
        tokenizer_dir,
        search,
        shared_buffer,
        speculative,
        unknown,
    })
}

/// A decoder block that lies outside genai_config.json, as a pack's manifest has it.
pub(crate) fn parse_decoder(path: &Path, map: &Map<String, Value>, unknown: &mut Vec<String>) -> Result<DecoderConfig> {
    decoder(Fields::new(path, map), unknown)
}

fn refuse_other_parts<'a>(model: &mut Fields<'a>) -> Result<()> {
    let parts = [
        ("vision", "the model takes images"),
        ("speech", "the model takes speech"),
        ("embedding", "the decoder takes embeddings from another graph"),
        ("encoder", "the model has an encoder"),
        ("joiner", "the model is a transducer"),
    ];
    for (key, reason) in parts {
        if let Some(value) = model.value(key)
            && value.as_object().is_none_or(|map| !map.is_empty())
        {
            return Err(model.unsupported(key, format!("{reason}; only decoders of text run here")));
        }
    }
    Ok(())
}

fn decoder(mut fields: Fields<'_>, unknown: &mut Vec<String>) -> Result<DecoderConfig> {
    refuse_decoder_kinds(&mut fields)?;
    let filename = match fields.text("filename")? {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => return Err(fields.malformed("filename", "is missing")),
    };
    let io = io_names(&mut fields, unknown)?;
    let session = match fields.object("session_options")? {
        Some(options) => session(options, unknown)?,
        None => SessionSettings::default(),
    };
    let shape = Shape {
        vocab_len: None,
        context_len: None,
        layers: fields.size("num_hidden_layers")?,
        heads: fields.size("num_attention_heads")?,
        kv_heads: fields.size("num_key_value_heads")?,
        head_len: fields.size("head_size")?,
        hidden_len: fields.size("hidden_size")?,
    };
    fields.known(&["run_options", "shared_initializers"]);
    fields.finish(unknown);
    Ok(DecoderConfig { filename, io, session, shape })
}

fn refuse_decoder_kinds(fields: &mut Fields<'_>) -> Result<()> {
    if let Some(value) = fields.value("pipeline")
        && value.as_array().is_none_or(|stages| !stages.is_empty())
    {
        return Err(fields.unsupported("pipeline", "the model is split over several graphs; one graph is needed"));
    }
    if let Some(mut window) = fields.object("sliding_window")? {
        // Both true is the default. With both false it is a hint that some layers could do with a shorter cache.
        let slides = window.flag("slide_key_value_cache")?.unwrap_or(true);
        if slides || window.flag("slide_inputs")?.unwrap_or(true) {
            let reason = if slides {
                "the cache forgets tokens from its start, so rejected drafts cannot be taken back"
            } else {
                "the graph takes its input in windows of one size; export it with dynamic shapes"
            };
            return Err(fields.unsupported("sliding_window", reason));
        }
    }
    if fields.size("fixed_prompt_length")?.is_some() {
        let reason = "the graph takes prompts of one length; export it with dynamic shapes";
        return Err(fields.unsupported("fixed_prompt_length", reason));
    }
    for layer in fields.list("layer_types")?.unwrap_or_default() {
        if let Some(reason) = hybrid(layer) {
            return Err(fields.unsupported("layer_types", reason));
        }
    }
    Ok(())
}

/// Why a layer of this type cannot work, if so.
pub(crate) fn hybrid(layer: &Value) -> Option<String> {
    match layer.as_str() {
        // Attention over a window keeps its keys and values for all tokens and masks old ones: it can be rolled back.
        Some("full_attention" | "attention" | "sliding_attention" | "chunked_attention") => None,
        Some(other) => Some(format!("a layer of type {other:?} keeps a state that cannot be rolled back")),
        None => Some(format!("holds {}, must hold strings", json::kind(layer))),
    }
}

fn io_names(decoder: &mut Fields<'_>, unknown: &mut Vec<String>) -> Result<IoNames> {
    let mut names = IoNames::default();
    if let Some(mut inputs) = decoder.object("inputs")? {
        for key in ["inputs_embeds", "embeddings"] {
            if inputs.value(key).is_some() {
                let reason = "the graph takes embeddings instead of token ids; export it with its embedding";
                return Err(inputs.unsupported(key, reason));
            }
        }
        for key in ["cross_past_key_names", "cross_past_value_names", "encoder_hidden_states"] {
            if inputs.value(key).is_some() {
                return Err(inputs.unsupported(key, "the model has an encoder; only decoders run here"));
            }
        }
        set(&mut inputs, "input_ids", &mut names.input_ids)?;
        set(&mut inputs, "attention_mask", &mut names.attention_mask)?;
        set(&mut inputs, "position_ids", &mut names.position_ids)?;
        set_layered(&mut inputs, "past_key_names", &mut names.past_key)?;
        set_layered(&mut inputs, "past_value_names", &mut names.past_value)?;
        names.past = combined(&mut inputs, "past_names")?;
        set(&mut inputs, "past_sequence_length", &mut names.past_sequence_length)?;
        set(&mut inputs, "current_sequence_length", &mut names.current_sequence_length)?;
        set(&mut inputs, "total_sequence_length", &mut names.total_sequence_length)?;
        inputs.finish(unknown);
    }
    if let Some(mut outputs) = decoder.object("outputs")? {
        set(&mut outputs, "logits", &mut names.logits)?;
        set_layered(&mut outputs, "present_key_names", &mut names.present_key)?;
        set_layered(&mut outputs, "present_value_names", &mut names.present_value)?;
        names.present = combined(&mut outputs, "present_names")?;
        names.hidden_states = outputs.text("hidden_states")?.map(str::to_owned);
        outputs.finish(unknown);
    }
    Ok(names)
}

fn set<'a>(fields: &mut Fields<'a>, key: &'a str, name: &mut String) -> Result<()> {
    match fields.text(key)? {
        Some("") => Err(fields.malformed(key, "is empty")),
        Some(text) => {
            text.clone_into(name);
            Ok(())
        }
        None => Ok(()),
    }
}

fn set_layered<'a>(fields: &mut Fields<'a>, key: &'a str, name: &mut String) -> Result<()> {
    set(fields, key, name)?;
    if name.matches('%').count() == 1 && name.contains("%d") {
        Ok(())
    } else {
        Err(fields.malformed(key, format!("is {name:?}, must hold one %d for the layer's number")))
    }
}

fn combined<'a>(fields: &mut Fields<'a>, key: &'a str) -> Result<Option<String>> {
    let mut name = String::new();
    if fields.text(key)?.is_none_or(str::is_empty) {
        return Ok(None);
    }
    set_layered(fields, key, &mut name)?;
    Ok(Some(name))
}

fn search(mut fields: Fields<'_>, unknown: &mut Vec<String>) -> Result<(SearchDefaults, Option<bool>)> {
    let mut defaults = self::defaults(&mut fields)?;
    // 0 is its default and leaves the probabilities as they are.
    defaults.top_p = defaults.top_p.filter(|&top_p| top_p > 0.0);
    let shared_buffer = fields.flag("past_present_share_buffer")?;
    fields.known(&["early_stopping", "length_penalty", "diversity_penalty", "blank_penalty"]);
    fields.finish(unknown);
    Ok((defaults, shared_buffer))
}

/// Most likely tokens that both onnxruntime-genai and transformers sample from where a folder samples and does not say.
const TOP_K: usize = 50;

/// Fields that `search` and generation_config.json have in common.
pub(crate) fn defaults(fields: &mut Fields<'_>) -> Result<SearchDefaults> {
    for key in ["num_beams", "num_return_sequences", "batch_size"] {
        if fields.size(key)?.is_some_and(|number| number > 1) {
            return Err(fields.unsupported(key, "must be 1: one sequence is generated at a time, without beams"));
        }
    }
    let size_max = i64::from(i32::MAX);
    let do_sample = fields.flag("do_sample")?;
    Ok(SearchDefaults {
        do_sample,
        temperature: fields.number("temperature")?,
        top_k: fields.integer_in("top_k", 0, size_max)?.or((do_sample == Some(true)).then_some(TOP_K)),
        top_p: fields.number("top_p")?,
        min_p: fields.number("min_p")?,
        repetition_penalty: fields.number("repetition_penalty")?,
        no_repeat_ngram_size: fields.integer_in("no_repeat_ngram_size", 0, size_max)?,
        min_length: fields.integer_in("min_length", 0, size_max)?,
        max_length: fields.size("max_length")?,
        min_new_tokens: fields.integer_in("min_new_tokens", 0, size_max)?,
        max_new_tokens: fields.size("max_new_tokens")?,
        seed: fields.integer("random_seed")?.and_then(|seed| u64::try_from(seed).ok()),
        chunk_len: fields.size("chunk_size")?,
    })
}

fn speculative(mut fields: Fields<'_>, unknown: &mut Vec<String>) -> Result<SpeculativeSettings> {
    let default = SpeculativeSettings::default();
    let len_max = DRAFT_TOKENS_MAX as i64;
    let settings = SpeculativeSettings {
        max_draft_tokens: fields.integer_in("max_draft_tokens", 1, len_max)?.unwrap_or(default.max_draft_tokens),
        ngram_size: fields.integer_in("ngram_size", 0, 16)?.unwrap_or(default.ngram_size),
        ngram_chained_lookup: fields.flag("ngram_chained_lookup")?.unwrap_or(default.ngram_chained_lookup),
        adaptive_len_min: fields.integer_in("min_adaptive_k", 0, len_max)?.unwrap_or(default.adaptive_len_min),
        cooldown: fields.flag("cooldown")?.unwrap_or(default.cooldown),
    };
    if settings.ngram_size == 1 {
        return Err(fields.malformed("ngram_size", "is 1, must be 0 (off) or from 2 to 16"));
    }
    if settings.ngram_chained_lookup && settings.ngram_size == 0 {
        return Err(fields.malformed("ngram_chained_lookup", "is true, but ngram_size is 0 (off)"));
    }
    fields.finish(unknown);
    Ok(settings)
}
