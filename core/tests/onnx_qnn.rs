//! QNN as a plug-in of the runtime: what its sessions claim, and what really runs.
//!
//! `DRAFTHORSE_QNN_LIBRARY` names the plug-in (from PyPI's onnxruntime-qnn); without it the test passes with a note.

mod fixture;

use drafthorse::{ModelOptions, OnnxModel, Provider, ProviderChoice};
use drafthorse_graph::{GraphOptions, Precision};
use fixture::{Fixture, LAYOUTS, difference, score};

const LIBRARY: &str = "DRAFTHORSE_QNN_LIBRARY";

/// With a backend that is not there a session is built, lists QNN among its providers, and runs every node on the CPU.
#[test]
fn a_provider_that_is_listed_and_runs_nothing_is_refused() {
    let Some(library) = std::env::var_os(LIBRARY) else {
        println!("skipped: {LIBRARY} names no QNN plug-in");
        return;
    };
    let fixture = Fixture::tiny();
    let tokens = fixture.tokens(30);
    let expected = fixture.reference(&tokens);
    for layout in LAYOUTS {
        let path = fixture.write(&GraphOptions::new(layout, Precision::FP32));
        for backend in ["cpu", "htp"] {
            let mut choice = ProviderChoice::from(Provider::Qnn);
            choice.library = Some(library.clone().into());
            choice.options.push(("backend_type".to_owned(), backend.to_owned()));
            let options = ModelOptions { providers: vec![choice, Provider::Cpu.into()], ..fixture.options() };
            let (mut model, report) = OnnxModel::open(&path, &options).unwrap();
            println!(
                "{layout:?}, backend {backend}: {} with {:?}; refused {:?}",
                report.provider, report.nodes, report.refused
            );
            let on_qnn = report.nodes.iter().any(|(name, _)| name == Provider::Qnn.runtime_name());
            assert_eq!(report.provider == Provider::Qnn, on_qnn, "the report names what really computes");
            if backend == "cpu" {
                assert_eq!(report.provider, Provider::Cpu);
                assert!(report.refused[0].1.contains("none of its"), "{:?}", report.refused);
            }
            assert!(difference(&score(&mut model, &tokens), &expected) < 0.05);
        }
    }
}
