//! Programs that the commands start: shown, and their failure told.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Whether `program` is there.
pub(crate) fn starts(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Shows the command as `line`, runs it, and fails if it does.
pub(crate) fn run(line: &str, command: &mut Command) -> Result<()> {
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("cannot start {line}"))?;
    ensure!(status.success(), "{line}: {status}");
    Ok(())
}

/// Runs a long command, shown as `line`, without its output, the end of which is told if it fails.
pub(crate) fn quietly(line: &str, command: &mut Command) -> Result<()> {
    eprintln!("$ {line}");
    let output = command.output().with_context(|| format!("cannot start {line}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let last: Vec<&str> = said.lines().rev().take(20).collect();
        bail!("{line}: {}\n{}", output.status, last.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    Ok(())
}
