//! Nothing outside the folder is opened, and absurd files end in an error and not in a large allocation.

mod fixture;

use std::{fs, path::Path};

use drafthorse_pack::{Error, Header, OpenOptions, open};
use fixture::*;
use prost::Message;
use serde_json::json;

#[test]
fn paths_that_leave_the_folder_are_refused() {
    for filename in ["../model.onnx", "/etc/passwd", "a/../../model.onnx", "..\\model.onnx", "C:\\model.onnx", "C:x"] {
        let folder = Fixture::genai_with(|config| config["model"]["decoder"]["filename"] = json!(filename));
        let error = folder.open().unwrap_err();
        let Error::OutsideFolder { field, target, .. } = &error else { panic!("{filename}: {error}") };
        assert_eq!((field.as_str(), target.as_str()), ("model.decoder.filename", filename));
    }
}

#[test]
fn external_data_that_leave_the_folder_are_refused() {
    for location in ["../secret", "/etc/passwd", "a/../../secret"] {
        let folder = Fixture::genai();
        let mut graph = graph(VOCAB);
        graph.initializer = vec![external("a", location, 0, 4)];
        write_graph(&folder.file("model.onnx"), graph);
        let error = folder.open().unwrap_err();
        assert!(matches!(&error, Error::OutsideFolder { target, .. } if target == location), "{location}: {error}");
    }
}

#[test]
fn a_parent_is_allowed_only_into_an_allowed_root() {
    let parent = Fixture::empty();
    let target = parent.file("target");
    let composite = parent.file("composite");
    fs::create_dir(&target).unwrap();
    fs::create_dir(&composite).unwrap();
    write_model(&target.join("model.onnx"), VOCAB);
    write_tokenizer(&composite);
    let mut config = genai_config();
    config["model"]["decoder"]["filename"] = json!("../target/model.onnx");
    write_json(&composite.join("genai_config.json"), &config);
    assert!(matches!(open(&composite, &OpenOptions::default()), Err(Error::OutsideFolder { .. })));
    let with = |root: &Path| open(&composite, &OpenOptions { allowed_roots: vec![root.into()], ..Default::default() });
    assert!(with(&target).is_ok());
    let elsewhere = Fixture::empty();
    assert!(matches!(with(elsewhere.path()), Err(Error::OutsideFolder { .. })));
}

#[cfg(unix)]
mod links {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_out_of_the_folder_is_refused() {
        for name in ["model.onnx", "model.onnx.data", "tokenizer.json", "genai_config.json", "tokenizer_config.json"] {
            let folder = Fixture::genai();
            let outside = Fixture::empty();
            fs::rename(folder.file(name), outside.file(name)).unwrap();
            symlink(outside.file(name), folder.file(name)).unwrap();
            let error = folder.open().unwrap_err();
            assert!(matches!(&error, Error::OutsideFolder { .. }), "{name}: {error}");
            assert!(error.to_string().contains("leaves the folder"), "{error}");
        }
    }

    #[test]
    fn a_link_within_the_folder_is_followed() {
        let folder = Fixture::genai();
        fs::rename(folder.file("model.onnx.data"), folder.file("weights")).unwrap();
        symlink("weights", folder.file("model.onnx.data")).unwrap();
        folder.open().unwrap();
    }

    #[test]
    fn a_linked_folder_opens() {
        let folder = Fixture::genai();
        let elsewhere = Fixture::empty();
        symlink(folder.path(), elsewhere.file("link")).unwrap();
        open(&elsewhere.file("link"), &OpenOptions::default()).unwrap();
    }

    #[test]
    fn a_hub_cache_opens_once_its_repository_is_allowed() {
        let cache = Fixture::empty();
        let repository = cache.file("models--x--y");
        let snapshot = repository.join("snapshots/0123");
        fs::create_dir_all(repository.join("blobs")).unwrap();
        fs::create_dir_all(&snapshot).unwrap();
        let source = Fixture::genai();
        for entry in fs::read_dir(source.path()).unwrap() {
            let name = entry.unwrap().file_name();
            let blob = repository.join("blobs").join(format!("sha-{}", name.display()));
            fs::copy(source.path().join(&name), &blob).unwrap();
            symlink(Path::new("../../blobs").join(blob.file_name().unwrap()), snapshot.join(&name)).unwrap();
        }
        let error = open(&snapshot, &OpenOptions::default()).unwrap_err();
        assert!(error.to_string().contains("Hugging Face hub cache"), "{error}");
        let options = OpenOptions { allowed_roots: vec![repository], ..OpenOptions::default() };
        let opened = open(&snapshot, &options).unwrap();
        assert_eq!(opened.target.path, snapshot.join("model.onnx"), "sessions find external data beside the link");
    }

