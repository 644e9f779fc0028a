//! Properties of every parser: whatever the bytes, the answer is a value or an error, soon and in little memory.

use std::{io::Cursor, path::Path};

use proptest::{collection::vec, prelude::*, sample::Index};
use prost::Message;
use serde_json::{Map, Value, json};

use crate::{
    IdMap, Manifest, Vocabulary, genai,
    header::{self, Header},
    hugging_face,
    onnx::{
        AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
        TensorShapeProto, TensorTypeProto, TypeProto, TypeValue, ValueInfoProto,
    },
    root, tokenizer,
};

/// Runs every JSON parser; none may panic.
fn parse_all(bytes: &[u8]) {
    let path = Path::new("x.json");
    let _ = genai::parse(path, bytes);
    let _ = hugging_face::parse_config(path, bytes);
    let _ = hugging_face::parse_generation(path, bytes);
    let _ = tokenizer::parse_config(path, bytes, &mut Vec::new());
    let _ = Vocabulary::parse(path, bytes);
    let _ = Manifest::parse(path, bytes);
    let _ = IdMap::parse(path, bytes);
}

/// Any JSON value of modest size.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-20_i64..20).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-z_%d.]{0,8}", inner), 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// One of each file, with every field that the parsers look at.
fn sound_files() -> Vec<Value> {
    let decoder = json!({ "filename": "m.onnx", "head_size": 4, "hidden_size": 8, "num_attention_heads": 2,
        "num_key_value_heads": 2, "num_hidden_layers": 2, "pipeline": [], "layer_types": ["full_attention"],
        "session_options": { "intra_op_num_threads": 2, "config_entries": { "mlas.disable_kleidiai": "1" },
            "provider_options": [{ "cuda": { "use_tf32": "0" } }] },
        "inputs": { "input_ids": "input_ids", "past_key_names": "p.%d", "past_names": "" },
        "outputs": { "logits": "logits", "present_names": "q.%d" } });
    vec![
        json!({ "model": { "type": "llama", "eos_token_id": [1, 2], "bos_token_id": 0, "vocab_size": 16,
                "context_length": 64, "decoder": decoder, "draft": decoder },
            "search": { "do_sample": true, "temperature": 0.5, "num_beams": 1, "top_k": 3, "random_seed": -1 },
            "speculative": { "max_draft_tokens": 4, "ngram_size": 3, "ngram_chained_lookup": true, "cooldown": false } }),
        json!({ "model_type": "x", "is_encoder_decoder": false, "vocab_size": 16, "hidden_size": 8, "n_head": 2,
            "head_dim": 4, "layer_types": ["full_attention"], "eos_token_id": 2, "num_beams": 1, "top_p": 0.9 }),
        json!({ "bos_token": { "content": "<s>" }, "eos_token": "</s>", "add_bos_token": true,
            "added_tokens_decoder": { "3": { "content": "x", "special": true } }, "model_max_length": 1e30,
            "chat_template": [{ "name": "default", "template": "t" }] }),
        json!({ "model": { "vocab": { "a": 0, "b": 1 } }, "added_tokens": [{ "id": 2, "content": "c" }] }),
        json!({ "format_version": 1, "files": { "a/b": { "bytes": 1, "sha256": "0".repeat(64) } },
            "drafter": { "id_map": "x", "lineage": { "seed": 1, "data": [{ "name": "n", "licence": "l" }] } },
            "acceptance": [{ "task": "t", "temperature": 0.0, "draft_len": 4, "acceptance": 0.5 }] }),
        json!({ "format_version": 1, "target_ids": [3, 1, 2] }),
    ]
}

