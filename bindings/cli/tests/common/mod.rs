//! What the tests of the command share: running it, and a folder with a random pair.

#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use drafthorse_graph::fixtures::RandomPair;
use drafthorse_graph::{GraphOptions, Layout, Precision};
use drafthorse_pack::runtime_library;
use serde_json::Value;

/// The command, not yet run, which keeps nothing in the cache of whoever runs the tests.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drafthorse"));
    // The cache is also where the runtime library is looked for.
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        command.envs(runtime_library::path().map(|library| ("ORT_DYLIB_PATH", library)));
    }
    command.env("DRAFTHORSE_CACHE", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// The command with `arguments`, `input` on standard input, and further variables.
pub(crate) fn drafthorse(arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> Output {
    let mut child = command()
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    // The command may end without reading; that is its right.
    let _ = child.stdin.take().expect("input is piped").write_all(input.as_bytes());
    child.wait_with_output().expect("the command ends")
}

/// Every line of JSON that the command printed, after the expected exit code.
pub(crate) fn json_lines(arguments: &[&str], input: &str, code: i32) -> Vec<Value> {
    let output = drafthorse(&[&["--json"], arguments].concat(), input, &[]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    let text = if output.stdout.is_empty() { errors } else { String::from_utf8_lossy(&output.stdout) };
    let values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    values.map(|value| value.unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))).collect()
}

/// The one JSON object that the command printed.
pub(crate) fn json(arguments: &[&str], code: i32) -> Value {
    let mut values = json_lines(arguments, "", code);
    assert_eq!(values.len(), 1, "{arguments:?}: {values:?}");
    values.remove(0)
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// An onnxruntime-genai folder with a random target and drafter.
pub(crate) fn random_pair(folder: &Path) {
    let options = GraphOptions::new(Layout::Shared, Precision::FP32);
    RandomPair::small().unwrap().write_genai(folder, &options).unwrap();
}

/// The demo pack of the repository.
pub(crate) fn demo_pack() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/packs/demo")
}
