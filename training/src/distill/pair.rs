//! A target and its drafter: what distillation and evaluation both begin with.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::recipe::DistillRecipe;
use super::texts::TaskHeldOut;
use crate::acceptance::{Summary, summarise};
use crate::backward::chunk_rows_asked;
use crate::import::hugging_face;
use crate::model::Llama;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// Two models over one vocabulary.
pub struct Pair {
    /// Frozen.
    pub target: Llama,
    /// As it came.
    pub drafter: Llama,
    /// The target's.
    pub tokenizer: Tokenizer,
    /// Its file.
    pub tokenizer_path: PathBuf,
    /// The token that ends a text.
    pub end: u32,
}

impl Pair {
    /// Loads both folders.
    ///
    /// # Errors
    /// `Mismatch` if the vocabularies differ, by length or by tokenizer, or the target's head is trimmed. `Format`, `Io`.
    pub fn open(target_folder: &Path, drafter_folder: &Path, device: &Device) -> Result<Self> {
        Self::with_target(hugging_face::load(target_folder, device)?.frozen(), target_folder, drafter_folder)
    }

    /// As [`Pair::open`], with the target of `target_folder` loaded and frozen already.
    ///
    /// # Errors
    /// As [`Pair::open`].
    pub fn with_target(target: Llama, target_folder: &Path, drafter_folder: &Path) -> Result<Self> {
        let drafter = hugging_face::load(drafter_folder, &target.device())?.frozen();
        let tokenizer_path = target_folder.join("tokenizer.json");
        same_vocabulary(&target, &drafter, &tokenizer_path, &drafter_folder.join("tokenizer.json"))?;
        let tokenizer = Tokenizer::open(&tokenizer_path)?;
        tokenizer.check_rows(target.config().vocab_len)?;
        let end = target.config().eos_tokens.first().copied().or(tokenizer.end_of_text());
        let end =
            end.ok_or_else(|| Error::setting("target", "neither the model nor the tokenizer has an end token"))?;
        Ok(Self { target, drafter, tokenizer, tokenizer_path, end })
    }

    /// The drafter's parameters over the target's.
    pub fn cost_ratio(&self) -> f64 {
        self.drafter.config().parameters() as f64 / self.target.config().parameters() as f64
    }

    /// The shorter context of both.
    pub fn context_len(&self) -> usize {
        self.target.config().context_len.min(self.drafter.config().context_len)
    }

    /// Text of a completion before the token that ends it.
    ///
    /// # Errors
    /// `Tokenizer`.
    pub fn completion_text(&self, completion: &[u32]) -> Result<String> {
        let ends = |token: &u32| *token == self.end || self.target.config().eos_tokens.contains(token);
        let length = completion.iter().position(ends).unwrap_or(completion.len());
        self.tokenizer.decode(&completion[..length])
    }

    /// What `drafter`, a state of the pair's, is worth on each held-out set.
    pub fn measure(&self, drafter: &Llama, held_out: &[TaskHeldOut], recipe: &DistillRecipe) -> Vec<Measurement> {
        let (settings, lens) = (&recipe.train, &recipe.select.draft_lens);
        let chunk_rows = chunk_rows_asked(settings.chunk_rows, self.target.config().vocab_len);
        let measured = held_out.iter().filter_map(|set| {
            let traces = set.texts.traces(drafter, chunk_rows);
            let summary = summarise(set.texts.mode, &traces, lens, self.cost_ratio(), settings.seed)?;
            Some(Measurement { task: set.task.clone(), summary })
        });
        measured.collect()
    }
}

/// Both models score the same tokens under the same ids; a drafter without a tokenizer's file is taken at its length.
pub(crate) fn same_vocabulary(target: &Llama, drafter: &Llama, target_file: &Path, drafter_file: &Path) -> Result<()> {
    whole_head(target)?;
    let (ours, theirs) = (target.config().vocab_len, drafter.config().vocab_len);
    if ours != theirs {
        let advice = "`import` both, which leaves out rows that belong to no token";
        let reason = format!("the target has {ours} rows of tokens, the drafter {theirs}: {advice}");
        return Err(Error::Mismatch { reason });
    }
    if !drafter_file.exists() {
        return Ok(());
    }
    drafthorse_pack::compare_vocabularies(target_file, drafter_file).map_err(|error| match error {
        drafthorse_pack::Error::VocabularyMismatch { reason, .. } => Error::Mismatch { reason },
        other => Error::format(drafter_file, other.to_string()),
    })
}

/// A target's head scores every token: what a trimmed one cannot say, its drafter could never be held against.
pub(crate) fn whole_head(target: &Llama) -> Result<()> {
    match &target.config().head_tokens {
        None => Ok(()),
        Some(kept) => {
            let of = target.config().vocab_len;
            let reason =
                format!("the target's head is trimmed to {} of {of} tokens; only a drafter's may be", kept.len());
            Err(Error::Mismatch { reason })
        }
    }
}

/// A drafter's worth on one task in one mode.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// The task's name.
    pub task: String,
    /// Its figures.
    #[serde(flatten)]
    pub summary: Summary,
}

/// A line that sets a drafter's figures against those of the drafter it came from.
pub fn comparison(before: &Measurement, after: &Measurement) -> String {
    let (old, new) = (&before.summary, &after.summary);
    let mut line = format!("{}, {}: acceptance {} → {}", after.task, new.mode, old.acceptance, new.acceptance);
    for (old, new) in old.block.iter().zip(&new.block) {
        let (from, to) = (old.tokens_per_call.value, new.tokens_per_call.value);
        line.push_str(&format!("; γ {}: {from:.2} → {to:.2} tokens per target call", new.draft_len));
    }
    line
}

/// SHA-256 of the weights: another state in the same folder writes other texts and has other figures.
pub(crate) fn digest(model: &Llama) -> String {
    let mut hash = Sha256::new();
    for tensor in model.values() {
        hash.update(tensor.name.as_bytes());
        tensor.values.iter().for_each(|value| hash.update(value.to_le_bytes()));
    }
    drafthorse_pack::hexadecimal(&hash.finalize())
}
