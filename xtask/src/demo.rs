//! `cargo xtask demo ["PROMPT"]`: the demo pack, the target alone against the pair.

use anyhow::Result;

use crate::{cargo, runtime};

const PACK: &str = "tests/packs/demo";

pub(crate) fn run(rest: &[&str]) -> Result<()> {
    runtime::place_for_host()?;
    let mut command = cargo::command(&["run", "--release", "-p", "drafthorse-cli", "--", "demo", PACK]);
    // Operators this small are done before a second thread has woken up.
    command.args(["--threads", "1"]).args(rest);
    cargo::run(command)
}
