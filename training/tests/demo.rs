//! The whole way of a drafter, with a fraction of the demonstration's steps.

use burn::tensor::Device;
use drafthorse_training::demo::demo;

#[test]
fn the_whole_way_ends_in_a_pack_and_can_be_run_again() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("tiny");
    let outcome = demo(&out, 40, &Device::flex()).unwrap();
    assert_eq!(outcome.comparison.len(), 4, "two tasks, greedy and sampled");
    let pack = drafthorse_pack::open(&outcome.pack, &drafthorse_pack::OpenOptions::default()).unwrap();
    let manifest = pack.manifest.unwrap();
    assert_eq!(manifest.acceptance.len(), 8, "two tasks, two temperatures, two draft lengths");
    assert!(std::fs::read_to_string(outcome.table).unwrap().contains("distilled"));
}

#[test]
fn without_the_runtime_nothing_is_trained() {
    let root = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_drafthorse-train"));
    command.args(["demo", "--out", "tiny"]).current_dir(root.path()).env("ORT_DYLIB_PATH", "missing/library");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("cargo xtask setup"), "{said}");
    assert_eq!(std::fs::read_dir(root.path().join("tiny")).unwrap().count(), 0, "{said}");
}
