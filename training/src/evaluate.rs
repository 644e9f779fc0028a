//! Measures drafters against their target: the command `evaluate`.
//!
//! All drafters are measured on the same texts, which the target writes once for each task and temperature, so that
//! one drafter's gain over another is known more closely than either's figures. What `seconds` they cost on a device
//! is the runtime's to measure; here the cost of a drafter is its share of the target's parameters.

mod recipe;
mod report;
mod score;

use std::path::Path;

use burn::tensor::Device;
use serde::Serialize;

pub use recipe::{DrafterSettings, EvaluateRecipe, EvaluateTask};
pub use score::Score;

use crate::acceptance::trace::HeldOut;
use crate::acceptance::{Figure, Mode, Summary, Trace, bootstrap, gain, summarise};
use crate::distill::batch::Example;
use crate::distill::pair::Pair;
use crate::distill::rollout::Limits;
use crate::distill::task::hold_out;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result, folder, run};

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Version of this program.
    pub program: &'static str,
    /// Commit of the sources in the current folder, or "unknown".
    pub commit: String,
    /// The recipe, resolved.
    pub recipe: EvaluateRecipe,
    /// The target's parameters.
    pub target_parameters: u64,
    /// A row per drafter, task and temperature.
    pub rows: Vec<Row>,
    /// A row per task with a score and temperature: the drafters do not change it.
    pub scores: Vec<ScoreRow>,
}

/// One drafter on one task at one temperature.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The drafter's name in the recipe.
    pub drafter: String,
    /// Its parameters over the target's.
    pub cost_ratio: f64,
    /// The task's name.
    pub task: String,
    /// Acceptance and block efficiency.
    pub summary: Summary,
    /// Tokens per target call over those of the recipe's first drafter, by draft length; none for that one itself.
    pub gain: Option<Vec<Figure>>,
}

/// How often the target was right.
#[derive(Clone, Debug, Serialize)]
pub struct ScoreRow {
    /// The task's name.
    pub task: String,
    /// How the target chose.
    pub mode: Mode,
    /// Share of the answers that equal the reference's.
    pub right: Figure,
}

/// Evaluates the recipe and writes `evaluation.json`, `evaluation.md` and `evaluation.html` to `out`.
///
/// # Errors
/// `Mismatch` if a drafter does not share the target's vocabulary; `Setting`, `Format`, `Io`.
pub fn evaluate(recipe: &EvaluateRecipe, data: &Path, out: &Path, device: &Device) -> Result<Evaluation> {
    recipe.check()?;
    let pairs = recipe
        .drafter
        .iter()
        .map(|drafter| Pair::open(&recipe.target, &drafter.path, device))
        .collect::<Result<Vec<_>>>()?;
    let first = pairs.first().ok_or_else(|| Error::setting("drafter", "a recipe needs at least one"))?;
    let (mut rows, mut scores) = (Vec::new(), Vec::new());
    for task in &recipe.task {
        let examples = prompts(recipe, task, first, &pairs, data)?;
        for &temperature in &recipe.temperatures {
            let mode = if temperature == 0.0 { Mode::Greedy } else { Mode::Sampled(temperature) };
            let texts = write(recipe, first, &examples, mode)?;
            if let Some(score) = task.score {
                scores.push(right(score, task, mode, &examples, &texts, &first.tokenizer, recipe.seed)?);
            }
            rows.extend(compare(recipe, task, &pairs, &texts));
        }
    }
    let evaluation = Evaluation {
        program: env!("CARGO_PKG_VERSION"),
        commit: run::commit(),
        recipe: recipe.clone(),
        target_parameters: first.target.config().parameters(),
        rows,
        scores,
    };
    std::fs::create_dir_all(out).map_err(|source| Error::Io { path: out.to_owned(), source })?;
    let json = serde_json::to_string_pretty(&evaluation).expect("plain numbers and names");
    folder::write_file(&out.join("evaluation.json"), json.as_bytes())?;
    folder::write_file(&out.join("evaluation.md"), report::markdown(&evaluation).as_bytes())?;
    folder::write_file(&out.join("evaluation.html"), report::html(&evaluation).as_bytes())?;
    Ok(evaluation)
}

/// The task's prompts and reference completions: those that `distill` holds out where seed and number agree.
fn prompts(
    recipe: &EvaluateRecipe,
    task: &EvaluateTask,
    first: &Pair,
    pairs: &[Pair],
    data: &Path,
) -> Result<Vec<Example>> {
    let context_len = pairs.iter().map(Pair::context_len).min().unwrap_or(0);
    let mut examples = task.texts().examples(data, &first.tokenizer, first.end, recipe.seed)?;
    examples.retain(|example| example.prompt.len() <= context_len - context_len / 4);
    let (_, held) = hold_out(examples, recipe.prompts);
    if held.is_empty() {
        return Err(Error::setting(format!("task {}", task.name), "no prompt fits three quarters of the context"));
    }
    Ok(held)
}

fn write(recipe: &EvaluateRecipe, pair: &Pair, examples: &[Example], mode: Mode) -> Result<HeldOut> {
    let prompts: Vec<Vec<u32>> = examples.iter().map(|example| example.prompt.clone()).collect();
    let limits = Limits { completion_len_max: recipe.completion_len_max, batch_rows: recipe.batch_rows };
    HeldOut::write(&pair.target, &prompts, mode, limits, recipe.seed ^ 0x6576_616c)
}

fn compare(recipe: &EvaluateRecipe, task: &EvaluateTask, pairs: &[Pair], texts: &HeldOut) -> Vec<Row> {
    let traces: Vec<Vec<Trace>> = pairs
        .iter()
        .map(|pair| texts.traces(&pair.target, &pair.drafter, recipe.batch_rows, recipe.chunk_rows))
        .collect();
    let rows = recipe.drafter.iter().zip(pairs).zip(&traces).enumerate();
    rows.filter_map(|(index, ((drafter, pair), own))| {
        let lens = &recipe.draft_lens;
        let summary = summarise(texts.mode, own, lens, pair.cost_ratio(), recipe.seed)?;
        let gain = || lens.iter().map(|&len| gain(own, &traces[0], len, recipe.seed)).collect();
        Some(Row {
            drafter: drafter.name.clone(),
            cost_ratio: pair.cost_ratio(),
            task: task.name.clone(),
            summary,
            gain: (index > 0).then(gain),
        })
    })
    .collect()
}

fn right(
    score: Score,
    task: &EvaluateTask,
    mode: Mode,
    examples: &[Example],
    texts: &HeldOut,
    tokenizer: &Tokenizer,
    seed: u64,
) -> Result<ScoreRow> {
    let mut terms = Vec::with_capacity(examples.len());
    for (reference, answer) in examples.iter().zip(&texts.examples) {
        let (wanted, found) = (tokenizer.decode(&reference.completion)?, tokenizer.decode(&answer.completion)?);
        terms.push((f64::from(u8::from(score.right(&wanted, &found))), 1.0));
    }
    Ok(ScoreRow { task: task.name.clone(), mode, right: bootstrap(&terms, seed) })
}
