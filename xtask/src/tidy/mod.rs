//! `cargo xtask tidy`: the house rules that a compiler does not check.
//!
//! The rules' tables stand in ARCHITECTURE.md, so that what a reader sees is what is enforced.

mod crates;
mod homes;
mod layers;
mod source;
mod swift_docs;
mod table;
mod text;

use anyhow::{Context, Result, bail};

use crate::cargo;

/// A rule that is broken: where, and what to do.
struct Finding {
    /// File, relative to the workspace, with a line where one is known.
    place: String,
    /// What is wrong and what would be right.
    what: String,
}

pub(crate) fn run() -> Result<()> {
    let root = cargo::workspace();
    let architecture = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("cannot read ARCHITECTURE.md")?;
    let files = source::tracked(&root)?;

    let mut findings = text::check(&files);
    findings.extend(layers::check(&architecture, &files)?);
    findings.extend(homes::check(&architecture, &files)?);
    findings.extend(crates::check(&architecture)?);
    findings.extend(swift_docs::check(&files));
    for Finding { place, what } in &findings {
        eprintln!("{place}: {what}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files, nothing to mend", files.len());
            Ok(())
        }
        count => bail!("tidy: {count} to mend"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        super::run().unwrap();
    }
}
