//! What an opening finds out once, and when it looks again; what fits into memory.

use std::{fs, path::Path, thread, time::Duration};

use drafthorse::{Engine, EngineOptions, Error};
use drafthorse_graph::{
    GraphOptions,
    fixtures::{LAYOUTS, PRECISIONS, RandomPair},
};
use drafthorse_tests::{demo_pack, edit, open, random_pack};
use serde_json::json;
use tempfile::TempDir;

fn remembered(cache_folder: &Path) -> usize {
    let names = fs::read_dir(cache_folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("intact-")).count()
}

#[test]
#[cfg(unix)]
fn a_pack_found_intact_is_read_again_once_somebody_has_changed_it() {
    let (pack, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for entry in fs::read_dir(demo_pack()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), pack.path().join(entry.file_name())).unwrap();
    }
    let options = EngineOptions {
        target_threads: Some(1),
        drafter_threads: Some(1),
        cache_folder: Some(cache.path().to_owned()),
        ..EngineOptions::default()
    };
    // Files as new as these may change once more without another time of change.
    Engine::open(pack.path(), &options).unwrap();
    assert_eq!(remembered(cache.path()), 0);
    thread::sleep(Duration::from_millis(2100));
    for _ in 0..2 {
        Engine::open(pack.path(), &options).unwrap();
        assert_eq!(remembered(cache.path()), 1);
    }

    let weights = pack.path().join("model.onnx.data");
    let modified = weights.metadata().unwrap().modified().unwrap();
    let mut bytes = fs::read(&weights).unwrap();
    bytes[1000] ^= 1;
    fs::write(&weights, bytes).unwrap();
    fs::File::options().write(true).open(&weights).unwrap().set_modified(modified).unwrap();
    for wait in [0, 2100] {
        thread::sleep(Duration::from_millis(wait));
        let error = Engine::open(pack.path(), &options).err().unwrap();
        assert!(matches!(&error, Error::Pack(pack) if pack.to_string().contains("model.onnx.data")), "{error}");
    }
}

#[test]
fn memory_is_refused_with_its_numbers_and_a_drafter_can_be_left_out() {
    for (name, layout) in LAYOUTS {
        println!("{name}");
        within_memory(&random_pack(&RandomPair::small().unwrap(), &GraphOptions::new(layout, PRECISIONS[0].1)));
    }
}

fn within_memory(folder: &TempDir) {
    let engine = open(folder.path());
    let per_token = engine.report().cache_bytes / engine.report().context_len as u64;
    let asked =
        |budget: u64| EngineOptions { context_len: Some(100), cache_bytes_max: budget, ..EngineOptions::default() };
    let Err(Error::OutOfMemory { needed_bytes, allowed_bytes, tokens }) = Engine::open(folder.path(), &asked(1000))
    else {
        panic!("a context that cannot fit was opened")
    };
    assert_eq!((needed_bytes, allowed_bytes, tokens), (100 * per_token, 1000, 100));
    let tight = Engine::open(folder.path(), &asked(100 * per_token - 1)).unwrap();
    assert!(tight.report().drafter.is_none() && tight.report().drafter_missing.is_some());
    assert_eq!(tight.report().context_len, 100);
    // More than the model was made for is refused.
    let beyond = EngineOptions { context_len: Some(257), ..EngineOptions::default() };
    assert!(matches!(Engine::open(folder.path(), &beyond), Err(Error::InvalidOption { option: "context_len", .. })));
    // Without a wish it is the context that gives way, as long as enough is left to answer in.
    edit(folder.path(), "genai_config.json", |config| config["model"]["context_length"] = json!(2000)).unwrap();
    let free = |budget: u64| EngineOptions { cache_bytes_max: budget, ..EngineOptions::default() };
    let shrunk = Engine::open(folder.path(), &free(300 * per_token)).unwrap();
    assert_eq!((shrunk.report().context_len, shrunk.report().cache_bytes), (300, 300 * per_token));
    assert!(shrunk.report().drafter.is_some());
    let alone = Engine::open(folder.path(), &free(256 * per_token - 1)).unwrap();
    assert!(alone.report().drafter_missing.is_some() && alone.report().context_len >= 256);
    let Err(Error::OutOfMemory { needed_bytes, tokens, .. }) = Engine::open(folder.path(), &free(6 * per_token)) else {
        panic!("a context of six tokens was opened")
    };
    assert_eq!((needed_bytes, tokens), (256 * per_token, 256));
    // Where the folder names no length, what is asked for is what is given.
    edit(folder.path(), "genai_config.json", |config| config["model"]["context_length"] = json!(null)).unwrap();
    let long = EngineOptions { context_len: Some(5000), ..EngineOptions::default() };
    assert_eq!(Engine::open(folder.path(), &long).unwrap().report().context_len, 5000);
}
