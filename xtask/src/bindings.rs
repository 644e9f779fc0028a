//! `cargo xtask bindings kotlin|swift [FOLDER]`: builds the library and writes the sources that call it.
//!
//! They are build outputs, never in git. Every other command that builds the library asks here too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;

const PACKAGE: &str = "drafthorse-bindings";
const GENERATOR: &str = "drafthorse-bindgen";

/// The Kotlin and Swift tests compare their texts with the command's.
const COMMAND: &str = "drafthorse-cli";

/// The name that Kotlin and Swift load or link.
const LIBRARY: &str = "drafthorse_bindings";

/// How the library and the `drafthorse` command are built.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Build {
    /// By themselves, for debugging.
    Debug,
    /// The library alone, as it ships.
    Mobile,
    /// With the whole workspace, as `cargo test --workspace` just did: with other features of its dependencies, every
    /// one of them would be compiled a second time.
    Workspace,
}

/// What was built and written.
pub(crate) struct Written {
    /// Folder with the shared and the static library, and the command.
    pub(crate) libraries: PathBuf,
    /// Folder with the generated sources.
    pub(crate) sources: PathBuf,
}

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let mobile = arguments.contains(&"--mobile");
    let build = if mobile { Build::Mobile } else { Build::Debug };
    let rest: Vec<&str> = arguments.iter().copied().filter(|argument| *argument != "--mobile").collect();
    let written = match rest.as_slice() {
        [language @ ("kotlin" | "swift")] => write(language, None, build)?,
        [language @ ("kotlin" | "swift"), folder] => write(language, Some(Path::new(folder)), build)?,
        _ => bail!("cargo xtask bindings kotlin|swift [FOLDER] [--mobile]"),
    };
    println!("library: {}\nsources: {}", written.libraries.display(), written.sources.display());
    Ok(())
}

/// Builds the library and the command for this machine and writes the `language`'s sources into `folder`, or into one
/// beside them.
///
/// # Errors
/// If the library or the generator does not build, or the folder cannot be written.
pub(crate) fn write(language: &str, folder: Option<&Path>, build: Build) -> Result<Written> {
    cargo::run(match build {
        // `--tests`, since features of development dependencies count too once they are built.
        Build::Workspace => cargo::command(&["build", "--workspace", "--lib", "--bins", "--tests"]),
        Build::Debug => cargo::command(&["build", "--package", PACKAGE, "--package", COMMAND]),
        Build::Mobile => mobile_host(),
    })?;
    let profile = if build == Build::Mobile { "mobile" } else { "debug" };
    let libraries = cargo::target_folder()?.join(profile);
    let sources = folder.map_or_else(|| libraries.join("bindings").join(language), Path::to_owned);
    fs::create_dir_all(&sources).with_context(|| format!("cannot make {}", sources.display()))?;
    let sources = sources.canonicalize()?;
    // The static library: stripping a shared one removes what the sources are made from.
    let mut generate = cargo::command(&["run", "--quiet", "--package", GENERATOR, "--features", "generate", "--"]);
    generate.arg(language).arg(libraries.join(format!("lib{LIBRARY}.a"))).arg(&sources);
    cargo::run(generate)?;
    Ok(Written { libraries, sources })
}

/// Builds the library as it ships for this machine, shared and static: what is measured. Not yet run.
pub(crate) fn mobile_host() -> Command {
    mobile("cdylib,staticlib")
}

/// Builds the library as it ships for another machine. Not yet run.
pub(crate) fn mobile_for(target: &str, crate_type: &str) -> Command {
    let mut command = mobile(crate_type);
    command.args(["--target", target]);
    command
}

fn mobile(crate_types: &str) -> Command {
    let mut command = cargo::command(&["rustc", "--package", PACKAGE, "--lib", "--profile", "mobile"]);
    command.args(["--crate-type", crate_types]);
    command
}
