//! Pairs whose models run on two providers. A test binary of its own: a process has one runtime library.
//!
//! `DRAFTHORSE_WEBGPU_DYLIB` names a runtime library with WebGPU; without it the test passes with a note.
//! `cargo xtask test --webgpu` has one.

use std::path::{Path, PathBuf};

use drafthorse::{DraftLength, Drafting, Engine, EngineOptions, GenerationOptions, Provider, Result, TokenId};
use drafthorse_graph::{
    GraphOptions, Precision,
    fixtures::{LAYOUTS, RandomPair},
};
use drafthorse_tests::{answer, random_pack, session};

const PROMPT: [TokenId; 6] = [40, 41, 42, 70, 71, 72];

fn greedy() -> GenerationOptions {
    GenerationOptions {
        temperature: Some(0.0),
        max_tokens: Some(40),
        draft_length: Some(DraftLength::Fixed(4)),
        ..GenerationOptions::default()
    }
}

#[test]
fn drafter_and_target_on_two_providers_give_the_text_of_one() {
    let Some(library) = std::env::var_os("DRAFTHORSE_WEBGPU_DYLIB").map(PathBuf::from) else {
        return println!("skipped: DRAFTHORSE_WEBGPU_DYLIB names no ONNX Runtime library with WebGPU");
    };
    let (cpu, gpu) = (Provider::Cpu, Provider::WebGpu);
    let mut compared = 0;
    for (name, layout) in LAYOUTS {
        let folder = random_pack(&RandomPair::small().unwrap(), &GraphOptions::new(layout, Precision::FP32));
        let expected = on(folder.path(), &library, (cpu, cpu)).unwrap();
        for (target, drafter) in [(gpu, cpu), (cpu, gpu), (gpu, gpu)] {
            match on(folder.path(), &library, (target, drafter)) {
                Ok(text) => {
                    assert_eq!(text, expected, "{name}: {target} with {drafter}");
                    compared += 1;
                }
                // Some drivers compute one of the layouts wrongly, and the proof finds it.
                Err(error) if error.to_string().contains("differs from single tokens") => {
                    println!("{name}: {target} with {drafter}: {error}");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(compared >= 3, "the GPU computed no layout right");
}

/// Greedy tokens of the pair on two providers, each of which must be the one that computes.
fn on(folder: &Path, library: &Path, (target, drafter): (Provider, Provider)) -> Result<Vec<TokenId>> {
    let options = EngineOptions {
        runtime_library: Some(library.to_owned()),
        target_providers: vec![target.into()],
        drafter_providers: vec![drafter.into()],
        target_threads: Some(1),
        drafter_threads: Some(1),
        ..EngineOptions::default()
    };
    let engine = Engine::open(folder, &options)?;
    let report = engine.report();
    assert_eq!((report.target.provider, report.drafter.as_ref().map(|d| d.provider)), (target, Some(drafter)));
    println!("target {:?}, drafter {:?}", report.target.nodes, report.drafter.as_ref().unwrap().nodes);
    let answer = answer(&session(&engine, Drafting::Model), &PROMPT, &greedy())?;
    // The account names what computed this very text.
    let nodes = &answer.account.nodes;
    assert!(nodes.target.contains_key(target.runtime_name()) && nodes.drafter.contains_key(drafter.runtime_name()));
    Ok(answer.tokens)
}
