//! Which provider a model ends on, and what is said about the others; with the plain library, which has only the CPU.

mod fixture;

use std::fs;
use std::path::Path;

use drafthorse::{CacheLayout, Error, ModelOptions, OnnxModel, Provider, ProviderChoice};
use drafthorse_graph::{GraphOptions, Layout, Precision};
use fixture::{Fixture, LAYOUTS, open};

fn refusal(path: &Path, options: &ModelOptions) -> String {
    match OnnxModel::open(path, options) {
        Err(error @ Error::ExecutionProvider { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn falls_through_to_the_cpu_and_says_why() {
    let fixture = Fixture::tiny();
    let path = fixture.write(&GraphOptions::new(Layout::Shared, Precision::FP32));
    let providers: Vec<ProviderChoice> = [Provider::Qnn, Provider::CoreMl, Provider::Cpu].map(Into::into).to_vec();
    let (_, report) = OnnxModel::open(&path, &ModelOptions { providers, ..fixture.options() }).unwrap();
    assert_eq!(report.provider, Provider::Cpu);
    assert_eq!(report.layout, CacheLayout::Shared);
    let refused: Vec<_> = report.refused.iter().map(|(provider, _)| *provider).collect();
    assert_eq!(refused, [Provider::Qnn, Provider::CoreMl]);
    for (provider, reason) in &report.refused {
        assert!(reason.contains("does not contain it") || reason.contains("cargo feature"), "{provider}: {reason}");
    }
    let [(name, nodes)] = &report.nodes[..] else { panic!("{:?}", report.nodes) };
    assert_eq!(name, "CPUExecutionProvider");
    assert!(*nodes > 20, "two layers have more than {nodes} operators");
}

#[test]
fn without_a_fallback_every_refusal_is_in_the_error() {
    let fixture = Fixture::tiny();
    let path = fixture.write(&GraphOptions::new(Layout::Shared, Precision::FP32));
    let providers: Vec<ProviderChoice> = [Provider::Qnn, Provider::Nnapi].map(Into::into).to_vec();
    let said = refusal(&path, &ModelOptions { providers, role: "drafter", ..fixture.options() });
    assert!(said.contains("drafter") && said.contains("qnn: ") && said.contains("nnapi: "), "{said}");
}

#[test]
fn a_plug_in_that_is_not_there_is_refused() {
    let fixture = Fixture::tiny();
    let path = fixture.write(&GraphOptions::new(Layout::Shared, Precision::FP32));
    let mut choice = ProviderChoice::from(Provider::WebGpu);
    choice.library = Some(fixture.path().with_file_name("libmissing.so"));
    let options = ModelOptions { providers: vec![choice, Provider::Cpu.into()], ..fixture.options() };
    let (_, report) = OnnxModel::open(&path, &options).unwrap();
    assert!(report.refused[0].1.contains("libmissing.so"), "{:?}", report.refused);
}

#[test]
fn a_session_that_computes_nonsense_is_refused() {
    let mut fixture = Fixture::tiny();
    // Sums of such products overflow.
    fixture.weights.final_norm.fill(1e3);
    fixture.weights.head.as_mut().unwrap().fill(f32::MAX);
    for layout in LAYOUTS {
        let said = refusal(&fixture.write(&GraphOptions::new(layout, Precision::FP32)), &fixture.options());
        assert!(said.contains("of the first pass is"), "{said}");
    }
}

/// A growing graph bound as a shared one builds a session whose first pass fails.
#[test]
fn a_session_that_builds_and_fails_to_run_is_refused() {
    let fixture = Fixture::tiny();
    let path = fixture.write(&GraphOptions::new(LAYOUTS[1], Precision::FP32));
    assert_eq!(open(&path, &fixture.options()).layout(), CacheLayout::Growing);
    let options = ModelOptions { layout: Some(CacheLayout::Shared), ..fixture.options() };
    let said = refusal(&path, &options);
    assert!(said.contains("failed to run the model"), "{said}");
}

#[test]
fn files_that_are_no_models_are_errors() {
    let fixture = Fixture::tiny();
    let missing = OnnxModel::open(&fixture.path(), &fixture.options()).unwrap_err();
    assert!(matches!(missing, Error::UnsupportedGraph { .. }), "{missing}");
    for bytes in [&b""[..], b"not a model", &[0xff; 4096]] {
        fs::write(fixture.path(), bytes).unwrap();
        let said = refusal(&fixture.path(), &fixture.options());
        assert!(said.contains("failed to build the session"), "{said}");
    }
}

#[test]
fn one_library_per_process_and_a_missing_one_says_what_to_do() {
    let fixture = Fixture::tiny();
    let path = fixture.write(&GraphOptions::new(Layout::Shared, Precision::FP32));
    open(&path, &fixture.options());
    let other = fixture.path().with_file_name("libother.so");
    let options = ModelOptions { runtime_library: Some(other.clone()), ..fixture.options() };
    let error = OnnxModel::open(&path, &options).unwrap_err();
    assert!(matches!(error, Error::RuntimeLibrary { .. }), "{error}");
    assert!(error.to_string().contains("cargo xtask setup"), "{error}");
    fs::write(&other, b"no library").unwrap();
    let error = OnnxModel::open(&path, &options).unwrap_err();
    assert!(error.to_string().contains("one library per process"), "{error}");
}

#[test]
fn options_of_the_provider_are_checked() {
    let fixture = Fixture::tiny();
    let path = fixture.write(&GraphOptions::new(Layout::Shared, Precision::FP32));
    let with = |key: &str, value: &str| {
        let mut choice = ProviderChoice::from(Provider::Cpu);
        choice.options.push((key.to_owned(), value.to_owned()));
        ModelOptions { providers: vec![choice], ..fixture.options() }
    };
    open(&path, &with("use_arena", "0"));
    assert!(refusal(&path, &with("arena", "0")).contains("use_arena"));
}
