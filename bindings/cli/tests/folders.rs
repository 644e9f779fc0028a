//! The commands about folders, run as a person runs them: inspect, pack, verify.

mod common;

use common::{drafthorse, json, random_pair, text};
use drafthorse_graph::fixtures::{RandomPair, hugging_face_variants};

#[test]
fn a_pack_is_assembled_inspected_and_verified() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("genai");
    random_pair(&source);
    let pack = folder.path().join("pack");
    let drafter = source.join("drafter.onnx");
    json(&["pack", "--target", text(&source), "--drafter", text(&drafter), "-o", text(&pack)], 0);

    let found = json(&["inspect", text(&pack), "--files-only"], 0);
    assert_eq!(found["kind"], "pack");
    assert_eq!(found["target"]["cache_layout"], "shared buffer");
    // Two layers of keys and values, two heads of sixteen numbers, four bytes each.
    assert_eq!(found["target"]["cache_bytes_per_token"], 2 * 2 * 2 * 16 * 4);
    assert_eq!(found["drafter"]["layers"], 1);
    assert_eq!(json(&["verify", text(&pack)], 0)["intact"], true);

    let model = pack.join("model.onnx");
    let mut bytes = std::fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&model, bytes).unwrap();
    let found = json(&["verify", text(&pack)], 3);
    assert_eq!(found["intact"], false);
    assert_eq!(found["changed"][0]["path"], "model.onnx");
}

#[test]
fn a_hugging_face_folder_asks_for_its_variant() {
    let folder = tempfile::tempdir().unwrap();
    RandomPair::small().unwrap().write_hugging_face(folder.path(), &hugging_face_variants()).unwrap();
    let refusal = json(&["inspect", text(folder.path())], 3);
    assert!(refusal["error"].as_str().unwrap().contains("q4f16"), "{refusal}");
    assert!(refusal["help"].as_str().unwrap().contains("--variant"), "{refusal}");
    let found = json(&["inspect", text(folder.path()), "--variant", "q4f16", "--files-only"], 0);
    assert_eq!(found["target"]["cache"], "f16");
}

#[test]
fn a_taken_place_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("genai");
    random_pair(&source);
    let refusal = json(&["pack", "--target", text(&source), "--drafter", text(&source), "-o", text(&source)], 3);
    assert!(refusal["error"].as_str().unwrap().contains("exists already"), "{refusal}");
    assert!(source.join("model.onnx").is_file());
}

#[test]
fn what_is_no_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(json(&["inspect", text(folder.path())], 3)["where"], text(folder.path()));
    assert_eq!(json(&["verify", text(&folder.path().join("absent"))], 3)["exit_code"], 3);
    assert_eq!(drafthorse(&["inspect"], "", &[]).status.code(), Some(2), "an argument is missing");
}

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = drafthorse(&["completions", shell], "", &[]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("inspect"), "{shell}");
    }
}