    #[test]
    fn a_dangling_link_and_a_pipe_are_refused() {
        let folder = Fixture::genai();
        fs::remove_file(folder.file("tokenizer.json")).unwrap();
        symlink("nowhere", folder.file("tokenizer.json")).unwrap();
        assert!(matches!(folder.open(), Err(Error::Io { .. })));
        fs::remove_file(folder.file("tokenizer.json")).unwrap();
        fs::create_dir(folder.file("tokenizer.json")).unwrap();
        assert!(folder.open().unwrap_err().to_string().contains("not a regular file"));
    }
}

#[test]
fn truncated_external_data_are_refused() {
    let folder = Fixture::genai();
    fs::write(folder.file("model.onnx.data"), vec![0; EXTERNAL_BYTES as usize - 1]).unwrap();
    let error = folder.open().unwrap_err();
    let Error::Truncated { bytes, bytes_needed, .. } = error else { panic!("{error}") };
    assert_eq!((bytes, bytes_needed), (EXTERNAL_BYTES - 1, EXTERNAL_BYTES));
}

#[test]
fn absurd_tensors_are_refused() {
    let refused = |edit: fn(&mut drafthorse_pack::onnx::TensorProto)| {
        let folder = Fixture::genai();
        let mut graph = graph(VOCAB);
        let mut tensor = external("weight", "model.onnx.data", 0, 64);
        edit(&mut tensor);
        graph.initializer = vec![tensor];
        write_graph(&folder.file("model.onnx"), graph);
        folder.open().unwrap_err()
    };
    let error = refused(|tensor| tensor.dims = vec![i64::MAX, i64::MAX]);
    assert!(error.to_string().contains("absurd shape"), "{error}");
    let error = refused(|tensor| tensor.dims = vec![-1]);
    assert!(error.to_string().contains("absurd shape"), "{error}");
    let error = refused(|tensor| tensor.data_type = 99);
    assert!(error.to_string().contains("unknown type"), "{error}");
    let error = refused(|tensor| tensor.dims = vec![17]);
    assert!(error.to_string().contains("needs 68 bytes, its entry gives it 64"), "{error}");
    let error = refused(|tensor| tensor.external_data.clear());
    assert!(error.to_string().contains("names no file"), "{error}");
    let error = refused(|tensor| tensor.external_data[1].value = u64::MAX.to_string());
    assert!(error.to_string().contains("beyond any file"), "{error}");
    let error = refused(|tensor| tensor.external_data[2].value = "-4".into());
    assert!(error.to_string().contains("is no number"), "{error}");
}

#[test]
fn weights_within_the_file_are_passed_over() {
    let folder = Fixture::genai();
    let mut graph = graph(VOCAB);
    graph.initializer = vec![drafthorse_pack::onnx::TensorProto {
        name: "weight".into(),
        data_type: F32,
        dims: vec![1 << 20],
        raw_data: Some(vec![0; 4 << 20].into()),
        ..Default::default()
    }];
    // Before IR version 4 an initialiser was also an input.
    graph.input.push(value("weight", F32, &[Fixed(1 << 20)]));
    write_graph(&folder.file("model.onnx"), graph);
    let header = folder.open().unwrap().target.header;
    assert_eq!((header.embedded_bytes, header.initialisers), (4 << 20, 1));
    assert!(header.input("weight").is_none());
}

#[test]
fn a_graph_cut_anywhere_is_an_error() {
    let folder = Fixture::genai();
    let path = folder.file("model.onnx");
    let bytes = fs::read(&path).unwrap();
    let whole = Header::read(&path).unwrap();
    for len in 0..bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        match Header::read(&path) {
            Err(Error::Onnx { offset, .. }) => assert!(offset <= len as u64),
            // A cut between two fields leaves a shorter file that is sound.
            Ok(header) => assert_ne!(header, whole),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn graphs_nested_without_end_are_refused() {
    let mut graph = graph(VOCAB);
    for _ in 0..40 {
        let attribute =
            drafthorse_pack::onnx::AttributeProto { name: "body".into(), g: Some(graph), ..Default::default() };
        graph = drafthorse_pack::onnx::GraphProto {
            node: vec![drafthorse_pack::onnx::NodeProto { attribute: vec![attribute], ..node("If", "") }],
            ..Default::default()
        };
    }
    let folder = Fixture::empty();
    fs::write(folder.file("model.onnx"), model(graph).encode_to_vec()).unwrap();
    assert!(Header::read(&folder.file("model.onnx")).unwrap_err().to_string().contains("deep"));
}

#[test]
fn files_of_absurd_size_are_refused_unread() {
    for (name, bytes) in [
        ("tokenizer.json", 65_u64 << 20),
        ("tokenizer_config.json", 9 << 20),
        ("genai_config.json", 9 << 20),
        ("model.onnx", 3 << 30),
    ] {
        let folder = Fixture::genai();
        // A sparse file: it takes no room on disk.
        fs::File::options().write(true).open(folder.file(name)).unwrap().set_len(bytes).unwrap();
        let error = folder.open().unwrap_err();
        assert!(matches!(&error, Error::TooLarge { bytes: found, .. } if *found == bytes), "{name}: {error}");
    }
}
