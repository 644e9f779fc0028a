//! `cargo xtask border`: what a streamed token costs at the border to Java, through uniffi and directly.
//!
//! Needs what `cargo xtask kotlin` has compiled. `cargo xtask swift bench` is the same for Swift.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo;

const PACKAGE: &str = "drafthorse-bindings";

pub(crate) fn run(release: bool) -> Result<()> {
    let module = cargo::workspace().join("android/ffi");
    let classes = module.join("target/classes");
    ensure!(
        classes.join("dev/drafthorse/ffi").is_dir(),
        "run `cargo xtask kotlin` first: it compiles the generated Kotlin"
    );
    let mut build = cargo::command(&["build", "--package", PACKAGE, "--lib", "--example", "border_java"]);
    if release {
        build.arg("--release");
    }
    cargo::run(build)?;
    let built = cargo::target_folder()?.join(if release { "release" } else { "debug" });
    let library = |name: &str| format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);

    let mut java = Command::new("java");
    java.arg(format!("-Djna.library.path={}", built.display()));
    java.arg("-cp").arg(format!("{}:{}", classes.display(), dependencies(&built)?));
    java.arg(cargo::workspace().join("bindings/benches/Border.java"));
    java.arg(built.join("examples").join(library("border_java")));
    cargo::run(java)
}

/// The class path of what the generated Kotlin needs: JNA and Kotlin's library.
fn dependencies(scratch: &std::path::Path) -> Result<String> {
    let list: PathBuf = scratch.join("border-classpath.txt");
    let mut maven = Command::new("mvn");
    maven.current_dir(cargo::workspace().join("android"));
    maven.args(["--batch-mode", "--quiet", "--projects", "ffi", "dependency:build-classpath"]);
    maven.arg(format!("-Dmdep.outputFile={}", list.display()));
    cargo::run(maven)?;
    Ok(fs::read_to_string(&list).with_context(|| format!("Maven wrote no {}", list.display()))?.trim().to_owned())
}
