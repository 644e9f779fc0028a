//! Writing genai_config.json.
//!
//! onnxruntime-genai refuses keys that it does not know, so only keys of its `src/config.h` are written.

use serde_json::{Map, Value, json};

use crate::{Folder, ModelFiles, SearchDefaults, SpeculativeSettings, layer_name};

/// A decoder block for `model`, whose ONNX file will be called `filename`.
pub(crate) fn decoder_block(model: &ModelFiles, filename: &str) -> Map<String, Value> {
    let mut block = Map::new();
    block.insert("filename".into(), filename.into());
    let shape = model.shape;
    let sizes = [
        ("head_size", shape.head_len),
        ("hidden_size", shape.hidden_len),
        ("num_attention_heads", shape.heads),
        ("num_hidden_layers", shape.layers),
        ("num_key_value_heads", shape.kv_heads),
    ];
    block.extend(sizes.into_iter().filter_map(|(key, size)| Some((key.to_owned(), json!(size?)))));
    block.insert("session_options".into(), session_options(model));
    block.insert("inputs".into(), inputs(model));
    block.insert("outputs".into(), outputs(model));
    block
}

fn session_options(model: &ModelFiles) -> Value {
    let session = &model.session;
    let mut options = Map::new();
    options.insert("log_id".into(), "onnxruntime-genai".into());
    for (key, threads) in
        [("intra_op_num_threads", session.intra_op_threads), ("inter_op_num_threads", session.inter_op_threads)]
    {
        options.extend(threads.map(|threads| (key.to_owned(), json!(threads))));
    }
    options.extend(
        session.graph_optimization_level.as_ref().map(|level| ("graph_optimization_level".into(), json!(level))),
    );
    options.extend(session.cpu_fallback.map(|allowed| ("disable_cpu_ep_fallback".into(), json!(!allowed))));
    if !session.config_entries.is_empty() {
        options.insert("config_entries".into(), json!(session.config_entries));
    }
    let providers = session.providers.iter().map(|provider| json!({ provider.name.as_str(): provider.options }));
    options.insert("provider_options".into(), providers.collect());
    Value::Object(options)
}

/// Inputs that the graph has.
fn inputs(model: &ModelFiles) -> Value {
    let io = &model.io;
    let mut inputs = Map::new();
    let plain = [
        ("input_ids", &io.input_ids),
        ("attention_mask", &io.attention_mask),
        ("position_ids", &io.position_ids),
        ("past_sequence_length", &io.past_sequence_length),
        ("current_sequence_length", &io.current_sequence_length),
        ("total_sequence_length", &io.total_sequence_length),
    ];
    for (key, name) in plain {
        if model.header.input(name).is_some() {
            inputs.insert(key.into(), json!(name));
        }
    }
    let past = io.past.as_ref().map(|past| ("past_names", past));
    for (key, name) in [("past_key_names", &io.past_key), ("past_value_names", &io.past_value)].into_iter().chain(past)
    {
        if model.header.input(&layer_name(name, 0)).is_some() {
            inputs.insert(key.into(), json!(name));
        }
    }
    Value::Object(inputs)
}

/// Outputs that the graph has.
fn outputs(model: &ModelFiles) -> Value {
    let io = &model.io;
    let mut outputs = Map::new();
    outputs.insert("logits".into(), json!(io.logits));
    let present = io.present.as_ref().map(|present| ("present_names", present));
    let pair = [("present_key_names", &io.present_key), ("present_value_names", &io.present_value)];
    for (key, name) in pair.into_iter().chain(present) {
        if model.header.output(&layer_name(name, 0)).is_some() {
            outputs.insert(key.into(), json!(name));
        }
    }
    if let Some(name) = io.hidden_states.as_ref().filter(|name| model.header.output(name).is_some()) {
        outputs.insert("hidden_states".into(), json!(name));
    }
    Value::Object(outputs)
}

/// True if onnxruntime-genai takes `drafter` as the `draft` of `target`: logits of one width, one cache layout (the
/// configuration has a single flag for both) and the same providers.
pub(crate) fn is_pair(target: &ModelFiles, drafter: &ModelFiles) -> bool {
    let shared = target.shared_buffer.unwrap_or_else(|| target.can_share_buffer());
    drafter.id_map.is_none()
        && drafter.shape.vocab_len == target.shape.vocab_len
        && (!shared || drafter.can_share_buffer())
        && drafter.session.providers == target.session.providers
}

/// A whole configuration for a folder that has none.
pub(crate) fn config(folder: &Folder, filename: &str) -> Map<String, Value> {
    let mut model = Map::new();
    model.insert("type".into(), json!(folder.model_type));
    let tokens = [("bos_token_id", folder.bos_token), ("pad_token_id", folder.pad_token)];
    model.extend(tokens.into_iter().filter_map(|(key, token)| Some((key.to_owned(), json!(token?)))));
    model.insert(
        "eos_token_id".into(),
        match folder.eos_tokens.as_slice() {
            [only] => json!(only),
            several => json!(several),
        },
    );
    model.extend(folder.target.shape.vocab_len.map(|len| ("vocab_size".to_owned(), json!(len))));
    model.extend(folder.context_len().map(|len| ("context_length".to_owned(), json!(len))));
    model.insert("decoder".into(), Value::Object(decoder_block(&folder.target, filename)));
    let mut config = Map::new();
    config.insert("model".into(), Value::Object(model));
    config.insert("search".into(), search(&folder.search, folder.target.can_share_buffer()));
    config
}

fn search(defaults: &SearchDefaults, shared_buffer: bool) -> Value {
    let mut search = Map::new();
    search.insert("do_sample".into(), json!(defaults.do_sample.unwrap_or(false)));
    search.insert("past_present_share_buffer".into(), json!(shared_buffer));
    let numbers = [
        ("temperature", defaults.temperature),
        ("top_p", defaults.top_p),
        ("repetition_penalty", defaults.repetition_penalty),
    ];
    search.extend(numbers.into_iter().filter_map(|(key, number)| Some((key.to_owned(), json!(number?)))));
    let sizes = [
        ("top_k", defaults.top_k),
        ("min_length", defaults.min_length),
        ("max_length", defaults.max_length),
        ("no_repeat_ngram_size", defaults.no_repeat_ngram_size),
    ];
    search.extend(sizes.into_iter().filter_map(|(key, size)| Some((key.to_owned(), json!(size?)))));
    Value::Object(search)
}

/// The `speculative` block.
pub(crate) fn speculative(settings: &SpeculativeSettings) -> Value {
    json!({
        "max_draft_tokens": settings.max_draft_tokens,
        "ngram_size": settings.ngram_size,
        "ngram_chained_lookup": settings.ngram_chained_lookup,
        "min_adaptive_k": settings.adaptive_len_min,
        "cooldown": settings.cooldown,
    })
}
