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