/// Puts `value` in the place of one of the values within `tree`.
fn replace(tree: &mut Value, place: Index, value: Value) {
    fn walk<'a>(tree: &'a mut Value, nth: &mut usize) -> Option<&'a mut Value> {
        if *nth == 0 {
            return Some(tree);
        }
        *nth -= 1;
        match tree {
            Value::Array(list) => list.iter_mut().find_map(|item| walk(item, nth)),
            Value::Object(map) => map.values_mut().find_map(|item| walk(item, nth)),
            _ => None,
        }
    }
    fn count(tree: &Value) -> usize {
        1 + match tree {
            Value::Array(list) => list.iter().map(count).sum(),
            Value::Object(map) => map.values().map(count).sum(),
            _ => 0,
        }
    }
    let mut nth = place.index(count(tree));
    if let Some(place) = walk(tree, &mut nth) {
        *place = value;
    }
}

/// Bytes of a graph with one of everything that the walk looks into.
fn sound_graph() -> Vec<u8> {
    let entry = |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
    let tensor = TensorProto {
        name: "w".into(),
        data_type: 1,
        dims: vec![4, 4],
        data_location: 1,
        external_data: vec![entry("location", "w.bin"), entry("offset", "64"), entry("length", "64")],
        ..Default::default()
    };
    let inner = TensorProto { data_type: 1, dims: vec![2], raw_data: Some(vec![0; 8].into()), ..Default::default() };
    let value = |name: &str| ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(TypeValue::TensorType(TensorTypeProto {
                elem_type: 1,
                shape: Some(TensorShapeProto { dim: vec![Default::default()] }),
            })),
            ..Default::default()
        }),
        ..Default::default()
    };
    let branch =
        GraphProto { node: vec![NodeProto { op_type: "Add".into(), ..Default::default() }], ..Default::default() };
    let attributes = vec![
        AttributeProto { name: "bits".into(), i: Some(4), ..Default::default() },
        AttributeProto { name: "value".into(), t: Some(inner), ..Default::default() },
        AttributeProto { name: "then_branch".into(), g: Some(branch), ..Default::default() },
    ];
    let node = NodeProto {
        op_type: "MatMulNBits".into(),
        domain: "com.microsoft".into(),
        attribute: attributes,
        ..Default::default()
    };
    ModelProto {
        ir_version: 10,
        producer_name: "test".into(),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 21 }],
        graph: Some(GraphProto {
            node: vec![node],
            initializer: vec![tensor],
            input: vec![value("a")],
            output: vec![value("b")],
            ..Default::default()
        }),
        ..Default::default()
    }
    .encode_to_vec()
}

fn scan(bytes: &[u8]) -> Result<Header, u64> {
    header::scan::header(Cursor::new(bytes), bytes.len() as u64).map_err(|error| error.offset)
}

