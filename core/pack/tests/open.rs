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
    assert_eq!(drafter.session.providers[0].options["validationMode"], "disabled");
    let expected = SpeculativeSettings { max_draft_tokens: 6, adaptive_len_min: 2, ..SpeculativeSettings::default() };
    assert_eq!(opened.speculative, Some(expected));
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
fn sampling_that_a_folder_leaves_open_is_what_its_kind_means() {
    let search =
        |search: serde_json::Value| Fixture::genai_with(|config| config["search"] = search).open().unwrap().search;
    let open = search(json!({ "do_sample": true, "top_p": 0.0 }));
    assert_eq!((open.top_k, open.top_p), (Some(50), None));
    let said = search(json!({ "do_sample": true, "top_p": 0.9, "top_k": 0 }));
    assert_eq!((said.top_k, said.top_p), (Some(0), Some(0.9)));
    assert_eq!(search(json!({})).top_k, None, "greedy");
    assert_eq!(Fixture::hugging_face(&["model"]).open().unwrap().search.top_k, Some(50));
}

#[test]
fn the_context_ends_where_rotary_factors_change() {
    // onnxruntime-genai's kind, which names no factors: the graph has a node that chooses.
    let of_type = |model_type: &str, chooses: bool| {
        let folder = Fixture::genai_with(|config| {
            config["model"]["type"] = json!(model_type);
            config["model"]["context_length"] = json!(131_072);
        });
        if chooses {
            let mut graph = graph(VOCAB);
            graph.node.push(node("If", ""));
            write_graph(&folder.file("model.onnx"), graph);
        }
        let opened = folder.open().unwrap();
        let noted = opened.notes.iter().any(|note| note.contains("rotary"));
        (opened.context_len().unwrap(), noted)
    };
    assert_eq!(of_type("phi3", true), (4096, true));
    assert_eq!(of_type("phi3small", true), (8192, true));
    assert_eq!(of_type("phi3", false), (131_072, false));
    assert_eq!(of_type("llama", true), (131_072, false));

    let scaled = |kind: &str| {
        let folder = Fixture::hugging_face(&["model"]);
        let config = json!({ "model_type": "phi3", "max_position_embeddings": 131_072,
            "original_max_position_embeddings": 4096, "rope_scaling": { "type": kind } });
        write_json(&folder.file("config.json"), &config);
        folder.open().unwrap().context_len()
    };
    assert_eq!(scaled("longrope"), Some(4096));
    assert_eq!(scaled("su"), Some(4096));
    assert_eq!(scaled("yarn"), Some(131_072));
}

#[test]
fn settings_without_effect_are_noted() {
    let notes = |edit: fn(&mut serde_json::Value)| Fixture::genai_with(edit).open().unwrap().notes;
    assert_eq!(notes(|config| config["speculative"] = json!({ "max_draft_tokens": 4 })), Vec::<String>::new());
    let found = notes(|config| {
        config["speculative"] = json!({ "max_draft_tokens": 2 });
        config["search"]["chunk_size"] = json!(64);
        config["model"]["decoder"]["session_options"] =
            json!({ "inter_op_num_threads": 2, "graph_optimization_level": "ORT_DISABLE_ALL" });
    });
    for name in ["speculative", "chunk_size", "inter_op_num_threads", "graph_optimization_level"] {
        assert!(found.iter().any(|note| note.contains(name) && note.contains("no effect")), "{name}: {found:?}");
    }
}

#[test]
fn a_folder_sets_switches_but_names_no_files_libraries_or_addresses() {
    let folder = Fixture::genai_with(|config| {
        config["model"]["decoder"]["session_options"] = json!({
            "config_entries": {
                "session.intra_op.allow_spinning": "0", "mlas.disable_kleidiai": "1",
                "session.collect_node_memory_stats_to_file": "../../settings.json", "ep.context_enable": "1",
                "ep.context_file_path": "/tmp/a"
            },
            "provider_options": [
                { "QNNExecutionProvider": { "backend_path": "x.so", "vtcm_mb": 8 } },
                { "webgpu": { "dawnProcTable": 4096, "powerPreference": "high-performance" } },
                { "cuda": { "user_compute_stream": "1", "gpu_external_alloc": "4096" } },
                { "novelty": { "a": "b" } }
            ]
        });
    });
    let opened = folder.open().unwrap();
    let session = &opened.target.session;
    let keys: Vec<_> = session.config_entries.keys().collect();
    assert_eq!(keys, ["mlas.disable_kleidiai", "session.intra_op.allow_spinning"]);
    let options = |index: usize| session.providers[index].options.keys().cloned().collect::<Vec<_>>();
    assert_eq!([options(0), options(1), options(2), options(3)].concat(), ["vtcm_mb", "powerPreference"]);
    let field = |key: &str| format!("model.decoder.session_options.{key}");
    assert_eq!(
        opened.unknown_keys,
        [
            "config_entries.ep.context_enable",
            "config_entries.ep.context_file_path",
            "config_entries.session.collect_node_memory_stats_to_file",
            "provider_options[0].QNNExecutionProvider.backend_path",
            "provider_options[1].webgpu.dawnProcTable",
            "provider_options[2].cuda.gpu_external_alloc",
            "provider_options[2].cuda.user_compute_stream",
            "provider_options[3].novelty.a",
        ]
        .map(field)
    );
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
