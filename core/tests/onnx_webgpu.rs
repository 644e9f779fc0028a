//! WebGPU against the CPU, over one runtime library that has both: correctness and fall-through, never speed.
//!
//! `DRAFTHORSE_WEBGPU_DYLIB` names the library; without it the tests pass with a note. `cargo xtask test --webgpu` has one.

mod fixture;

use std::path::{Path, PathBuf};
use std::process::Command;

use drafthorse::{Model, ModelOptions, OnnxModel, PlacementReport, Provider, ProviderChoice, TokenId};
use drafthorse_graph::{GraphOptions, Precision};
use fixture::{Fixture, LAYOUTS, difference, score};

const LIBRARY: &str = "DRAFTHORSE_WEBGPU_DYLIB";
/// Set in the process that a test starts to have one without a GPU.
const CHILD: &str = "DRAFTHORSE_TEST_CHILD";

fn library() -> Option<PathBuf> {
    let library = std::env::var_os(LIBRARY).map(PathBuf::from);
    if library.is_none() {
        println!("skipped: {LIBRARY} names no ONNX Runtime library with WebGPU");
    }
    library
}

fn options(fixture: &Fixture, library: PathBuf, providers: &[Provider]) -> ModelOptions {
    let providers = providers.iter().map(|provider| ProviderChoice::from(*provider)).collect();
    ModelOptions { runtime_library: Some(library), providers, ..fixture.options() }
}

/// Opens on the GPU alone; `None` if the proof has found that this library computes the graph wrongly there.
fn open_on_gpu(path: &Path, options: &ModelOptions) -> Option<(OnnxModel, PlacementReport)> {
    match OnnxModel::open(path, options) {
        Ok(opened) => Some(opened),
        Err(error) if error.to_string().contains("differs from single tokens") => {
            println!("refused by the proof: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Greedy text of the model alone, one token per pass.
fn greedy(model: &mut OnnxModel, prompt: &[TokenId], len: usize) -> Vec<TokenId> {
    let argmax = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as TokenId;
    let mut token = argmax(model.prefill(prompt).unwrap().last());
    let mut text = vec![token];
    while text.len() < len {
        token = argmax(model.score(&[token]).unwrap().last());
        text.push(token);
    }
    text
}

#[test]
fn a_gpu_gives_the_reference_rows_and_runs_the_nodes() {
    let Some(library) = library() else { return };
    let fixture = Fixture::tiny();
    let tokens = fixture.tokens(40);
    let expected = fixture.reference(&tokens);
    for layout in [LAYOUTS[0], LAYOUTS[1]] {
        let path = fixture.write(&GraphOptions::new(layout, Precision::FP32));
        let gpu = options(&fixture, library.clone(), &[Provider::WebGpu]);
        let Some((mut model, report)) = open_on_gpu(&path, &gpu) else { continue };
        assert_eq!((report.provider, &report.refused), (Provider::WebGpu, &vec![]));
        println!("{layout:?}: {:?}", report.nodes);
        assert_eq!(report.nodes[0].0, "WebGpuExecutionProvider", "most nodes run on the GPU: {:?}", report.nodes);
        // On a driver whose wide passes are wrong, the proof has limited them.
        for width in [1, 3, 17, 40] {
            model.truncate(0).unwrap();
            let rows: Vec<f32> = tokens.chunks(width).flat_map(|chunk| score(&mut model, chunk)).collect();
            let off = difference(&rows, &expected);
            assert!(off < 2e-3, "{layout:?}, width {width}, chunks of {}: {off}", report.chunk_len);
        }
        model.truncate(20).unwrap();
        score(&mut model, &tokens[30..35]);
        model.truncate(20).unwrap();
        let row = score(&mut model, &tokens[20..21]);
        assert!(difference(&row, &expected[20 * 97..21 * 97]) < 2e-3, "{layout:?}: after a rollback");
    }
}

#[test]
fn greedy_text_is_the_same_on_gpu_and_cpu() {
    let Some(library) = library() else { return };
    let fixture = Fixture::tiny();
    let prompt = fixture.tokens(9);
    let on = |provider| options(&fixture, library.clone(), &[provider]);
    let mut compared = 0;
    for layout in [LAYOUTS[0], LAYOUTS[1]] {
        let path = fixture.write(&GraphOptions::new(layout, Precision::FP32));
        let Some((mut gpu, report)) = open_on_gpu(&path, &on(Provider::WebGpu)) else { continue };
        assert_eq!(report.provider, Provider::WebGpu);
        let mut cpu = OnnxModel::open(&path, &on(Provider::Cpu)).unwrap().0;
        assert_eq!(greedy(&mut gpu, &prompt, 60), greedy(&mut cpu, &prompt, 60), "{layout:?}");
        compared += 1;
    }
    assert!(compared > 0, "the GPU computed no layout right");
}

#[test]
fn a_strict_choice_is_refused_unless_every_node_runs_there() {
    let Some(library) = library() else { return };
    let fixture = Fixture::tiny();
    let mut strict = ProviderChoice::from(Provider::WebGpu);
    strict.strict = true;
    let outcome = |layout| {
        let path = fixture.write(&GraphOptions::new(layout, Precision::FP32));
        let mut options = options(&fixture, library.clone(), &[]);
        options.providers = vec![strict.clone(), Provider::Cpu.into()];
        OnnxModel::open(&path, &options).unwrap().1
    };
    for layout in [LAYOUTS[0], LAYOUTS[1]] {
        let report = outcome(layout);
        println!("strict, {layout:?}: {report:?}");
        match report.provider {
            Provider::WebGpu => assert_eq!(report.nodes.len(), 1, "{report:?}"),
            _ => assert!(!report.refused.is_empty()),
        }
    }
}

/// Runs in a process of its own, because drivers are looked for once.
#[test]
fn without_an_adapter_the_next_choice_is_taken() {
    let Some(library) = library() else { return };
    if std::env::var_os(CHILD).is_none() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "without_an_adapter_the_next_choice_is_taken", "--nocapture"])
            .env(CHILD, "1")
            .env("VK_ICD_FILENAMES", "/nonexistent.json")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        print!("{said}");
        return;
    }
    let fixture = Fixture::tiny();
    let path = fixture.write(&GraphOptions::new(LAYOUTS[0], Precision::FP32));
    let (_, report) = OnnxModel::open(&path, &options(&fixture, library, &[Provider::WebGpu, Provider::Cpu])).unwrap();
    assert_eq!(report.provider, Provider::Cpu);
    let [(Provider::WebGpu, reason)] = &report.refused[..] else { panic!("{report:?}") };
    println!("no adapter: {reason}");
    assert!(reason.contains("adapter"), "{reason}");
}
