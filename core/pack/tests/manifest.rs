//! Manifests: digests, lengths, versions, and files that are changed, missing or extra.

mod fixture;

use std::{fs, ops::ControlFlow};

use drafthorse_pack::{
    Acceptance, DrafterRecord, Error, FORMAT_VERSION, FolderKind, IdMap, MANIFEST_FILE, Manifest, Progress,
    digest_file, model_digest, verify, write_manifest,
};
use fixture::*;
use serde_json::{Value, json};

fn on(_: Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A genai folder with a manifest.
fn pack() -> Fixture {
    let folder = Fixture::genai();
    write_manifest(folder.path(), Manifest::new("test"), &mut on).unwrap();
    folder
}

fn edit_manifest(folder: &Fixture, edit: impl FnOnce(&mut Value)) {
    let path = folder.file(MANIFEST_FILE);
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut manifest);
    write_json(&path, &manifest);
}

#[test]
fn a_pack_opens_and_is_intact() {
    let folder = pack();
    let opened = folder.open().unwrap();
    assert_eq!(opened.kind, FolderKind::Pack);
    let report = opened.check_digests(&mut on).unwrap().unwrap();
    assert_eq!((report.intact, report.is_intact(), report.extra.len()), (5, true, 0));
    assert_eq!(verify(folder.path(), &mut on).unwrap(), report);
    assert_eq!(opened.target_digest(), Some(model_digest(&opened.target, &mut on).unwrap()));
    // Without a manifest there is nothing to compare with.
    assert_eq!(Fixture::genai().open().unwrap().check_digests(&mut on).unwrap(), None);
}

#[test]
fn a_digest_is_that_of_the_standard() {
    let folder = Fixture::empty();
    fs::write(folder.file("abc"), "abc").unwrap();
    // FIPS 180-2, appendix B.1.
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let digest = digest_file(&folder.file("abc"), &mut on).unwrap();
    assert_eq!((digest.bytes, digest.sha256.as_str()), (3, expected));
}

