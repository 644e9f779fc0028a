//! The three kinds of folder open unmodified, and say what is in them.

mod fixture;

use drafthorse_pack::{Error, FolderKind, IoNames, OpenOptions, SpeculativeSettings, open};
use fixture::*;
use serde_json::json;

#[test]
fn a_genai_folder_opens() {
    let folder = Fixture::genai();
    let opened = folder.open().unwrap();
    assert_eq!(opened.kind, FolderKind::Genai);
    assert_eq!(opened.model_type, "llama");
    assert_eq!((opened.eos_tokens.as_slice(), opened.bos_token, opened.pad_token), (&[2, 3][..], Some(1), Some(0)));
    assert_eq!(opened.context_len(), Some(64));
    assert_eq!(opened.search.temperature, Some(0.7));
    assert_eq!(opened.search.temperature_meant(), 0.0, "do_sample is false");
    assert_eq!(opened.search.seed, None, "-1 asks for a drawn one");
    assert!(opened.drafter.is_none() && opened.manifest.is_none());
    assert_eq!(opened.unknown_keys, Vec::<String>::new());

    let target = &opened.target;
    assert_eq!(target.path, folder.file("model.onnx"));
    assert_eq!(target.external.len(), 1);
    assert_eq!(target.external[0].bytes_needed, EXTERNAL_BYTES);
    assert_eq!(target.bytes, EXTERNAL_BYTES + target.path.metadata().unwrap().len());
    assert_eq!(target.io, IoNames::default());
    assert_eq!(target.shared_buffer, Some(true));
    assert_eq!(target.shape.vocab_len, Some(VOCAB as usize));
    assert_eq!(target.shape.layers, Some(LAYERS));
    // 2 (keys and values) × 2 layers × 2 heads × 4 × 4 bytes.
    assert_eq!(target.cache_bytes_per_token(), Some(128));
    assert!(!target.last_row_only());
    assert_eq!(target.header.count("GroupQueryAttention"), LAYERS as u64);
    assert_eq!(target.header.opsets[""], 21);
}

#[test]
fn a_draft_block_becomes_the_drafter() {
    let folder = Fixture::genai_with(|config| {
        config["model"]["draft"] = decoder("drafter/model.onnx");
        config["model"]["draft"]["session_options"]["provider_options"] =
            json!([{ "webgpu": { "validationMode": "disabled" } }]);
        config["speculative"] = json!({ "max_draft_tokens": 6, "min_adaptive_k": 2 });
    });
    std::fs::create_dir(folder.file("drafter")).unwrap();
    write_model(&folder.file("drafter/model.onnx"), VOCAB);
    let opened = folder.open().unwrap();
    let drafter = opened.drafter.unwrap();
    assert_eq!(drafter.external[0].path, folder.file("drafter/model.onnx.data"));
    assert_eq!(drafter.session.providers[0].name, "webgpu");
    assert_eq!(drafter.session.providers[0].options["a"], "b");
    let speculative = opened.speculative.unwrap();
    assert_eq!(
        (speculative.max_draft_tokens, speculative.draft_len_max()),
        (6, 16),
        "adaptive ignores the fixed width"
    );
    assert_eq!(SpeculativeSettings::default().draft_len_max(), 4);
}

#[test]
fn a_hugging_face_folder_opens_by_variant() {
    let folder = Fixture::hugging_face(&["model", "model_q4", "model_fp16"]);
    let error = folder.open().unwrap_err();
    let Error::Variant { asked: None, found, .. } = &error else { panic!("{error}") };
    assert_eq!(found, &["fp16", "fp32", "q4"]);

    let with =
        |variant: &str| open(folder.path(), &OpenOptions { variant: Some(variant.into()), ..OpenOptions::default() });
    for (variant, file) in [("q4", "model_q4.onnx"), ("fp32", "model.onnx"), ("model_fp16.onnx", "model_fp16.onnx")] {
        assert_eq!(with(variant).unwrap().target.path, folder.path().join("onnx").join(file));
    }
    let error = with("q8").unwrap_err();
    assert!(error.to_string().contains("\"q8\"") && error.to_string().contains("fp16, fp32, q4"), "{error}");

    let opened = with("q4").unwrap();
    assert_eq!(opened.kind, FolderKind::HuggingFace);
    assert_eq!(opened.eos_tokens, [2, 3], "generation_config.json goes before config.json");
    assert_eq!(opened.bos_token, Some(1));
    assert_eq!(opened.search.temperature_meant(), 0.7);
    assert_eq!(opened.context_len(), Some(64));
    assert_eq!(opened.target.shape.head_len, Some(HEAD_LEN as usize));
    assert_eq!(opened.target.shared_buffer, None);
}

