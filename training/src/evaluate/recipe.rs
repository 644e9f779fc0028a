//! The recipe of an evaluation.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Score;
use crate::corpus::CorpusSettings;
use crate::distill::task::{HELD_OUT_PROMPTS, PromptEnd, TaskSettings};
use crate::{Error, Result};

/// A recipe of `evaluate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluateRecipe {
    /// Folder of the target, with its `tokenizer.json`.
    pub target: PathBuf,
    /// Of every draw; that of `distill`, to measure on what it held out.
    #[serde(default = "seed_default")]
    pub seed: u64,
    /// Prompts per task; `select.prompts` of `distill`, to measure on what it held out.
    #[serde(default = "prompts_default")]
    pub prompts: usize,
    /// Longest answer in tokens.
    #[serde(default = "completion_len_max_default")]
    pub completion_len_max: usize,
    /// Temperatures of the target; 0 is greedy.
    #[serde(default = "temperatures_default")]
    pub temperatures: Vec<f64>,
    /// Draft lengths to report.
    #[serde(default = "draft_lens_default")]
    pub draft_lens: Vec<usize>,
    /// Texts that are worked on at once.
    #[serde(default = "batch_rows_default")]
    pub batch_rows: usize,
    /// Positions whose logits exist at once; none takes 512, or fewer over a large vocabulary.
    #[serde(default)]
    pub chunk_rows: Option<usize>,
    /// What is timed, where drafters have packs.
    #[serde(default)]
    pub clock: ClockSettings,
    /// Drafters; the first is what the others are compared with.
    pub drafter: Vec<DrafterSettings>,
    /// Tasks.
    pub task: Vec<EvaluateTask>,
}

/// A drafter to measure.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrafterSettings {
    /// Its name in tables.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// A pack exported with it, to be timed.
    #[serde(default)]
    pub pack: Option<PathBuf>,
}

/// What is timed in the runtime's own loop, in the drafters' packs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClockSettings {
    /// Prompts per task.
    pub prompts: usize,
    /// Times that everything is done; of greedy answers the quickest counts, of sampled ones all do.
    pub repeats: usize,
    /// Threads of each model.
    pub threads: usize,
    /// Longest answer in tokens.
    pub completion_len_max: usize,
    /// Fixed draft lengths; the adaptive choice, which may pass through, is always timed too.
    pub draft_lens: Vec<usize>,
    /// Longest draft that the adaptive choice may take.
    pub adaptive_len_max: usize,
    /// ε of lossy curves, drawn for each of the three forms at each temperature above 0 and the first draft length.
    pub lenience: Vec<f64>,
}

impl Default for ClockSettings {
    fn default() -> Self {
        Self {
            prompts: 8,
            repeats: 3,
            threads: 1,
            completion_len_max: 96,
            draft_lens: vec![3, 5],
            adaptive_len_max: 8,
            lenience: vec![],
        }
    }
}

/// A task to measure on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluateTask {
    /// Its name in tables.
    pub name: String,
    /// Where a document's prompt ends.
    pub prompt: PromptEnd,
    /// Documents.
    pub corpus: CorpusSettings,
    /// How good an answer is, if the data says so.
    #[serde(default)]
    pub score: Option<Score>,
}

impl EvaluateTask {
    /// The task as `distill` reads it.
    pub(super) fn texts(&self) -> TaskSettings {
        TaskSettings { name: self.name.clone(), prompt: self.prompt.clone(), weight: 1.0, corpus: self.corpus.clone() }
    }
}