#[test]
fn changed_missing_and_extra_files_are_named() {
    let folder = pack();
    fs::write(folder.file("model.onnx.data"), vec![8; EXTERNAL_BYTES as usize]).unwrap();
    fs::write(folder.file("note.txt"), "x").unwrap();
    edit_manifest(&folder, |manifest| {
        manifest["files"]["gone.bin"] = json!({ "bytes": 1, "sha256": "0".repeat(64) });
    });
    let report = verify(folder.path(), &mut on).unwrap();
    assert!(!report.is_intact());
    assert_eq!(report.changed[0].path, "model.onnx.data");
    assert!(report.changed[0].reason.contains("SHA-256"), "same length: {}", report.changed[0].reason);
    assert_eq!((report.missing, report.extra), (vec!["gone.bin".to_owned()], vec!["note.txt".to_owned()]));

    // Opening is allowed, running is not.
    let error = folder.open().unwrap().check_digests(&mut on).unwrap_err();
    assert!(matches!(&error, Error::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("changed: model.onnx.data"), "{error}");
}

#[test]
fn a_changed_length_is_found_without_reading() {
    let folder = pack();
    fs::write(folder.file("model.onnx.data"), vec![7; EXTERNAL_BYTES as usize + 1]).unwrap();
    let error = folder.open().unwrap_err();
    assert!(matches!(&error, Error::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("257 bytes, recorded 256"), "{error}");
}

#[test]
fn a_file_that_would_be_used_must_be_listed() {
    for name in ["chat_template.jinja", "generation_config.json"] {
        let folder = pack();
        fs::write(folder.file(name), "{}").unwrap();
        let error = folder.open().unwrap_err();
        assert!(error.to_string().contains(&format!("not listed in drafthorse.json: {name}")), "{error}");
    }
}

#[test]
fn a_later_format_is_refused() {
    let folder = pack();
    // Other types elsewhere do not matter: the version decides.
    edit_manifest(&folder, |manifest| *manifest = json!({ "format_version": FORMAT_VERSION + 1, "files": [] }));
    let error = folder.open().unwrap_err();
    assert!(matches!(error, Error::Version { version: 2, version_max: FORMAT_VERSION, .. }), "{error}");
}

#[test]
fn keys_of_later_versions_survive() {
    let folder = pack();
    edit_manifest(&folder, |manifest| manifest["novelty"] = json!([1, 2]));
    let manifest = folder.open().unwrap().manifest.unwrap();
    assert_eq!(manifest.extra["novelty"], json!([1, 2]));
}

#[test]
fn bad_manifests_are_refused() {
    type Case = (fn(&mut Value), &'static str);
    let cases: [Case; 8] = [
        (|m| *m = json!([]), "must be an object, is a list"),
        (|m| drop(m.as_object_mut().unwrap().remove("files")), "files"),
        (|m| m["format_version"] = json!(0), "the first is 1"),
        (|m| m["files"]["../x"] = json!({ "bytes": 1, "sha256": "0".repeat(64) }), "leaves the pack"),
        (|m| m["files"]["/x"] = json!({ "bytes": 1, "sha256": "0".repeat(64) }), "relative path"),
        (|m| m["files"]["x"] = json!({ "bytes": 1, "sha256": "0".repeat(63) }), "hexadecimal"),
        (|m| m["files"]["x"] = json!({ "bytes": -1, "sha256": "0".repeat(64) }), "invalid value"),
        (
            |m| m["acceptance"] = json!([{ "task": "t", "temperature": 0.0, "draft_len": 4, "acceptance": 1.5 }]),
            "share",
        ),
    ];
    for (edit, reason) in cases {
        let folder = pack();
        edit_manifest(&folder, edit);
        let error = folder.open().unwrap_err();
        assert!(error.to_string().contains(reason), "{reason}: {error}");
    }
    let folder = pack();
    fs::write(folder.file(MANIFEST_FILE), "{").unwrap();
    assert!(matches!(folder.open(), Err(Error::Malformed { .. })));
    let no_config = pack();
    fs::remove_file(no_config.file("genai_config.json")).unwrap();
    assert!(matches!(no_config.open(), Err(Error::Missing { file, .. }) if file == "genai_config.json"));
}

#[test]
fn nothing_is_written_of_what_cannot_be_read() {
    let folder = pack();
    let before = fs::read(folder.file(MANIFEST_FILE)).unwrap();
    let measured = Acceptance { task: "t".into(), acceptance: f64::NAN, ..Acceptance::default() };
    let manifest = Manifest { acceptance: vec![measured], ..Manifest::new("test") };
    assert!(matches!(write_manifest(folder.path(), manifest, &mut on), Err(Error::Malformed { .. })));
    let cancelled = write_manifest(folder.path(), Manifest::new("test"), &mut |_| ControlFlow::Break(()));
    assert!(matches!(cancelled, Err(Error::Cancelled)));
    assert_eq!(fs::read(folder.file(MANIFEST_FILE)).unwrap(), before);
    assert!(
        !fs::read_dir(folder.path())
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().contains("partial") })
    );
}

#[test]
fn a_check_reports_progress_and_can_be_cancelled() {
    let folder = pack();
    let opened = folder.open().unwrap();
    let mut last = (0, 0);
    opened
        .check_digests(&mut |progress| {
            assert!(progress.bytes_done > last.0);
            last = (progress.bytes_done, progress.bytes_total);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(last.0, last.1);
    assert!(matches!(opened.check_digests(&mut |_| ControlFlow::Break(())), Err(Error::Cancelled)));
}

#[test]
fn an_id_map_must_fit_both_models() {
    let folder = Fixture::genai_with(|config| config["model"]["draft"] = decoder("drafter.onnx"));
    write_model(&folder.file("drafter.onnx"), 3);
    let open = |ids: Vec<u32>| {
        fs::write(folder.file("drafter_ids.json"), IdMap::new(ids).unwrap().to_json()).unwrap();
        let record = DrafterRecord { id_map: Some("drafter_ids.json".into()), ..DrafterRecord::default() };
        let manifest = Manifest { drafter: Some(record), ..Manifest::new("test") };
        write_manifest(folder.path(), manifest, &mut on).unwrap();
        folder.open()
    };
    let opened = open(vec![5, 0, 15]).unwrap();
    assert_eq!(opened.drafter.unwrap().id_map.unwrap().target_ids(), [5, 0, 15]);
    let error = open(vec![5, 0]).unwrap_err();
    assert!(error.to_string().contains("3 wide, its id map has 2 entries"), "{error}");
    let error = open(vec![5, 0, 16]).unwrap_err();
    assert!(error.to_string().contains("names token 16"), "{error}");
    assert!(IdMap::new(vec![1, 1]).is_err() && IdMap::new(vec![]).is_err());

    fs::write(folder.file("drafter_ids.json"), "{\"format_version\":2,\"target_ids\":[]}").unwrap();
    assert!(matches!(IdMap::read(&folder.file("drafter_ids.json")), Err(Error::Version { .. })));
}

#[test]
fn a_narrow_drafter_needs_an_id_map() {
    let folder = Fixture::genai_with(|config| config["model"]["draft"] = decoder("drafter.onnx"));
    write_model(&folder.file("drafter.onnx"), VOCAB - 1);
    let error = folder.open().unwrap_err();
    assert!(error.to_string().contains("15 wide, the tokenizer has 16 tokens"), "{error}");
    // Only padding is left out here: the tokenizer ends before either width.
    write_model(&folder.file("model.onnx"), VOCAB + 64);
    write_model(&folder.file("drafter.onnx"), VOCAB);
    folder.open().unwrap();
}