#[test]
fn a_single_variant_needs_no_choice() {
    let opened = Fixture::hugging_face(&["model_q4f16"]).open().unwrap();
    assert_eq!(opened.variant.as_deref(), Some("q4f16"));
}

#[test]
fn the_tokenizer_is_described() {
    let folder = Fixture::genai();
    let tokenizer = folder.open().unwrap().tokenizer;
    assert_eq!(tokenizer.config.eos_token.as_deref(), Some("</s>"));
    assert_eq!(tokenizer.config.add_bos_token, Some(true));
    assert_eq!(tokenizer.config.tokens_max, None, "1e30 is no number of tokens");
    assert_eq!(tokenizer.config.added_tokens[0].id, 2);
    assert_eq!(tokenizer.chat_template(None).unwrap().text, "{{ messages }}");

    std::fs::write(folder.file("chat_template.jinja"), "{{ other }}").unwrap();
    let tokenizer = folder.open().unwrap().tokenizer;
    assert_eq!(tokenizer.chat_template(None).unwrap().text, "{{ other }}");
    assert_eq!(tokenizer.chat_template(Some("rag")), None);
}

#[test]
fn named_templates_are_listed() {
    let folder = Fixture::genai();
    let templates = json!([{ "name": "default", "template": "a" }, { "name": "tool_use", "template": "b" }]);
    write_json(&folder.file("tokenizer_config.json"), &json!({ "chat_template": templates }));
    let tokenizer = folder.open().unwrap().tokenizer;
    assert_eq!(tokenizer.chat_template(None).unwrap().text, "a");
    assert_eq!(tokenizer.chat_template(Some("tool_use")).unwrap().text, "b");
}

#[test]
fn unknown_keys_are_named_and_tolerated() {
    let folder = Fixture::genai_with(|config| {
        config["model"]["decoder"]["novelty"] = json!(1);
        config["search"]["novelty"] = json!([]);
        config["future"] = json!({});
    });
    assert_eq!(folder.open().unwrap().unknown_keys, ["model.decoder.novelty", "search.novelty", "future"]);
}

#[test]
fn a_drafter_can_be_named_separately() {
    let target = Fixture::genai();
    let with = |drafter: &std::path::Path| {
        open(target.path(), &OpenOptions { drafter: Some(drafter.into()), ..OpenOptions::default() })
    };
    // A folder of another kind, and of another width: padding is no difference.
    let drafter = Fixture::hugging_face(&["model"]);
    write_model(&drafter.file("onnx/model.onnx"), VOCAB + 48);
    let opened = with(drafter.path()).unwrap();
    assert_eq!(opened.drafter.unwrap().shape.vocab_len, Some(VOCAB as usize + 48));

    // A bare file, with nothing but its width to compare.
    let bare = Fixture::empty();
    write_model(&bare.file("drafter.onnx"), VOCAB);
    let opened = with(&bare.file("drafter.onnx")).unwrap();
    assert!(opened.notes.iter().any(|note| note.contains("only the width")), "{:?}", opened.notes);
    write_model(&bare.file("drafter.onnx"), VOCAB + 1);
    assert!(matches!(with(&bare.file("drafter.onnx")), Err(Error::VocabularyMismatch { .. })));

    // Another tokenizer.
    let mut other = tokenizer(VOCAB);
    other["model"]["vocab"] = json!({ "t0": 0, "t1": 5 });
    write_json(&drafter.file("tokenizer.json"), &other);
    let error = with(drafter.path()).unwrap_err();
    assert!(error.to_string().contains("token 1 is \"t1\" in the target and nothing in the drafter"), "{error}");
}
