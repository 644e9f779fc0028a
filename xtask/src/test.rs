//! `cargo xtask test`: every test of the workspace, doc tests included, and the Kotlin and Swift packages where their tools are.

use anyhow::Result;

use crate::{cargo, kotlin, runtime, swift};

pub(crate) fn run() -> Result<()> {
    runtime::place_for_host()?;
    cargo::run(cargo::command(&["test", "--workspace"]))?;
    kotlin::test_if_present()?;
    swift::test_if_present()
}
