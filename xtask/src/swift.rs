//! `cargo xtask swift`: the Swift package built and tested against this machine's library.

mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::toolchain::Toolchain;
use crate::bindings::{self, Build};
use crate::{cargo, runtime};

/// The Swift package, in the workspace.
const PACKAGE: &str = "ios";

/// File name of the static library, which Swift programs are linked with.
const LIBRARY: &str = "libdrafthorse_bindings.a";

/// Generated files and their places in the package's `Generated` folder. A module map is found by its name.
pub(crate) const SOURCES: [(&str, &str); 3] = [
    ("DrafthorseFFI.swift", "DrafthorseFFI/DrafthorseFFI.swift"),
    ("CDrafthorse.h", "CDrafthorse/CDrafthorse.h"),
    ("CDrafthorse.modulemap", "CDrafthorse/module.modulemap"),
];

/// Warnings are errors, so that strict concurrency stays clean.
const STRICT: [&str; 2] = ["-Xswiftc", "-warnings-as-errors"];

/// Builds and tests the package; makes a toolchain where there is none.
pub(crate) fn test() -> Result<()> {
    Site::prepare(Toolchain::provide()?, Build::Debug)?.run(&["test"])
}

/// The same after `cargo test --workspace`, if a toolchain is there; says so if not.
pub(crate) fn test_if_present() -> Result<()> {
    match Toolchain::present() {
        Some(toolchain) => Site::prepare(toolchain, Build::Workspace)?.run(&["test"]),
        None => {
            eprintln!("SKIPPED: the Swift tests; there is no Swift here. `cargo xtask swift` makes one and runs them.");
            Ok(())
        }
    }
}

/// Measures what a streamed token costs at the border, optimised on both sides.
pub(crate) fn measure_border() -> Result<()> {
    Site::prepare(Toolchain::provide()?, Build::Mobile)?.run(&["run", "--configuration", "release", "border-cost"])
}

/// A toolchain and what it needs to see.
struct Site {
    toolchain: Toolchain,
    workspace: PathBuf,
    target: PathBuf,
    /// The ONNX Runtime library.
    runtime: PathBuf,
    /// The `drafthorse` command, which a test compares texts with.
    command: PathBuf,
}

impl Site {
    /// Builds the library and generates its Swift sources into the package.
    fn prepare(toolchain: Toolchain, build: Build) -> Result<Self> {
        let workspace = cargo::workspace();
        let target = cargo::target_folder()?;
        let written = bindings::write("swift", None, build)?;

        let generated = workspace.join(PACKAGE).join("Generated");
        for (from, to) in SOURCES {
            place_source(&written.sources.join(from), &generated.join(to))?;
        }
        let library = written.libraries.join(LIBRARY);
        place_library(&library, &generated.join("lib").join(LIBRARY), &target.join("swift"))?;
        let command = written.libraries.join(format!("drafthorse{}", std::env::consts::EXE_SUFFIX));
        Ok(Self { toolchain, workspace, target, runtime: runtime::place_for_host()?, command })
    }

    /// Runs `swift ARGUMENTS` in the package.
    fn run(&self, arguments: &[&str]) -> Result<()> {
        let runtime_folder = self.runtime.parent().context("the runtime library has no folder")?;
        let sees = [self.workspace.as_path(), self.target.as_path(), runtime_folder];
        let mut command = self.toolchain.command("swift", &self.workspace.join(PACKAGE), &sees);
        let (action, rest) = arguments.split_first().context("swift is told what to do")?;
        command.arg(action).arg("--scratch-path").arg(self.target.join("swift")).args(STRICT).args(rest);
        command.env("ORT_DYLIB_PATH", &self.runtime).env("DRAFTHORSE_COMMAND", &self.command);
        toolchain::run(&mut command)
    }
}

/// Copies a generated file where the package expects it; one that is there already keeps its time, so that nothing is
/// compiled again.
fn place_source(from: &Path, to: &Path) -> Result<()> {
    let text = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|placed| placed == text) {
        return Ok(());
    }
    fs::create_dir_all(to.parent().expect("the file lies in a folder"))?;
    fs::write(to, text).with_context(|| format!("cannot write {}", to.display()))
}

/// Puts the library alone into a folder, since linkers prefer a shared one beside it, and drops what was linked with
/// another one: Swift's package manager does not look at libraries.
fn place_library(from: &Path, to: &Path, scratch: &Path) -> Result<()> {
    if same_file(from, to) {
        return Ok(());
    }
    let folder = to.parent().expect("the library lies in a folder");
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    if to.exists() {
        fs::remove_file(to).with_context(|| format!("cannot replace {}", to.display()))?;
    }
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    for stale in linked_programs(scratch) {
        fs::remove_file(&stale).with_context(|| format!("cannot remove {}", stale.display()))?;
    }
    Ok(())
}

/// True if both names stand for a file of the same length and time: a link or a copy made earlier.
fn same_file(from: &Path, to: &Path) -> bool {
    let stamp = |path: &Path| fs::metadata(path).and_then(|data| Ok((data.len(), data.modified()?))).ok();
    stamp(from).is_some_and(|from| stamp(to) == Some(from))
}

fn linked_programs(scratch: &Path) -> Vec<PathBuf> {
    let folders = ["debug", "release"].map(|configuration| scratch.join(configuration));
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "xctest") || path.ends_with("border-cost"))
        .filter(|path| path.is_file())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_linked_with_another_library_are_dropped() {
        let folder = std::env::temp_dir().join(format!("drafthorse-swift-{}", std::process::id()));
        let (from, to, scratch) = (folder.join("a.a"), folder.join("lib/a.a"), folder.join("swift"));
        let program = scratch.join("debug/Tests.xctest");
        let write = |path: &Path, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(&from, "one");
        write(&program, "linked");
        place_library(&from, &to, &scratch).unwrap();
        assert!(!program.exists() && fs::read(&to).unwrap() == b"one");

        write(&program, "linked");
        place_library(&from, &to, &scratch).unwrap();
        assert!(program.exists(), "nothing has changed");

        fs::remove_file(&from).unwrap();
        write(&from, "another");
        place_library(&from, &to, &scratch).unwrap();
        assert!(!program.exists() && fs::read(&to).unwrap() == b"another");
        fs::remove_dir_all(folder).unwrap();
    }
}
