//! What an opening finds out once, and when it looks again.

use std::{fs, path::Path, thread, time::Duration};

use drafthorse::{Engine, EngineOptions, Error};
use drafthorse_tests::demo_pack;

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
