//! `cargo xtask test`: every test of the workspace, doc tests included, and the Swift package where Swift is.

use anyhow::Result;

use crate::{cargo, runtime, swift};

pub(crate) fn run() -> Result<()> {
    runtime::place_for_host()?;
    cargo::run(cargo::command(&["test", "--workspace"]))?;
    swift::test_if_present()
}
