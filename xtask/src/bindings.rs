//! `cargo xtask bindings kotlin|swift [FOLDER]`: builds the library and writes the sources that call it.
//!
//! They are build outputs, never in git.

use std::fs;
use std::path::{Path, PathBuf};

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
    /// By themselves, optimised.
    Release,
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
    let release = arguments.contains(&"--release");
    let build = if release { Build::Release } else { Build::Debug };
    let rest: Vec<&str> = arguments.iter().copied().filter(|argument| *argument != "--release").collect();
    let written = match rest.as_slice() {
        [language @ ("kotlin" | "swift")] => write(language, None, build)?,
        [language @ ("kotlin" | "swift"), folder] => write(language, Some(Path::new(folder)), build)?,
        _ => bail!("cargo xtask bindings kotlin|swift [FOLDER] [--release]"),
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
        Build::Release => cargo::command(&["build", "--package", PACKAGE, "--package", COMMAND, "--release"]),
    })?;
    let profile = if build == Build::Release { "release" } else { "debug" };
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
