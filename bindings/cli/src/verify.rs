//! `drafthorse verify`: every file of a pack against its digest.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use drafthorse_pack::{Progress, Report};
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::Verify;
use crate::failure::{FOLDER, Result};
use crate::style::{BAD, GOOD};

pub(crate) fn run(arguments: &Verify, json: bool) -> Result<ExitCode> {
    let bar = bar(json);
    let report = drafthorse_pack::verify(&arguments.pack, &mut |progress: Progress<'_>| {
        advance(&bar, progress);
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    let report = report?;
    if json {
        writeln!(std::io::stdout().lock(), "{}", as_json(&report))?;
    } else {
        write(&mut anstream::stdout().lock(), &report)?;
    }
    Ok(if report.is_intact() { ExitCode::SUCCESS } else { ExitCode::from(FOLDER) })
}

/// A bar over bytes, for people who watch.
pub(crate) fn bar(json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}  {wide_msg}").expect("the template is fixed");
    ProgressBar::new(0).with_style(style)
}

/// Moves the bar on.
pub(crate) fn advance(bar: &ProgressBar, progress: Progress<'_>) {
    bar.set_length(progress.bytes_total);
    bar.set_position(progress.bytes_done);
    bar.set_message(progress.file.to_owned());
}

fn as_json(report: &Report) -> serde_json::Value {
    let changed: Vec<_> =
        report.changed.iter().map(|file| serde_json::json!({"path": file.path, "reason": file.reason})).collect();
    serde_json::json!({
        "intact": report.is_intact(),
        "files_intact": report.intact,
        "changed": changed,
        "missing": report.missing,
        "unlisted": report.extra,
    })
}

fn write(out: &mut impl Write, report: &Report) -> Result<()> {
    for file in &report.changed {
        writeln!(out, "{BAD}changed{BAD:#}   {}: {}", file.path, file.reason)?;
    }
    for file in &report.missing {
        writeln!(out, "{BAD}missing{BAD:#}   {file}")?;
    }
    for file in &report.extra {
        writeln!(out, "unlisted  {file} (a pack that opens it is refused)")?;
    }
    let plural = if report.intact == 1 { "file" } else { "files" };
    if report.is_intact() {
        writeln!(out, "{GOOD}intact{GOOD:#}: {} {plural} as the manifest says", report.intact)?;
    } else {
        writeln!(out, "{BAD}not intact{BAD:#}: {} {plural} as the manifest says; fetch the pack again", report.intact)?;
    }
    Ok(())
}
