//! `cargo xtask test`: every test of the workspace, doc tests included.

use anyhow::Result;

use crate::{cargo, runtime};

pub(crate) fn run() -> Result<()> {
    runtime::place_for_host()?;
    cargo::run(cargo::command(&["test", "--workspace"]))
}
