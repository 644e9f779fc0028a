//! `cargo xtask test`: every test of the workspace, doc tests included.

use anyhow::{Result, bail};

use crate::{cargo, runtime};

pub(crate) fn run(rest: &[&str]) -> Result<()> {
    if let [unknown, ..] = rest {
        bail!("cargo xtask test: unknown argument {unknown}");
    }
    runtime::place_for_host()?;
    cargo::run(cargo::command(&["test", "--workspace"]))
}
