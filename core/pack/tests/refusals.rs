//! What cannot work is refused with the file, the field and the reason.

mod fixture;

use std::fs;

use drafthorse_pack::{Error, onnx::NodeProto};
use fixture::*;
use serde_json::{Value, json};

/// Opens a genai folder after `edit`, and returns the error's field and text.
fn refused(edit: impl FnOnce(&mut Value)) -> (&'static str, String, String) {
    match Fixture::genai_with(edit).open() {
        Err(Error::Unsupported { path, field, reason }) => {
            assert!(path.ends_with("genai_config.json"), "{}", path.display());
            ("unsupported", field, reason)
        }
        Err(Error::Malformed { path, field, reason }) => {
            assert!(path.ends_with("genai_config.json"), "{}", path.display());
            ("malformed", field, reason)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn models_of_other_kinds_are_refused() {
    type Case = (&'static str, fn(&mut Value));
    let cases: [Case; 16] = [
        ("model.decoder.pipeline", |c| c["model"]["decoder"]["pipeline"] = json!([{ "a": {} }])),
        ("model.decoder.sliding_window", |c| c["model"]["decoder"]["sliding_window"] = json!({ "window_size": 128 })),
        ("model.decoder.sliding_window", |c| {
            c["model"]["decoder"]["sliding_window"] = json!({ "slide_key_value_cache": false });
        }),
        ("model.decoder.fixed_prompt_length", |c| c["model"]["decoder"]["fixed_prompt_length"] = json!(128)),
        ("model.decoder.layer_types", |c| c["model"]["decoder"]["layer_types"] = json!(["conv", "full_attention"])),
        ("model.vision", |c| c["model"]["vision"] = json!({ "filename": "v.onnx" })),
        ("model.speech", |c| c["model"]["speech"] = json!({ "filename": "s.onnx" })),
        ("model.embedding", |c| c["model"]["embedding"] = json!({ "filename": "e.onnx" })),
        ("model.encoder", |c| c["model"]["encoder"] = json!({ "filename": "e.onnx" })),
        ("model.type", |c| c["model"]["type"] = json!("whisper")),
        ("model.decoder.inputs.inputs_embeds", |c| c["model"]["decoder"]["inputs"]["inputs_embeds"] = json!("x")),
        ("search.num_beams", |c| c["search"]["num_beams"] = json!(4)),
        ("search.num_return_sequences", |c| c["search"]["num_return_sequences"] = json!(2)),
        ("model.decoder.session_options.custom_ops_library", |c| {
            c["model"]["decoder"]["session_options"]["custom_ops_library"] = json!("evil.so");
        }),
        ("model.draft.pipeline", |c| {
            c["model"]["draft"] = decoder("model.onnx");
            c["model"]["draft"]["pipeline"] = json!([{}]);
        }),
        ("provider_options[0].qnn.genie_model", |c| {
            c["model"]["decoder"]["session_options"]["provider_options"] = json!([{ "qnn": { "genie_model": "1" } }]);
        }),
    ];
    for (field, edit) in cases {
        let (kind, found, reason) = refused(edit);
        assert_eq!(kind, "unsupported", "{field}");
        assert!(found.ends_with(field), "{found} for {field}");
        assert!(reason.len() > 10, "{field}: {reason}");
    }
}

#[test]
fn a_window_that_nothing_slides_in_is_only_a_hint() {
    let folder = Fixture::genai_with(|config| {
        config["model"]["decoder"]["sliding_window"] =
            json!({ "window_size": 512, "slide_key_value_cache": false, "slide_inputs": false, "layers": [0] });
        config["model"]["decoder"]["layer_types"] = json!(["sliding_attention", "full_attention"]);
    });
    folder.open().unwrap();
}

#[test]
fn wrong_types_and_ranges_are_refused() {
    type Case = (&'static str, fn(&mut Value));
    let cases: [Case; 16] = [
        ("model", |c| c["model"] = json!([])),
        ("model", |c| drop(c.as_object_mut().unwrap().remove("model"))),
        ("model.decoder", |c| c["model"]["decoder"] = json!("x")),
        ("model.decoder.filename", |c| c["model"]["decoder"]["filename"] = json!(7)),
        ("model.decoder.filename", |c| drop(c["model"]["decoder"].as_object_mut().unwrap().remove("filename"))),
        ("model.eos_token_id", |c| c["model"]["eos_token_id"] = json!(["2"])),
        ("model.eos_token_id", |c| c["model"]["eos_token_id"] = json!(1e30)),
        ("model.vocab_size", |c| c["model"]["vocab_size"] = json!(-5)),
        ("model.context_length", |c| c["model"]["context_length"] = json!(1_u64 << 40)),
        ("search.do_sample", |c| c["search"]["do_sample"] = json!(1)),
        ("search.temperature", |c| c["search"]["temperature"] = json!("hot")),
        ("speculative.max_draft_tokens", |c| c["speculative"] = json!({ "max_draft_tokens": 17 })),
        ("speculative.max_draft_tokens", |c| c["speculative"] = json!({ "max_draft_tokens": 0 })),
        ("speculative.ngram_size", |c| c["speculative"] = json!({ "ngram_size": 1 })),
        ("speculative.ngram_chained_lookup", |c| c["speculative"] = json!({ "ngram_chained_lookup": true })),
        ("model.decoder.inputs.past_key_names", |c| c["model"]["decoder"]["inputs"]["past_key_names"] = json!("k")),
    ];
    for (field, edit) in cases {
        let (kind, found, reason) = refused(edit);
        assert_eq!((kind, found.as_str()), ("malformed", field), "{reason}");
    }
}

#[test]
fn hugging_face_models_of_other_kinds_are_refused() {
    for (field, value) in [
        ("is_encoder_decoder", json!(true)),
        ("vision_config", json!({})),
        ("audio_config", json!({})),
        ("layer_types", json!(["linear_attention"])),
    ] {
        let folder = Fixture::hugging_face(&["model"]);
        write_json(&folder.file("config.json"), &json!({ "model_type": "x", field: value }));
        let error = folder.open().unwrap_err();
        assert!(matches!(&error, Error::Unsupported { field: found, .. } if found == field), "{error}");
    }
    let folder = Fixture::hugging_face(&["model"]);
    write_json(&folder.file("generation_config.json"), &json!({ "num_beams": 3 }));
    assert!(matches!(folder.open(), Err(Error::Unsupported { field, .. }) if field == "num_beams"));
}

#[test]
fn malformed_json_is_named_with_its_place() {
    for name in ["genai_config.json", "tokenizer_config.json"] {
        for text in ["", "{", "[]", "\u{feff}nonsense", "{\"a\": 1} x", &"[".repeat(10_000)] {
            let folder = Fixture::genai();
            fs::write(folder.file(name), text).unwrap();
            let error = folder.open().unwrap_err();
            assert!(matches!(&error, Error::Malformed { path, .. } if path.ends_with(name)), "{text:.20}: {error}");
        }
    }
    let folder = Fixture::genai();
    fs::write(folder.file("chat_template.jinja"), b"\xff\xfe").unwrap();
    assert!(matches!(folder.open(), Err(Error::Malformed { .. })));
}

#[test]
fn what_is_missing_is_named() {
    for name in ["tokenizer.json", "model.onnx", "model.onnx.data"] {
        let folder = Fixture::genai();
        fs::remove_file(folder.file(name)).unwrap();
        let error = folder.open().unwrap_err();
        assert!(matches!(&error, Error::Missing { file, .. } if file == name), "{name}: {error}");
    }
    let folder = Fixture::genai();
    fs::rename(folder.file("tokenizer.json"), folder.file("tokenizer.model")).unwrap();
    assert!(folder.open().unwrap_err().to_string().contains("convert tokenizer.model"));

    let folder = Fixture::hugging_face(&[]);
    assert!(matches!(folder.open(), Err(Error::Missing { file, .. }) if file.contains("model*.onnx")));
    assert!(matches!(Fixture::empty().open(), Err(Error::UnknownFolder { .. })));
    let package = Fixture::empty();
    write_json(&package.file("manifest.json"), &json!({}));
    assert!(package.open().unwrap_err().to_string().contains("model package"));
    let absent = drafthorse_pack::open(&package.file("absent"), &Default::default());
    assert!(matches!(absent, Err(Error::Io { .. })));
}

/// Opens a genai folder whose graph is `edit`ed, and returns the error's field.
fn refused_graph(edit: impl FnOnce(&mut drafthorse_pack::onnx::GraphProto)) -> String {
    let folder = Fixture::genai();
    let mut graph = graph(VOCAB);
    edit(&mut graph);
    write_graph(&folder.file("model.onnx"), graph);
    match folder.open() {
        Err(Error::Unsupported { path, field, .. }) => {
            assert!(path.ends_with("model.onnx"), "{}", path.display());
            field
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn graphs_that_are_no_decoder_are_refused() {
    let field = refused_graph(|graph| graph.input.retain(|input| input.name != "input_ids"));
    assert_eq!(field, "input input_ids");
    let field = refused_graph(|graph| graph.input[0] = value("input_ids", F32, &[Named("b"), Named("r")]));
    assert_eq!(field, "input input_ids", "tokens are whole numbers");
    let field = refused_graph(|graph| graph.output.retain(|output| output.name != "logits"));
    assert_eq!(field, "output logits");
    let field = refused_graph(|graph| graph.output[0] = value("logits", 3, &[Named("b"), Named("r"), Fixed(VOCAB)]));
    assert_eq!(field, "output logits", "i8 logits");
    let field = refused_graph(|graph| graph.output[0] = value("logits", 99, &[Named("b"), Named("r"), Fixed(VOCAB)]));
    assert_eq!(field, "output logits", "a type that nobody knows");
    let field = refused_graph(|graph| graph.output[0] = value("logits", F32, &[Named("b"), Fixed(VOCAB)]));
    assert_eq!(field, "output logits", "two dimensions");
    let field = refused_graph(|graph| graph.input.truncate(2));
    assert_eq!(field, "input past_key_values.%d.key");
    let field = refused_graph(|graph| graph.input.retain(|input| input.name != "past_key_values.1.value"));
    assert_eq!(field, "input past_key_values.1.value");
    let field = refused_graph(|graph| graph.output.retain(|output| output.name != "present.0.key"));
    assert_eq!(field, "output present.0.key");
    let field = refused_graph(|graph| {
        let sizes = [Named("b"), Fixed(KV_HEADS), Named("p"), Fixed(HEAD_LEN)];
        graph.input[2] = value("past_key_values.0.key", 3, &sizes);
    });
    assert_eq!(field, "input past_key_values.0.key", "a cache of i8");
    let field = refused_graph(|graph| graph.input.push(value("use_cache_branch", 9, &[Fixed(1)])));
    assert_eq!(field, "input use_cache_branch");
    let field = refused_graph(|graph| graph.input.push(value("encoder_hidden_states", F32, &[])));
    assert_eq!(field, "input encoder_hidden_states");
}

#[test]
fn a_graph_with_last_row_logits_opens_and_says_so() {
    let folder = Fixture::genai();
    let mut last_row = graph(VOCAB);
    last_row.output[0] = value("logits", F32, &[Named("batch"), Fixed(1), Fixed(VOCAB)]);
    write_graph(&folder.file("model.onnx"), last_row);
    assert!(folder.open().unwrap().target.last_row_only());
}

#[test]
fn arithmetic_worth_knowing_is_noted() {
    let folder = Fixture::genai();
    let attribute = |name: &str, value: i64| drafthorse_pack::onnx::AttributeProto {
        name: name.into(),
        i: Some(value),
        ..Default::default()
    };
    let quantised = |level: i64| NodeProto {
        attribute: vec![attribute("bits", 4), attribute("block_size", 32), attribute("accuracy_level", level)],
        ..node("MatMulNBits", "com.microsoft")
    };
    let mut noted = graph(VOCAB);
    noted.node.extend([quantised(4), quantised(4), node("DynamicQuantizeLinear", "")]);
    write_graph(&folder.file("model.onnx"), noted.clone());
    let opened = folder.open().unwrap();
    let (settings, &count) = opened.target.header.block_quantisation.first_key_value().unwrap();
    assert_eq!((settings.bits, settings.block_size, settings.accuracy_level, count), (4, 32, 4, 2));
    assert!(opened.notes.iter().any(|note| note.contains("not lossless")), "{:?}", opened.notes);
    assert!(!opened.notes.iter().any(|note| note.contains("accuracy")), "{:?}", opened.notes);

    noted.node.push(quantised(0));
    write_graph(&folder.file("model.onnx"), noted);
    assert!(folder.open().unwrap().notes.iter().any(|note| note.contains("accuracy level 4")));
}
