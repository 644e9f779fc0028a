//! `cargo xtask kotlin`: the Kotlin library on this machine's JVM, against the real Rust library and the demo pack.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::bindings::{self, Build};
use crate::{cargo, runtime};

/// Compiles and tests all of `android/` that needs neither Gradle nor a device; `goals` are Maven's, `test` if there
/// are none.
///
/// # Errors
/// If Java or Maven is missing, something does not build, or a test fails.
pub(crate) fn test(goals: &[&str]) -> Result<()> {
    maven(if goals.is_empty() { &["test"] } else { goals }, Build::Debug)
}

/// The same after `cargo test --workspace`, if Java and Maven are there; says so if not.
///
/// # Errors
/// As [`test()`], but for missing tools.
pub(crate) fn test_if_present() -> Result<()> {
    match missing() {
        None => maven(&["test"], Build::Workspace),
        Some(tool) => {
            eprintln!("SKIPPED: the Kotlin tests; there is no {tool} here. `cargo xtask kotlin` says what they need.");
            Ok(())
        }
    }
}

/// Measures what a streamed token costs at the border.
///
/// # Errors
/// As [`test()`].
pub(crate) fn measure_border() -> Result<()> {
    let one_test = ["test", "--projects", "ffi,sdk", "-Dtest=BorderCost", "-Dsurefire.failIfNoSpecifiedTests=false"];
    // With assertions on, as tests have them, coroutines rename their thread at every switch.
    maven(&[&one_test[..], &["-DenableAssertions=false"]].concat(), Build::Mobile)
}

/// Builds what the tests run, writes the Kotlin that calls the library, and runs Maven over `android/`.
fn maven(goals: &[&str], build: Build) -> Result<()> {
    if let Some(tool) = missing() {
        bail!(
            "there is no {tool} here; the Kotlin library needs Java 17 and Maven (Debian: openjdk-17-jdk-headless, maven)"
        );
    }
    let runtime_library = runtime::place_for_host()?;
    let written = bindings::write("kotlin", None, build)?;

    let mut maven = Command::new("mvn");
    maven.current_dir(cargo::workspace().join("android"));
    maven.args(["--batch-mode", "--no-transfer-progress", "--quiet"]);
    maven.arg(property("drafthorse.generated", &written.sources));
    maven.arg(property("drafthorse.library", &written.libraries));
    maven.arg(property("drafthorse.command", &written.libraries.join("drafthorse")));
    maven.env("ORT_DYLIB_PATH", runtime_library);
    // A class whose source is gone would stay, and pass for a part of the public API.
    maven.arg("clean").args(goals);
    cargo::run(maven)
}

/// The tool that is missing, if one is.
fn missing() -> Option<&'static str> {
    let answers = |tool: &str, flag: &str| {
        let mut command = Command::new(tool);
        command.arg(flag).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let tools = [("javac", "-version"), ("mvn", "--version")];
    tools.into_iter().find(|(tool, flag)| !answers(tool, flag)).map(|(tool, _)| tool)
}

fn property(name: &str, path: &Path) -> String {
    format!("-D{name}={}", path.display())
}
