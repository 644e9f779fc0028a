//! drafthorse.json: what a pack holds, where its drafter came from, and what was measured.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Error, Result,
    json::{self, CONFIG_BYTES_MAX, Fields},
    root,
};

/// Name of the manifest in a pack.
pub const MANIFEST_FILE: &str = "drafthorse.json";
/// The format that this library writes, and the newest that it reads.
pub const FORMAT_VERSION: u64 = 1;
/// Most files of a pack.
const FILES_MAX: usize = 65_536;

/// The manifest of a pack. Keys that this version does not know are kept in `extra`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of this file.
    pub format_version: u64,
    /// Program and version that wrote the pack.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub written_by: String,
    /// Every file of the pack but this one, by its path with `/`.
    pub files: BTreeMap<String, FileDigest>,
    /// The drafter, where the pack has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drafter: Option<DrafterRecord>,
    /// What was measured on held-out prompts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acceptance: Vec<Acceptance>,
    /// What a person should know before using the pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<Card>,
    /// Keys of later versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Length and digest of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Length.
    pub bytes: u64,
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// What the manifest says about the drafter beyond genai_config.json.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DrafterRecord {
    /// A decoder block as in genai_config.json. Only for a drafter whose logits are not as wide as the target's:
    /// onnxruntime-genai would refuse such a `model.draft`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder: Option<Map<String, Value>>,
    /// File of target ids of a trimmed head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_map: Option<String>,
    /// How it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Lineage>,
    /// Keys of later versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How a drafter was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// `model_digest` of the target that it was distilled from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_digest: Option<String>,
    /// The target by name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_name: Option<String>,
    /// Parameters of the drafter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// Parameters of the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_parameters: Option<u64>,
    /// Data sets used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataSet>,
    /// Losses minimised, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<String>,
    /// Seed of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Commit of the training program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The settings of the run, as the training program writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Value>,
    /// Keys of later versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A data set that went into a drafter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataSet {
    /// Its name.
    pub name: String,
    /// Licence, as an SPDX identifier where there is one.
    pub licence: String,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Tokens seen, repeats included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Keys of later versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Acceptance measured on one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Acceptance {
    /// The task.
    pub task: String,
    /// Sampling temperature; 0 is greedy.
    pub temperature: f64,
    /// Tokens drafted in a round (γ).
    pub draft_len: usize,
    /// Share of drafted tokens that was accepted (α), in [0, 1].
    pub acceptance: f64,
    /// The same by position within the draft.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_position: Vec<f64>,
    /// Tokens emitted per target call (τ).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_efficiency: Option<f64>,
    /// Prompts measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<u64>,
    /// Keys of later versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a person should know before using a pack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Name of the pack.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it is, in a sentence or two.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// Licence of the weights.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub licence: String,
    /// Languages of its text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
    /// What it cannot do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// Keys of later versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Manifest {
    /// A manifest of no files yet, in the present format.
    pub fn new(written_by: impl Into<String>) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            written_by: written_by.into(),
            files: BTreeMap::new(),
            drafter: None,
            acceptance: Vec::new(),
            card: None,
            extra: Map::new(),
        }
    }

    /// Reads drafthorse.json at `path`.
    ///
    /// # Errors
    /// `Io`, `TooLarge`, `Version` if it is newer than this library, `OutsideFolder` if it lists a path that leaves the
    /// pack, or `Malformed`.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(path, &json::read_bounded(path, CONFIG_BYTES_MAX)?)
    }

    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        // The version first: a later format may have other types elsewhere.
        let map = json::parse_object(path, bytes)?;
        let mut fields = Fields::new(path, &map);
        let Some(version) = fields.integer("format_version")?.and_then(|version| u64::try_from(version).ok()) else {
            return Err(fields.malformed("format_version", "must be a whole number from 1"));
        };
        if version > FORMAT_VERSION {
            return Err(Error::Version { path: path.to_owned(), version, version_max: FORMAT_VERSION });
        }
        let manifest: Self = json::parse(path, bytes)?;
        manifest.check(path)?;
        Ok(manifest)
    }

    /// Checks what the types alone do not.
    pub(crate) fn check(&self, path: &Path) -> Result<()> {
        let malformed = |field: String, reason: &str| {
            Err(Error::Malformed { path: PathBuf::from(path), field, reason: reason.to_owned() })
        };
        if self.format_version == 0 {
            return malformed("format_version".into(), "is 0, the first is 1");
        }
        if self.files.len() > FILES_MAX {
            return malformed("files".into(), "lists more than 65536 files");
        }
        for (index, measured) in self.acceptance.iter().enumerate() {
            let shares = measured.by_position.iter().chain(std::iter::once(&measured.acceptance));
            let sound = shares.into_iter().all(|share| (0.0..=1.0).contains(share))
                && measured.temperature.is_finite()
                && measured.block_efficiency.is_none_or(f64::is_finite);
            if !sound {
                return malformed(format!("acceptance[{index}]"), "holds a share outside [0, 1], or no finite number");
            }
        }
        for (name, digest) in &self.files {
            if name.is_empty() || name.contains(['\\', '\0']) || name.split('/').any(str::is_empty) {
                return malformed(format!("files.{name:?}"), "is not a relative path with `/`");
            }
            if !root::is_relative(name) || root::climbs(name) {
                return Err(Error::OutsideFolder {
                    path: path.to_owned(),
                    field: "files".into(),
                    target: name.clone(),
                    reason: "leaves the pack".into(),
                });
            }
            let hexadecimal = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
            if digest.sha256.len() != 64 || !digest.sha256.bytes().all(hexadecimal) {
                return malformed(format!("files.{name:?}.sha256"), "must be 64 lower-case hexadecimal digits");
            }
        }
        Ok(())
    }

    /// Mean of the measured acceptances: what to expect of the drafter before anything is observed. `None` where nothing
    /// was measured.
    pub fn acceptance_mean(&self) -> Option<f64> {
        let sum: f64 = self.acceptance.iter().map(|measured| measured.acceptance).sum();
        (!self.acceptance.is_empty()).then(|| sum / self.acceptance.len() as f64)
    }

    /// The file's contents, with a line break at the end.
    pub(crate) fn to_json(&self) -> String {
        // Maps with string keys always serialise.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}
