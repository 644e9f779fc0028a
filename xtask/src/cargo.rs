//! Runs cargo in the workspace, with the command line shown.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::program;

/// The workspace's folder: the one that `cargo run` was started for, where several share a target folder.
pub(crate) fn workspace() -> PathBuf {
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.parent().expect("xtask lies in the workspace").to_owned()
}

/// `cargo ARGUMENTS` in the workspace, not yet run.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from));
    command.args(arguments).current_dir(workspace());
    command
}

/// Where cargo builds, as settings and environment say.
pub(crate) fn target_folder() -> Result<PathBuf> {
    let output =
        command(&["metadata", "--no-deps", "--format-version", "1"]).output().context("cannot start cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
    Ok(metadata["target_directory"].as_str().context("cargo metadata names no target folder")?.into())
}

/// The variable that sets cargo's `setting` for code of `target`, as `LINKER`.
pub(crate) fn target_variable(target: &str, setting: &str) -> String {
    format!("CARGO_TARGET_{}_{setting}", target.to_uppercase().replace('-', "_"))
}

/// Shows the command, runs it, and fails if it does.
pub(crate) fn run(mut command: Command) -> Result<()> {
    program::run(&line(&command), &mut command)
}

/// The command line, for people to read.
pub(crate) fn line(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| {
        let argument = argument.to_string_lossy();
        if argument.contains([' ', '\n']) { format!("{argument:?}") } else { argument.into_owned() }
    });
    std::iter::once(name).chain(arguments).collect::<Vec<_>>().join(" ")
}
