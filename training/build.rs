//! Bakes the commit of the sources into a release build: what a run's record names, wherever the program is run.
//!
//! A debug build has none, since it would be built anew after every commit.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        println!("cargo:rerun-if-changed=build.rs");
        return;
    }
    // Moves with every commit, checkout and rebase. Without it any change of the package is what to go by: cargo's rule
    // where nothing is named.
    let log = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]).map(PathBuf::from);
    if let Some(log) = log.filter(|log| log.exists()) {
        println!("cargo:rerun-if-changed=build.rs");
        println!("cargo:rerun-if-changed={}", log.display());
    }
    if let Some(commit) = git(&["rev-parse", "HEAD"]) {
        println!("cargo:rustc-env=DRAFTHORSE_COMMIT={commit}");
    }
}

/// What git says in this crate's folder; none outside a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = output.status.success().then_some(output.stdout)?;
    Some(String::from_utf8(text).ok()?.trim().to_owned())
}
