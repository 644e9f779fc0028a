//! The report: one JSON document per run, versioned, the same for our own loop and for peers.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::case::Case;
use crate::generation::Generation;
use crate::machine::Machine;
use crate::plan::{Decoding, Plan};
use crate::prediction::Prediction;
use crate::probe::Sample;
use crate::reading::Reading;
use crate::{Error, Result};

/// Version of the document that this library writes and reads. It rises when a reader of the old one would be misled;
/// a further field does not raise it.
pub const FORMAT_VERSION: u32 = 1;

/// A file larger than this is no report.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Everything that one run measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct Report {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// Tells this run from every other: a digest of what was measured and when.
    pub id: String,
    /// Program and version that measured.
    pub program: String,
    /// Begin of the run, RFC 3339, UTC.
    pub started_at: String,
    /// Length of the run in seconds.
    pub duration_s: f64,
    /// What was asked. Of paths, only the last name is kept.
    pub plan: Plan,
    /// What it ran on.
    pub machine: Machine,
    /// What was run.
    pub pack: Pack,
    /// One per engine, provider and number of threads.
    pub subjects: Vec<Subject>,
    /// What a reader should know before believing a number.
    pub notes: Vec<String>,
}

/// The pack, by digests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct Pack {
    /// Name on its card, else of its folder.
    pub name: String,
    /// `pack`, `genai`, `hugging_face`.
    pub kind: String,
    /// Architecture that the folder names.
    pub model_type: String,
    /// SHA-256 over the target's files.
    pub target_digest: Reading<String>,
    /// SHA-256 over the drafter's files.
    pub drafter_digest: Reading<String>,
    /// Bytes of the target's files.
    pub target_bytes: u64,
    /// Bytes of the drafter's files.
    pub drafter_bytes: Option<u64>,
    /// The drafter's parameters over the target's, for MBSU.
    pub parameter_ratio: Reading<f64>,
    /// SHA-256 of every file that the manifest lists.
    pub files: BTreeMap<String, String>,
    /// The drafter's lineage, as the manifest has it.
    pub lineage: Option<Value>,
    /// Where drafters with honest cost meet no big model at hand: what was done to the target.
    #[serde(default)]
    pub inflated: Option<String>,
}

/// One engine on one provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct Subject {
    /// Whose loop it is, with its version: `drafthorse 0.1.0`, `onnxruntime-genai 0.18.0`.
    pub engine: String,
    /// What computes the graphs, with its version.
    pub runtime: String,
    /// Provider that really computes the target.
    pub provider: String,
    /// Provider that really computes the drafter; absent without one.
    pub drafter_provider: Option<String>,
    /// Providers that were asked for and refused, with the reason.
    pub refused: Vec<String>,
    /// Nodes by model and provider.
    pub nodes: Vec<NodeCount>,
    /// Threads within an operator; absent: left to the runtime.
    pub threads: Option<usize>,
    /// How long opening takes.
    pub load: Option<Load>,
    /// What memory it takes.
    pub memory: Option<Memory>,
    /// What passes cost.
    pub costs: Option<Costs>,
    /// What the costs promise, by decoding.
    #[serde(default)]
    pub predictions: Vec<Prediction>,
    /// Figures by decoding, mode and task; `task` absent is all tasks together.
    pub cases: Vec<Case>,
    /// Every generation, outliers included.
    pub generations: Vec<Generation>,
    /// The sensors over time.
    pub samples: Vec<Sample>,
    /// When the run waited, for the device to cool or because the plan asked for it.
    #[serde(default)]
    pub pauses: Vec<Pause>,
}

impl Subject {
    /// Cases of `decoding` over all tasks, by mode.
    pub(crate) fn over_all(&self, decoding: Decoding) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(move |case| case.decoding == decoding && case.task.is_none())
    }
}

/// Nodes of a graph on a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct NodeCount {
    /// `target` or `drafter`.
    pub model: String,
    /// The runtime's name of the provider.
    pub provider: String,
    /// Nodes after optimisation.
    pub nodes: usize,
}

/// Opening the pack up to where a session could start; costs are known then and not measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct Load {
    /// Milliseconds of the first opening on this provider, as after an installation: every file is compared with its digest,
    /// and a provider that compiles graphs compiles them. The files are as far from memory as the system lets us put them;
    /// the source says how far.
    pub cold_ms: Reading<f64>,
    /// Bytes that the storage really delivered for it.
    pub cold_read_bytes: Reading<u64>,
    /// Milliseconds of an opening right after, as at an app's further starts: files that were found intact are not read for
    /// their digests again, and compiled graphs are there. The median of several.
    pub warm_ms: f64,
}

/// Memory of the whole process, with one session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct Memory {
    /// Resident before the pack was opened.
    pub before_bytes: Reading<u64>,
    /// Resident after a generation, with the pack open.
    pub open_bytes: Reading<u64>,
    /// Most that was ever resident up to then.
    pub peak_bytes: Reading<u64>,
    /// Keys and values of both models when the context is full.
    pub cache_bytes: u64,
    /// Tokens that a session holds.
    pub context_len: usize,
}

/// What passes cost, once they cost the same twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct Costs {
    /// Milliseconds of a target pass, by rows from 1 on: the lower quartile of several passes, and never less than that
    /// of fewer rows.
    pub target_ms: Vec<f64>,
    /// Milliseconds of a drafter's pass over one row.
    pub drafter_ms: Option<f64>,
    /// Sweeps over all widths until two agreed.
    pub sweeps: usize,
    /// Largest relative difference between the last two sweeps.
    pub change: f64,
    /// True if that was within the tolerance of the warm-up.
    pub stable: bool,
}

/// A wait between prompts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct Pause {
    /// Begin, in seconds since the run began.
    pub at_s: f64,
    /// Length in seconds.
    pub s: f64,
    /// Why, and whether it helped.
    pub reason: String,
    /// True if the device was hot, false if the plan asked for the pause.
    #[serde(default)]
    pub hot: bool,
}

impl Report {
    /// Reads the report at `path`.
    ///
    /// # Errors
    /// `Io`, or `Report` for what is no report, is cut off, or was written in a format of the future.
    pub fn read(path: &Path) -> Result<Self> {
        let refused = |reason: String| Error::Report { path: path.into(), reason };
        let bytes = std::fs::metadata(path).map_err(Error::io(path))?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(refused(format!("{bytes} bytes; a report has at most {FILE_BYTES_MAX}")));
        }
        let text = std::fs::read(path).map_err(Error::io(path))?;
        Self::from_json(&text).map_err(refused)
    }

    /// Parses a report.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let version = serde_json::from_slice::<Version>(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Eof => "the file ends in the middle: it was cut off".to_owned(),
            serde_json::error::Category::Data => "no report of `drafthorse bench`: it has no format_version".to_owned(),
            _ => format!("no JSON: {error}"),
        })?;
        if version.format_version > FORMAT_VERSION {
            return Err(format!(
                "format {} is newer than this program, which reads up to {FORMAT_VERSION}; use a newer one",
                version.format_version
            ));
        }
        serde_json::from_slice(text).map_err(|error| format!("not as a report should be: {error}"))
    }

    /// The report as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and names become JSON")
    }

    /// Writes the report to `path`, whole or not at all.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_whole(path, self.to_json().as_bytes())
    }
}

/// Writes a file whole or not at all.
///
/// # Errors
/// `Io`.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    drafthorse_pack::write_whole(path, bytes).map_err(Error::io(path))
}
