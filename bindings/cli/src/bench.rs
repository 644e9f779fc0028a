//! `drafthorse bench`: measures a pack on this device, and reads the reports of others.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use drafthorse_bench::{
    self as bench, Limits, ParquetFolder, Plan, Progress, Report, Verdict, assemble, html, run, schema, speed_plot,
    table, write_whole,
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::bench_arguments::{Bench, BenchCommand, Measure, Outputs};
use crate::failure::{Failure, LIMIT_BROKEN, Result};
use crate::interrupt;
use crate::style::{BAD, FAINT, GOOD, STRONG};

/// Where the repository keeps its demo pack.
const DEMO: &str = "tests/packs/demo";

pub(crate) fn run_command(arguments: &Bench, json: bool) -> Result<ExitCode> {
    match &arguments.command {
        None => measure(&arguments.measure, json),
        Some(BenchCommand::Show { report, outputs }) => show(&Report::read(report)?, outputs, json, false),
        Some(BenchCommand::Compare { first, second }) => compare(first, second.as_deref(), json),
        Some(BenchCommand::Gate { report, limits }) => gate(report, limits, json),
        Some(BenchCommand::Collect { folder, parquet }) => collect(folder, parquet.as_deref(), json),
        Some(BenchCommand::Assemble { records, outputs }) => show(&assemble(records)?, outputs, json, true),
        Some(BenchCommand::Schema) => {
            write!(std::io::stdout().lock(), "{}", schema())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn compare(first: &Path, second: Option<&Path>, json: bool) -> Result<ExitCode> {
    let first = Report::read(first)?;
    let comparisons = match second {
        Some(second) => bench::compare(&first, &Report::read(second)?),
        None => bench::compare_within(&first),
    };
    print(&comparisons, json, bench::comparison_table(&comparisons))?;
    Ok(ExitCode::SUCCESS)
}

fn gate(report: &Path, limits: &Path, json: bool) -> Result<ExitCode> {
    let (report, limits) = (Report::read(report)?, Limits::read(limits)?);
    let findings = limits.check(&report);
    let lines: Vec<String> = findings
        .iter()
        .map(|finding| match finding.verdict {
            Verdict::Kept => format!("{GOOD}kept     {GOOD:#} {}", finding.text),
            Verdict::Undecided => format!("{STRONG}undecided{STRONG:#} {}", finding.text),
            Verdict::Broken => format!("{BAD}broken   {BAD:#} {}", finding.text),
        })
        .collect();
    print(&findings, json, format!("{}\n", lines.join("\n")))?;
    Ok(if limits.pass(&findings) { ExitCode::SUCCESS } else { ExitCode::from(LIMIT_BROKEN) })
}

fn collect(folder: &Path, parquet: Option<&Path>, json: bool) -> Result<ExitCode> {
    let mut rows = parquet.map(ParquetFolder::create).transpose()?;
    let collected = bench::collect(folder, &mut |report| rows.as_mut().map_or(Ok(()), |rows| rows.add(report)))?;
    rows.map_or(Ok(()), ParquetFolder::finish)?;
    print(&collected, json, bench::collected_table(&collected))?;
    Ok(ExitCode::SUCCESS)
}

fn print(value: &impl serde::Serialize, json: bool, text: String) -> Result<()> {
    if json {
        let value = serde_json::to_string(value).expect("numbers and names become JSON");
        return Ok(writeln!(std::io::stdout().lock(), "{value}")?);
    }
    Ok(write!(anstream::stdout().lock(), "{text}")?)
}

fn measure(arguments: &Measure, json: bool) -> Result<ExitCode> {
    let plan = match &arguments.plan {
        Some(path) => read_plan(path)?,
        None => match &arguments.pack {
            Some(pack) => arguments.plan(pack.clone()),
            // Operators this small are done before a second thread has woken up.
            None => Plan { threads: arguments.threads.or(Some(1)), ..arguments.plan(demo_pack()?) },
        },
    };
    interrupt::install()?;
    let _watch = interrupt::watch_steps();
    let bar = if json { ProgressBar::hidden() } else { progress_bar() };
    let outcome = run(plan, None, &mut |progress: &Progress| {
        bar.set_length(progress.planned as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(progress.step.clone());
        interrupt::flow()
    });
    bar.finish_and_clear();
    show(&outcome?, &arguments.outputs, json, true)
}

/// Prints the report, and writes it where it was asked for; `by_default` also where nothing was asked for. The document comes
/// first, and what is printed comes even if the document cannot be written: whatever fails, the run is not lost.
fn show(report: &Report, outputs: &Outputs, json: bool, by_default: bool) -> Result<ExitCode> {
    let outputs = if by_default && !json && outputs.is_empty() { default_outputs(report) } else { outputs.clone() };
    let kept = outputs.output.as_deref().map_or(Ok(()), |path| report.write(path));
    if json {
        writeln!(std::io::stdout().lock(), "{}", report.to_json())?;
    } else {
        write!(anstream::stdout().lock(), "{}", table(report))?;
    }
    kept?;
    let written = |path: &Path| -> Result<()> {
        if !json {
            writeln!(anstream::stderr().lock(), "{FAINT}written: {}{FAINT:#}", path.display())?;
        }
        Ok(())
    };
    outputs.output.as_deref().map_or(Ok(()), written)?;
    if let Some(path) = &outputs.html {
        write_whole(path, html(report).as_bytes())?;
        written(path)?;
    }
    if let Some(folder) = &outputs.parquet {
        let mut rows = ParquetFolder::create(folder)?;
        rows.add(report)?;
        rows.finish()?;
        written(folder)?;
    }
    if let Some(path) = &outputs.plot {
        let plot = speed_plot(report).ok_or_else(|| Failure::usage("nothing was compared with plain decoding"))?;
        write_whole(path, plot.as_bytes())?;
        written(path)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Files in the current folder, named by the begin of the run.
fn default_outputs(report: &Report) -> Outputs {
    let time: String = report.started_at.chars().filter(char::is_ascii_alphanumeric).collect();
    let file = |ending: &str| Some(PathBuf::from(format!("drafthorse-bench-{time}.{ending}")));
    Outputs { output: file("json"), html: file("html"), ..Outputs::default() }
}

fn read_plan(path: &Path) -> Result<Plan> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(error.to_string(), path))?;
    serde_json::from_str(&text).map_err(|error| Failure::file(format!("no plan: {error}"), path))
}

/// The repository's demo pack, if the current folder lies in the repository.
fn demo_pack() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    here.ancestors().map(|folder| folder.join(DEMO)).find(|folder| folder.is_dir()).ok_or_else(|| {
        Failure::usage(
            "which pack? Without one, `bench` takes the demo pack of the repository, and this folder is not in it",
        )
        .with_help("drafthorse bench PACK")
    })
}

fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed:>4} {bar:24} {pos}/{len} {msg}").expect("the template is fixed");
    let bar = ProgressBar::new(0).with_style(style);
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}
