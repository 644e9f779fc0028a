//! `cargo xtask check`: all that has to be green before a commit, cheapest first.

use anyhow::Result;

use crate::{cargo, test, tidy};

pub(crate) fn run() -> Result<()> {
    cargo::run(cargo::command(&["fmt", "--all", "--check"]))?;
    tidy::run()?;
    cargo::run(cargo::command(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    test::run()?;
    let mut docs = cargo::command(&["doc", "--workspace", "--no-deps"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    cargo::run(docs)
}
