//! The recipe of a distillation: everything that decides its result.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::source::{Mixture, OnPolicy};
use super::task::{HELD_OUT_PROMPTS, TaskSettings};
use crate::corpus::CorpusSettings;
use crate::loss::Loss;
use crate::model::Precision;
use crate::optimizer::AdamWSettings;
use crate::{Error, Result};

/// A recipe of `distill`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillRecipe {
    /// Folder of the target, with its `tokenizer.json`.
    pub target: PathBuf,
    /// Folder of the drafter to begin with; a pretrained one, since pure TVD from random weights collapses.
    pub drafter: PathBuf,
    /// What is minimised.
    pub loss: Loss,
    /// Divides both models' logits in the loss.
    #[serde(default = "one")]
    pub temperature: f64,
    /// Where texts come from.
    #[serde(default)]
    pub mixture: Mixture,
    /// How the drafter writes its own.
    #[serde(default)]
    pub on_policy: OnPolicy,
    /// How the target writes its own.
    #[serde(default)]
    pub target_text: TargetText,
    /// Length, batch and schedule.
    #[serde(default)]
    pub train: DistillSettings,
    /// AdamW.
    #[serde(default)]
    pub optimizer: AdamWSettings,
    /// What is measured on the way, and decides which checkpoint is best.
    #[serde(default)]
    pub select: Selection,
    /// Prompts and their completions.
    pub task: Vec<TaskSettings>,
    /// Generic text, for the mixture's generic share.
    #[serde(default)]
    pub generic: Vec<CorpusSettings>,
}

/// How the target's texts are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TargetText {
    /// Texts to write; prompts are used again if there are fewer.
    pub count: usize,
    /// Turned through from text to text; 0 is greedy.
    pub temperatures: Vec<f64>,
    /// Nucleus of the draws.
    pub top_p: f64,
    /// Read instead of writing: the Parquet of `generate`, or JSON lines with `prompt` and `completion` as token ids.
    /// Answers to held-out prompts are left out.
    pub path: Option<PathBuf>,
    /// Take the target's judgement of these texts from the file, where `generate` kept its `top_k` likeliest tokens,
    /// instead of running the target over them. Exact where `top_k` is the vocabulary.
    pub judged: bool,
}

impl Default for TargetText {
    fn default() -> Self {
        Self { count: 1024, temperatures: vec![0.0, 0.3, 0.7, 1.0], top_p: 0.95, path: None, judged: false }
    }
}

/// Length, batch and schedule of a distillation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistillSettings {
    /// Of every draw.
    pub seed: u64,
    /// Optimiser steps.
    pub steps: usize,
    /// Texts per step.
    pub batch: usize,
    /// Texts per forward pass; a step takes as many passes as its texts need. TVD++'s batch σ is per pass.
    pub batch_per_pass: usize,
    /// Passes that run side by side.
    pub threads: usize,
    /// Longest completion in tokens, written or read.
    pub completion_len_max: usize,
    /// Texts that are written at once.
    pub rollout_rows: usize,
    /// Positions whose logits exist at once; none takes 512, or fewer over a large vocabulary.
    pub chunk_rows: Option<usize>,
    /// Computes each layer of the drafter again on the way back instead of keeping what it computed: less memory, more
    /// time.
    pub recompute_layers: bool,
    /// Numbers of the products in a step; what is written and measured is f32.
    pub precision: Precision,
    /// Peak of the schedule.
    pub learning_rate: f64,
    /// Last rate as a share of the peak.
    pub learning_rate_floor: f64,
    /// Steps of linear rise.
    pub warmup_steps: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
}

impl Default for DistillSettings {
    fn default() -> Self {
        Self {
            seed: 1,
            steps: 500,
            batch: 16,
            batch_per_pass: 16,
            threads: 1,
            completion_len_max: 128,
            rollout_rows: 64,
            chunk_rows: None,
            recompute_layers: false,
            precision: Precision::F32,
            learning_rate: 5e-4,
            learning_rate_floor: 0.1,
            warmup_steps: 20,
            checkpoint_every: 50,
        }
    }
}

