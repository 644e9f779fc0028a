//! The Android set-up on this machine's Java, with classes that stand in for Android's.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

#[test]
fn an_app_hands_over_its_folders_and_mistakes_are_exceptions() {
    if Command::new("javac").arg("-version").output().is_err() {
        eprintln!("SKIPPED: there is no javac here, so Android's set-up through JNI was not tested");
        return;
    }
    let (classes, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java");
    let files = ["android/content/Context.java", "android/content/pm/ApplicationInfo.java"];
    let main = "dev/drafthorse/android/Native.java";
    let files = files.into_iter().chain([main]).map(|file| sources.join(file));
    succeeded(Command::new("javac").arg("-d").arg(classes.path()).args(files).output().unwrap());
    let mut java = Command::new("java");
    java.arg("-cp").arg(classes.path()).arg("dev.drafthorse.android.Native").arg(library()).arg(cache.path());
    let printed = succeeded(java.output().unwrap());
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!((lines[0], lines[5]), ("prepared", "prepared again"), "{printed}");
    for (line, start) in lines[1..5].iter().zip(["no context", "no libraries", "no cache", "a cache that is a file"]) {
        let reason = line.strip_prefix(start).and_then(|rest| rest.strip_prefix(": RuntimeException: "));
        assert!(reason.is_some_and(|reason| reason.len() > 5), "{line}");
    }
    assert!(cache.path().join("drafthorse").is_dir());
}

/// The shared library that cargo built for this test.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.with_file_name("libdrafthorse_bindings.so")
}

fn succeeded(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}
