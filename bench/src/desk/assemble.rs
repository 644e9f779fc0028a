//! Makes a report of generations that somebody else timed: a peer's, interleaved with ours.

use std::path::Path;

use serde::Deserialize;

use crate::case::{self, Context};
use crate::generation::Generation;
use crate::load;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::probe::Probe;
use crate::report::{FORMAT_VERSION, Report, Subject};
use crate::{Error, Result, notes, run};

/// What was timed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Records {
    /// What was asked, with the pack.
    plan: Plan,
    /// Begin of the run, RFC 3339.
    started_at: String,
    /// Length of the run in seconds.
    duration_s: f64,
    /// Each engine with its generations.
    subjects: Vec<Timed>,
    /// What a reader should know.
    #[serde(default)]
    notes: Vec<String>,
}

/// One engine's generations.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Timed {
    /// Name and version.
    engine: String,
    /// What computes the graphs, with its version.
    runtime: String,
    /// The target's provider.
    provider: String,
    /// Threads within an operator.
    #[serde(default)]
    threads: Option<usize>,
    /// As timed, with `detail` where rounds are known.
    generations: Vec<Generation>,
}

/// Reads records and makes figures of them, by the same rules as for our own loop.
///
/// # Errors
/// `Io`; `Report` for records that are not as they should be; `Plan`, and those of reading the pack.
pub fn assemble(path: &Path) -> Result<Report> {
    let text = std::fs::read(path).map_err(Error::io(path))?;
    let records: Records = serde_json::from_slice(&text)
        .map_err(|error| Error::Report { path: path.into(), reason: format!("no records: {error}") })?;
    let plan = records.plan.checked()?;
    let pack = load::describe(&plan)?;
    let mut machine = Machine::read(Path::new("/"), plan.host.as_ref(), plan.device_label.clone());
    machine.sensors = Probe::new(Path::new("/"), None).describe();
    let context = Context { parameter_ratio: pack.parameter_ratio.value().copied(), seed: plan.seed };
    let subjects = records.subjects.into_iter().map(|timed| subject(timed, context)).collect();
    let mut report = Report {
        format_version: FORMAT_VERSION,
        id: String::new(),
        program: run::PROGRAM.to_owned(),
        started_at: records.started_at,
        duration_s: records.duration_s,
        plan: run::without_folders(plan),
        machine,
        pack,
        subjects,
        notes: records.notes,
    };
    report.notes.extend(notes::of(&report));
    report.id = run::id(&report);
    Ok(report)
}

fn subject(timed: Timed, context: Context) -> Subject {
    let Timed { engine, runtime, provider, threads, mut generations } = timed;
    case::mark_outliers(&mut generations);
    let cases = case::cases(&generations, context);
    generations.iter_mut().for_each(|generation| generation.detail = None);
    Subject {
        engine,
        runtime,
        provider,
        drafter_provider: None,
        refused: Vec::new(),
        nodes: Vec::new(),
        threads,
        load: None,
        memory: None,
        costs: None,
        predictions: Vec::new(),
        cases,
        generations,
        samples: Vec::new(),
        pauses: Vec::new(),
    }
}
