//! Packs made from a target and a drafter.

mod fixture;

use std::{fs, ops::ControlFlow, path::Path};

use drafthorse_pack::{
    Acceptance, AssembleOptions, Card, DataSet, DrafterRecord, Error, FolderKind, IdMap, Lineage, Manifest, Progress,
    SpeculativeSettings, assemble, open, verify, write_manifest,
};
use fixture::*;
use serde_json::{Value, json};

fn on(_: Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn config_of(pack: &Path) -> Value {
    serde_json::from_slice(&fs::read(pack.join("genai_config.json")).unwrap()).unwrap()
}

/// A drafter as training exports it: a genai folder of its own with lineage and measurements.
fn drafter() -> Fixture {
    let folder = Fixture::genai();
    let lineage = Lineage {
        data: vec![DataSet { name: "stories".into(), licence: "CDLA-Sharing-1.0".into(), ..DataSet::default() }],
        losses: vec!["forward KL".into()],
        seed: Some(7),
        ..Lineage::default()
    };
    let measured = Acceptance { task: "stories".into(), draft_len: 4, acceptance: 0.75, ..Acceptance::default() };
    let manifest = Manifest {
        drafter: Some(DrafterRecord { lineage: Some(lineage), ..DrafterRecord::default() }),
        acceptance: vec![measured],
        card: Some(Card { name: "tiny".into(), ..Card::default() }),
        ..Manifest::new("training")
    };
    write_manifest(folder.path(), manifest, &mut on).unwrap();
    folder
}

#[test]
fn a_pack_of_two_genai_folders() {
    let (target, drafter, place) = (Fixture::genai(), drafter(), Fixture::empty());
    let out = place.file("pack");
    let options = AssembleOptions { written_by: "test 1".into(), ..AssembleOptions::default() };
    let manifest = assemble(target.path(), drafter.path(), &out, &options, &mut on).unwrap();
    assert!(verify(&out, &mut on).unwrap().is_intact());

    let opened = open(&out, &Default::default()).unwrap();
    assert_eq!(opened.kind, FolderKind::Pack);
    assert_eq!(opened.manifest.as_ref(), Some(&manifest));
    let pair = opened.drafter.as_ref().unwrap();
    assert_eq!(pair.path, out.join("drafter/model.onnx"));
    assert_eq!(pair.external[0].path, out.join("drafter/model.onnx.data"));
    assert_eq!(opened.speculative, Some(SpeculativeSettings::default()));
    assert_eq!(manifest.acceptance[0].acceptance, 0.75);
    assert_eq!(manifest.drafter.unwrap().lineage.unwrap().seed, Some(7));
    assert_eq!(manifest.card.unwrap().name, "tiny");
    assert!(opened.check_digests(&mut on).unwrap().unwrap().extra.is_empty());

    let config = config_of(&out);
    assert_eq!(config["model"]["draft"]["filename"], "drafter/model.onnx");
    assert_eq!(config["model"]["draft"]["inputs"]["past_key_names"], "past_key_values.%d.key");
    assert!(config["model"]["draft"]["inputs"].get("position_ids").is_none(), "the graph has no such input");
    assert_eq!(config["model"]["decoder"], genai_config()["model"]["decoder"], "the target's block is its own");
    assert_eq!(config["speculative"]["max_draft_tokens"], 4);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_pack_of_two_hugging_face_folders() {
    let (target, drafter, place) =
        (Fixture::hugging_face(&["model_q4", "model"]), Fixture::hugging_face(&["model_int8"]), Fixture::empty());
    let out = place.file("deep/pack");
    let options = AssembleOptions {
        target_variant: Some("q4".into()),
        speculative: Some(SpeculativeSettings { max_draft_tokens: 7, ..SpeculativeSettings::default() }),
        ..AssembleOptions::default()
    };
    assemble(target.path(), drafter.path(), &out, &options, &mut on).unwrap();
    let opened = open(&out, &Default::default()).unwrap();
    assert_eq!(opened.target.path, out.join("model_q4.onnx"));
    assert_eq!(opened.target.external[0].path, out.join("model_q4.onnx.data"));
    assert_eq!(opened.drafter.as_ref().unwrap().path, out.join("drafter/model_int8.onnx"));
    assert_eq!((opened.model_type.as_str(), opened.eos_tokens.as_slice()), ("qwen2", &[2, 3][..]));
    assert_eq!(opened.search.temperature_meant(), 0.7);
    assert_eq!(opened.target.shared_buffer, Some(true), "the graph attends with GroupQueryAttention");
    assert_eq!(opened.context_len(), Some(64));
    assert_eq!(opened.speculative.unwrap().max_draft_tokens, 7);
    assert_eq!(opened.unknown_keys, Vec::<String>::new());
}

#[test]
fn a_pack_keeps_every_default_of_generation_of_its_target() {
    let (target, drafter, place) = (Fixture::hugging_face(&["model"]), Fixture::genai(), Fixture::empty());
    let generation = json!({ "do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.9, "min_p": 0.05,
        "repetition_penalty": 1.1, "min_new_tokens": 2, "max_new_tokens": 300, "eos_token_id": [2, 3] });
    write_json(&target.file("generation_config.json"), &generation);
    let out = place.file("pack");
    assemble(target.path(), drafter.path(), &out, &AssembleOptions::default(), &mut on).unwrap();
    let opened = open(&out, &Default::default()).unwrap();
    assert_eq!(opened.search, target.open().unwrap().search);
    assert_eq!(opened.search.max_new_tokens, Some(300));
    assert!(verify(&out, &mut on).unwrap().is_intact());
}

#[test]
fn a_trimmed_drafter_is_named_by_the_manifest_alone() {
    let (target, trimmed, place) = (Fixture::genai(), Fixture::genai(), Fixture::empty());
    write_model(&trimmed.file("model.onnx"), 3);
    let out = place.file("pack");
    let make = || assemble(target.path(), trimmed.path(), &out, &AssembleOptions::default(), &mut on);
    assert!(matches!(make(), Err(Error::VocabularyMismatch { .. })), "no id map");
    assert!(!out.exists());

    fs::write(trimmed.file("drafter_ids.json"), IdMap::new(vec![4, 9, 1]).unwrap().to_json()).unwrap();
    make().unwrap();
    assert!(config_of(&out)["model"].get("draft").is_none(), "onnxruntime-genai refuses unequal widths");
    let drafter = open(&out, &Default::default()).unwrap().drafter.unwrap();
    assert_eq!(drafter.path, out.join("drafter/model.onnx"));
    assert_eq!(drafter.id_map.unwrap().target_ids(), [4, 9, 1]);
    assert_eq!(drafter.shape.vocab_len, Some(3));
}

#[test]
fn a_pair_that_onnxruntime_genai_refuses_is_named_by_the_manifest_alone() {
    // Another provider than the target's.
    let (target, place) = (Fixture::genai(), Fixture::empty());
    let drafter = Fixture::genai_with(|config| {
        config["model"]["decoder"]["session_options"]["provider_options"] = json!([{ "webgpu": {} }]);
    });
    let out = place.file("provider");
    assemble(target.path(), drafter.path(), &out, &AssembleOptions::default(), &mut on).unwrap();
    assert!(config_of(&out)["model"].get("draft").is_none());
    let opened = open(&out, &Default::default()).unwrap();
    assert_eq!(opened.drafter.unwrap().session.providers[0].name, "webgpu");
    assert!(opened.target.session.providers.is_empty());

    // A cache that grows beside one that is shared.
    let drafter = Fixture::genai_with(|config| config["search"]["past_present_share_buffer"] = json!(false));
    let mut growing = graph(VOCAB);
    growing.node = vec![node("MatMul", "")];
    write_graph(&drafter.file("model.onnx"), growing);
    let out = place.file("layout");
    assemble(target.path(), drafter.path(), &out, &AssembleOptions::default(), &mut on).unwrap();
    assert!(config_of(&out)["model"].get("draft").is_none());
    let opened = open(&out, &Default::default()).unwrap();
    assert_eq!((opened.target.shared_buffer, opened.drafter.unwrap().shared_buffer), (Some(true), Some(false)));
}

#[test]
fn another_vocabulary_is_refused_with_the_first_difference() {
    let (target, drafter, place) = (Fixture::genai(), Fixture::genai(), Fixture::empty());
    let mut other = tokenizer(VOCAB);
    other["model"]["vocab"] = json!({ "t0": 0, "t1": 1, "no": 3, "t4": 4 });
    write_json(&drafter.file("tokenizer.json"), &other);
    let out = place.file("pack");
    let error = assemble(target.path(), drafter.path(), &out, &AssembleOptions::default(), &mut on).unwrap_err();
    assert!(error.to_string().contains("token 3 is \"t3\" in the target and \"no\" in the drafter"), "{error}");
    // The same tokens written in another way are the same.
    write_json(
        &drafter.file("tokenizer.json"),
        &json!({ "added": 1, "model": { "vocab":
        (0..VOCAB).map(|id| json!([if id == 2 { "</s>".to_owned() } else { format!("t{id}") }, -1.5])).collect::<Vec<_>>() } }),
    );
    assemble(target.path(), drafter.path(), &out, &AssembleOptions::default(), &mut on).unwrap();
}

#[test]
fn nothing_but_an_old_pack_is_replaced() {
    let (target, drafter, place) = (Fixture::genai(), Fixture::genai(), Fixture::empty());
    let out = place.file("pack");
    let with = |overwrite: bool| {
        let options = AssembleOptions { overwrite, ..AssembleOptions::default() };
        assemble(target.path(), drafter.path(), &out, &options, &mut on)
    };
    with(false).unwrap();
    fs::write(out.join("old"), "x").unwrap();
    assert!(matches!(with(false), Err(Error::Exists { .. })));
    assert!(out.join("old").exists());
    with(true).unwrap();
    assert!(!out.join("old").exists());
    fs::remove_file(out.join("drafthorse.json")).unwrap();
    assert!(matches!(with(true), Err(Error::Exists { .. })), "a folder of something else");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_cancelled_assembly_leaves_nothing() {
    let (target, drafter, place) = (Fixture::genai(), Fixture::genai(), Fixture::empty());
    let mut left = 3;
    let result = assemble(target.path(), drafter.path(), &place.file("pack"), &AssembleOptions::default(), &mut |_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
