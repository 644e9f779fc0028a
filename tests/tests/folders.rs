//! Folders that others made, opened as they are and generated from.

use drafthorse::{DraftLength, Drafting, Engine, EngineOptions, GenerationOptions, TokenId};
use drafthorse_graph::{
    GraphOptions, Precision,
    fixtures::{LAYOUTS, RandomPair},
};
use drafthorse_pack::{FolderKind, OpenOptions};
use drafthorse_tests::{answer, random_pack, session};

const PROMPT: [TokenId; 6] = [40, 41, 42, 70, 71, 72];

fn options() -> EngineOptions {
    EngineOptions { target_threads: Some(1), drafter_threads: Some(1), ..EngineOptions::default() }
}

fn greedy(draft_len: usize) -> GenerationOptions {
    GenerationOptions {
        temperature: Some(0.0),
        max_tokens: Some(40),
        draft_length: Some(DraftLength::Fixed(draft_len)),
        ..GenerationOptions::default()
    }
}

/// Greedy tokens of the pair, or of the target alone.
fn text(engine: &Engine, drafting: Drafting) -> Vec<TokenId> {
    answer(&session(engine, drafting), &PROMPT, &greedy(4)).unwrap().tokens
}

#[test]
fn a_hugging_face_folder_generates_as_the_same_weights_in_another_kind_do() {
    let pair = RandomPair::small().unwrap();
    for (name, layout) in LAYOUTS {
        let graph = GraphOptions::new(layout, Precision::FP32);
        let (genai, hub) = (random_pack(&pair, &graph), tempfile::tempdir().unwrap());
        pair.write_hugging_face(hub.path(), &[("", graph), ("_q4", GraphOptions::new(layout, Precision::INT4))])
            .unwrap();
        let expected = text(&Engine::open(genai.path(), &options()).unwrap(), Drafting::None);

        // A drafter from elsewhere, and prompt lookup; the variant is a choice.
        let folder = |variant: &str| OpenOptions {
            variant: Some(variant.into()),
            drafter: Some(genai.path().join("drafter.onnx")),
            ..OpenOptions::default()
        };
        let open = |variant| Engine::open(hub.path(), &EngineOptions { folder: folder(variant), ..options() }).unwrap();
        let engine = open("fp32");
        assert_eq!(engine.folder().kind, FolderKind::HuggingFace);
        for drafting in [Drafting::None, Drafting::Model, Drafting::Lookup, Drafting::Both] {
            assert_eq!(text(&engine, drafting), expected, "{name}, {drafting:?}");
        }
        let four = open("q4");
        assert_eq!(text(&four, Drafting::Model), text(&four, Drafting::None), "{name}, q4");
    }
}
