//! `cargo xtask size`: the stripped library's size per target, kept in `docs/sizes.md` so that growth is seen in review.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{android, bindings, cargo, ios};

const TABLE: &str = "docs/sizes.md";

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        [] => record_host(),
        ["android", rest @ ..] => {
            let library = android::link_check(&android::ABIS[0], prefix(rest)?)?;
            record(android::ABIS[0].target, "shared library, link check without the unwinder", &library)
        }
        ["ios", rest @ ..] => {
            let library = ios::check(prefix(rest)?)?;
            record(ios::DEVICE, "static library, before an app's linker drops what is not called", &library)
        }
        _ => bail!("cargo xtask size [android|ios [RUST_PREFIX]]"),
    }
}

fn prefix<'a>(rest: &[&'a str]) -> Result<Option<&'a Path>> {
    match rest {
        [] => Ok(None),
        [prefix] => Ok(Some(Path::new(*prefix))),
        _ => bail!("cargo xtask size android|ios [RUST_PREFIX]"),
    }
}

fn record_host() -> Result<()> {
    cargo::run(bindings::mobile_host())?;
    let name = format!("{}drafthorse_bindings{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let library: PathBuf = cargo::target_folder()?.join("mobile").join(name);
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    record(&target, "shared library", &library)
}

/// Writes the row of `target`, in place of an older one.
fn record(target: &str, what: &str, library: &Path) -> Result<()> {
    let bytes = fs::metadata(library).with_context(|| format!("cannot read {}", library.display()))?.len();
    let path = cargo::workspace().join(TABLE);
    let old = fs::read_to_string(&path).with_context(|| format!("cannot read {TABLE}"))?;
    let new = with_row(&old, target, &format!("| `{target}` | {what} | {bytes} |"));
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, new)?;
    fs::rename(temporary, path)?;
    println!("{target}: {bytes} bytes; recorded in {TABLE}");
    Ok(())
}

/// `table` with `row` for `target`: in place of the old one, or at the end.
fn with_row(table: &str, target: &str, row: &str) -> String {
    let start = format!("| `{target}` |");
    let mut lines: Vec<&str> = table.lines().collect();
    match lines.iter().position(|line| line.starts_with(&start)) {
        Some(place) => lines[place] = row,
        None => lines.push(row),
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_replaced_or_added() {
        let table = "| target | what | bytes |\n|---|---|---|\n| `a` | x | 1 |\n";
        assert_eq!(with_row(table, "a", "| `a` | x | 2 |"), table.replace('1', "2"));
        assert_eq!(with_row(table, "b", "| `b` | y | 3 |"), format!("{table}| `b` | y | 3 |\n"));
    }
}