/// What is measured on held-out prompts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// Steps between measurements; the first and the last state are always measured.
    pub every: usize,
    /// Held-out prompts per task; neither they nor prompts equal to one are learned from, nor texts that go on as the
    /// target's answer to one does.
    pub prompts: usize,
    /// Longest answer in tokens.
    pub completion_len_max: usize,
    /// Draft lengths to report.
    pub draft_lens: Vec<usize>,
    /// Temperatures of the target's answers; 0 is greedy.
    pub temperatures: Vec<f64>,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            every: 100,
            prompts: HELD_OUT_PROMPTS,
            completion_len_max: 128,
            draft_lens: vec![3, 5, 7],
            temperatures: vec![0.0, 1.0],
        }
    }
}

fn one() -> f64 {
    1.0
}

impl DistillRecipe {
    /// Checks what does not need the models or the data.
    ///
    /// # Errors
    /// `Setting` with the first field that is out of its range.
    pub fn check(&self) -> Result<()> {
        let (train, select) = (&self.train, &self.select);
        let counts = [
            ("train.steps", train.steps, 1 << 30),
            ("train.batch", train.batch, 1 << 16),
            ("train.batch_per_pass", train.batch_per_pass, 1 << 16),
            ("train.threads", train.threads, 256),
            ("train.completion_len_max", train.completion_len_max, 1 << 20),
            ("train.rollout_rows", train.rollout_rows, 1 << 16),
            ("train.chunk_rows", train.chunk_rows.unwrap_or(1), 1 << 24),
            ("train.checkpoint_every", train.checkpoint_every, 1 << 30),
            ("select.every", select.every, 1 << 30),
            ("select.prompts", select.prompts, 1 << 20),
            ("select.completion_len_max", select.completion_len_max, 1 << 20),
            ("task", self.task.len(), 1 << 10),
            ("select.temperatures", select.temperatures.len(), 16),
            ("select.draft_lens", select.draft_lens.len(), 16),
        ];
        for (name, value, max) in counts {
            if value == 0 || value > max {
                return Err(Error::setting(name, format!("{value}: from 1 to {max}")));
            }
        }
        for (name, value) in [("temperature", self.temperature), ("train.learning_rate", train.learning_rate)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::setting(name, format!("{value}: above 0")));
            }
        }
        if self.mixture.generic_share > 0.0 && self.generic.is_empty() {
            let reason =
                format!("{}, but there is no [[generic]] text; name one, or set 0", self.mixture.generic_share);
            return Err(Error::setting("mixture.generic_share", reason));
        }
        if let Some(weight) = self.generic.iter().map(|corpus| corpus.weight).find(|w| !(w.is_finite() && *w >= 0.0)) {
            return Err(Error::setting("generic.weight", format!("{weight}: 0 or above")));
        }
        self.optimizer.check()?;
        if !(0.0..=1.0).contains(&train.learning_rate_floor) {
            let reason = format!("{}: from 0 to 1, a share of the peak", train.learning_rate_floor);
            return Err(Error::setting("train.learning_rate_floor", reason));
        }
        if let Some(task) = self.task.iter().find(|task| !(task.weight.is_finite() && task.weight > 0.0)) {
            return Err(Error::setting(format!("task {}", task.name), format!("weight {}: above 0", task.weight)));
        }
        if let Some(task) = self.task.iter().find(|task| self.mixture.fixed > 0.0 && !task.prompt.has_completions()) {
            let reason = "its prompts have no completions to learn, so mixture.fixed must be 0";
            return Err(Error::setting(format!("task {}", task.name), reason));
        }
        let temperatures = self.target_text.temperatures.iter().chain(&select.temperatures);
        for temperature in temperatures {
            if !(temperature.is_finite() && *temperature >= 0.0) {
                return Err(Error::setting("temperatures", format!("{temperature}: 0 for greedy, or above")));
            }
        }
        if self.target_text.judged && self.target_text.path.is_none() {
            return Err(Error::setting("target_text.judged", "true, but target_text.path names no file"));
        }
        if !(self.target_text.top_p > 0.0 && self.target_text.top_p <= 1.0) {
            return Err(Error::setting("target_text.top_p", format!("{}: above 0, at most 1", self.target_text.top_p)));
        }
        if select.draft_lens.iter().any(|&len| len == 0 || len > 64) {
            return Err(Error::setting("select.draft_lens", "from 1 to 64 each"));
        }
        self.mixture.check()
    }
}