impl EvaluateRecipe {
    /// Checks what does not need the models or the data.
    ///
    /// # Errors
    /// `Setting` with the first field that is out of its range.
    pub fn check(&self) -> Result<()> {
        for (name, value, max) in [
            ("prompts", self.prompts, 1 << 20),
            ("completion_len_max", self.completion_len_max, 1 << 20),
            ("batch_rows", self.batch_rows, 1 << 16),
            ("chunk_rows", self.chunk_rows.unwrap_or(1), 1 << 24),
            ("drafter", self.drafter.len(), 1 << 10),
            ("task", self.task.len(), 1 << 10),
            ("temperatures", self.temperatures.len(), 16),
            ("draft_lens", self.draft_lens.len(), 16),
        ] {
            if value == 0 || value > max {
                return Err(Error::setting(name, format!("{value}: from 1 to {max}")));
            }
        }
        let clock = &self.clock;
        let counts = [clock.adaptive_len_max, clock.prompts, clock.completion_len_max, clock.repeats, clock.threads];
        let lens = clock.draft_lens.iter().chain(&counts);
        if clock.draft_lens.is_empty() || lens.clone().any(|&len| len == 0 || len > 1 << 20) {
            return Err(Error::setting("clock", "numbers are at least 1, and one draft length is needed"));
        }
        if clock.lenience.iter().any(|&epsilon| !(epsilon > 0.0 && epsilon <= 1.0)) {
            return Err(Error::setting("clock.lenience", "each above 0 and at most 1"));
        }
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
        if let Some(drafter) = self.drafter.iter().find(|d| d.name.is_empty() || !d.name.chars().all(plain)) {
            let reason = format!("{:?}: letters, digits, - and _, since files are named after it", drafter.name);
            return Err(Error::setting("drafter.name", reason));
        }
        if let Some(task) = self.task.iter().find(|task| task.score.is_some() && !task.prompt.has_completions()) {
            let reason = "a score compares with the completions of the data, and its prompts have none";
            return Err(Error::setting(format!("task {}", task.name), reason));
        }
        if self.draft_lens.iter().any(|&len| len == 0 || len > 64) {
            return Err(Error::setting("draft_lens", "from 1 to 64 each"));
        }
        match self.temperatures.iter().find(|temperature| !(temperature.is_finite() && **temperature >= 0.0)) {
            Some(wrong) => Err(Error::setting("temperatures", format!("{wrong}: 0 for greedy, or above"))),
            None => Ok(()),
        }
    }
}

fn seed_default() -> u64 {
    1
}

fn prompts_default() -> usize {
    HELD_OUT_PROMPTS
}

fn completion_len_max_default() -> usize {
    128
}

fn temperatures_default() -> Vec<f64> {
    vec![0.0, 1.0]
}

fn draft_lens_default() -> Vec<usize> {
    vec![3, 5, 7]
}

fn batch_rows_default() -> usize {
    32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distill::recipe::{DistillRecipe, Selection};
    use crate::export::ExportRecipe;
    use crate::generate::GenerateRecipe;

    #[test]
    fn recipes_for_ones_own_target_measure_on_what_they_hold_out() {
        let evaluate: EvaluateRecipe = toml::from_str(include_str!("../../recipes/own/evaluate.toml")).unwrap();
        let distill: DistillRecipe = toml::from_str(include_str!("../../recipes/own/distill.toml")).unwrap();
        evaluate.check().unwrap();
        distill.check().unwrap();
        assert_eq!((evaluate.prompts, evaluate.seed), (distill.select.prompts, distill.train.seed));
        assert_eq!((evaluate.task[0].texts(), &evaluate.target), (distill.task[0].clone(), &distill.target));
        let generate: GenerateRecipe = toml::from_str(include_str!("../../recipes/own/generate.toml")).unwrap();
        assert_eq!((&generate.task, &generate.model), (&distill.task, &distill.target));
        let export: ExportRecipe = toml::from_str(include_str!("../../recipes/own/export.toml")).unwrap();
        assert_eq!(export.drafter.as_ref(), evaluate.drafter.last().map(|drafter| &drafter.path));
        assert_eq!((prompts_default(), seed_default()), (Selection::default().prompts, 1), "and so do the defaults");
    }

    #[test]
    fn a_score_needs_answers_to_compare_with() {
        let recipe = include_str!("../../recipes/own/evaluate.toml");
        let scored: EvaluateRecipe = toml::from_str(&format!("{recipe}score = \"exact_match\"\n")).unwrap();
        assert!(scored.check().unwrap_err().to_string().contains("completions"));
    }
}