#[test]
fn the_sound_examples_are_sound() {
    let files = sound_files();
    let path = Path::new("x.json");
    let bytes = |index: usize| files[index].to_string().into_bytes();
    let config = genai::parse(path, &bytes(0)).unwrap();
    assert!(config.draft.is_some() && config.unknown.is_empty(), "{:?}", config.unknown);
    hugging_face::parse_config(path, &bytes(1)).unwrap();
    hugging_face::parse_generation(path, &bytes(1)).unwrap();
    tokenizer::parse_config(path, &bytes(2), &mut Vec::new()).unwrap();
    assert_eq!(Vocabulary::parse(path, &bytes(3)).unwrap().len(), 3);
    Manifest::parse(path, &bytes(4)).unwrap();
    IdMap::parse(path, &bytes(5)).unwrap();

    let header = scan(&sound_graph()).unwrap();
    assert_eq!(header.external["w.bin"], 128);
    assert_eq!((header.initialisers, header.embedded_bytes), (2, 8));
    assert_eq!((header.count("MatMulNBits"), header.count("Add")), (1, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_bytes_are_an_answer(bytes in vec(any::<u8>(), 0..256)) {
        parse_all(&bytes);
        let _ = scan(&bytes);
    }

    #[test]
    fn any_json_is_an_answer(value in any_json()) {
        parse_all(value.to_string().as_bytes());
    }

    #[test]
    fn a_sound_file_with_any_value_anywhere_is_an_answer(
        file in any::<Index>(),
        changes in vec((any::<Index>(), any_json()), 1..4),
    ) {
        let files = sound_files();
        let mut tree = files[file.index(files.len())].clone();
        for (place, value) in changes {
            replace(&mut tree, place, value);
        }
        parse_all(tree.to_string().as_bytes());
    }

    #[test]
    fn a_graph_with_changed_bytes_is_an_answer(changes in vec((any::<Index>(), any::<u8>()), 1..6)) {
        let mut bytes = sound_graph();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        match scan(&bytes) {
            Err(offset) => prop_assert!(offset <= bytes.len() as u64),
            // Nothing kept can be longer than the file that it came from.
            Ok(header) => {
                let names = header.inputs.iter().chain(&header.outputs).map(|value| value.name.len());
                prop_assert!(names.sum::<usize>() <= bytes.len());
                prop_assert!(header.embedded_bytes <= bytes.len() as u64);
            }
        }
    }

    #[test]
    fn a_graph_with_bytes_put_in_or_left_out_is_an_answer(
        place in any::<Index>(),
        more in vec(any::<u8>(), 0..12),
        less in 0_usize..12,
    ) {
        let bytes = sound_graph();
        let place = place.index(bytes.len());
        let rest = &bytes[(place + less).min(bytes.len())..];
        let _ = scan(&[&bytes[..place], &more, rest].concat());
    }

    #[test]
    fn a_manifest_survives_writing_and_reading(
        names in vec("[a-z]{1,6}(/[a-z]{1,6}){0,2}", 0..6),
        bytes in any::<u64>(),
        acceptance in (0_u32..=1024).prop_map(|share| f64::from(share) / 1024.0),
    ) {
        let mut manifest = Manifest::new("test");
        let digest = crate::FileDigest { bytes, sha256: "ab".repeat(32) };
        manifest.files = names.into_iter().map(|name| (name, digest.clone())).collect();
        manifest.acceptance.push(crate::Acceptance { acceptance, ..Default::default() });
        manifest.extra = Map::from_iter([("later".to_owned(), json!({ "a": [bytes] }))]);
        let read = Manifest::parse(Path::new("x"), manifest.to_json().as_bytes()).unwrap();
        prop_assert_eq!(read, manifest);
    }

    #[test]
    fn an_id_map_survives_writing_and_reading(ids in proptest::collection::btree_set(any::<u32>(), 1..50)) {
        let map = IdMap::new(ids.into_iter().collect()).unwrap();
        prop_assert_eq!(IdMap::parse(Path::new("x"), map.to_json().as_bytes()).unwrap(), map);
    }

    #[test]
    fn no_relative_path_without_parents_leaves(path in "[a-z./\\\\:]{0,12}") {
        if root::is_relative(&path) && !root::climbs(&path) {
            let joined = Path::new("/root").join(&path);
            prop_assert!(joined.starts_with("/root"), "{}", joined.display());
            prop_assert!(!joined.components().any(|part| part == std::path::Component::ParentDir));
        }
    }

    #[test]
    fn equal_vocabularies_have_no_difference(changed in proptest::option::of(0_u32..20), len in 1_u32..20) {
        let file = |changed: Option<u32>| {
            let token = |id| if changed == Some(id) { "other".to_owned() } else { format!("t{id}") };
            let vocab: Map<_, _> = (0..len).map(|id| (token(id), json!(id))).collect();
            json!({ "model": { "vocab": vocab } }).to_string()
        };
        let read = |text: String| Vocabulary::parse(Path::new("x"), text.as_bytes()).unwrap();
        let difference = read(file(None)).first_difference(&read(file(changed)));
        match changed.filter(|&id| id < len) {
            Some(id) => prop_assert!(difference.unwrap().starts_with(&format!("token {id} ")), "{id}"),
            None => prop_assert_eq!(difference, None),
        }
    }
}
