//! A drafter's figures for a pack's manifest, with the weights that they were measured on.

use std::path::Path;

use drafthorse_pack::Acceptance;
use serde::{Deserialize, Serialize};

use super::Row;
use crate::acceptance::BlockEfficiency;
use crate::distill::pair::digest;
use crate::error::IoContext;
use crate::model::Llama;
use crate::{Error, Result, folder};

/// What `acceptance.NAME.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// SHA-256 of the target's weights.
    pub target_sha256: String,
    /// SHA-256 of the drafter's weights.
    pub drafter_sha256: String,
    /// A record per task, temperature and draft length.
    pub acceptance: Vec<Acceptance>,
}

impl Records {
    /// The rows of `drafter`, which were measured on the weights of these digests.
    pub(super) fn new(rows: &[Row], drafter: &str, target_sha256: &str, drafter_sha256: &str) -> Self {
        let record = |row: &Row, block: &BlockEfficiency| Acceptance {
            task: row.task.clone(),
            temperature: row.summary.mode.temperature(),
            draft_len: block.draft_len,
            acceptance: block.acceptance,
            by_position: block.acceptance_by_position.iter().map_while(|share| *share).collect(),
            block_efficiency: Some(block.tokens_per_call.value),
            prompts: Some(row.summary.texts as u64),
            ..Acceptance::default()
        };
        let rows = rows.iter().filter(|row| row.drafter == drafter);
        Self {
            target_sha256: target_sha256.to_owned(),
            drafter_sha256: drafter_sha256.to_owned(),
            acceptance: rows.flat_map(|row| row.summary.block.iter().map(move |block| record(row, block))).collect(),
        }
    }

    /// Writes them to `path`.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self).expect("plain numbers and names");
        folder::write_file(path, json.as_bytes())
    }

    /// Reads the records at `path`.
    ///
    /// # Errors
    /// `Io`, or `Format` if it is no such file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).at(path)?;
        serde_json::from_str(&text)
            .map_err(|error| Error::format(path, format!("{error}; `evaluate` writes such a file for each drafter")))
    }

    /// Checks that the figures at `path` are of this target and this drafter.
    ///
    /// # Errors
    /// `Mismatch`, naming the model that is another one.
    pub(crate) fn check(&self, path: &Path, target: &Llama, drafter: &Llama) -> Result<()> {
        for (name, wanted, model) in
            [("target", &self.target_sha256, target), ("drafter", &self.drafter_sha256, drafter)]
        {
            if *wanted != digest(model) {
                let reason = format!("{} was measured on another {name}; evaluate this one", path.display());
                return Err(Error::Mismatch { reason });
            }
        }
        Ok(())
    }
}
