//! The whole way of a drafter in minutes: a tiny pair trained, distilled, measured and exported on the CPU.

mod text;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::de::DeserializeOwned;

use crate::error::IoContext;
use crate::evaluate::{EvaluateRecipe, evaluate};
use crate::export::{ExportOutcome, ExportRecipe, check_runtime, export};
use crate::pretrain::{PretrainRecipe, pretrain};
use crate::{Result, distill, recipe, tokenizer};

const TARGET: &str = include_str!("../../recipes/tiny/target.toml");
const DRAFTER: &str = include_str!("../../recipes/tiny/drafter.toml");
const DISTILL: &str = include_str!("../../recipes/tiny/distill.toml");
const EVALUATE: &str = include_str!("../../recipes/tiny/evaluate.toml");
const EXPORT: &str = include_str!("../../recipes/tiny/export.toml");

/// Tokens of the tiny vocabulary.
const VOCAB_LEN: usize = 512;

/// What a run of the demonstration leaves behind.
#[derive(Clone, Debug)]
pub struct DemoOutcome {
    /// Acceptance before and after distillation, one line per task and temperature.
    pub comparison: Vec<String>,
    /// The evaluator's table of both drafters.
    pub table: PathBuf,
    /// The pack.
    pub pack: PathBuf,
    /// What export found.
    pub export: ExportOutcome,
}

/// Trains, distils, evaluates and exports a tiny pair below `out`; texts are made up from a seed, so nothing is read.
///
/// Each step goes on where a killed run stopped. `shorten` divides every step count: tests use it.
///
/// # Errors
/// `Runtime` before anything is trained if ONNX Runtime is missing; of any step.
pub fn demo(out: &Path, shorten: usize, device: &Device) -> Result<DemoOutcome> {
    std::fs::create_dir_all(out).at(out)?;
    // Export needs it after all the training.
    check_runtime(&out.join(".runtime"), device)?;
    let data = out.join("data");
    text::write(&data)?;
    let steps = |text: &str| step_overrides(text, shorten.max(1));

    let mut target: PretrainRecipe = load(TARGET, &steps(TARGET))?;
    target.tokenizer = out.join("tokenizer.json");
    if !target.tokenizer.exists() {
        tokenizer::train(&target.corpus, &data, VOCAB_LEN, &target.tokenizer)?;
    }
    eprintln!("target");
    let target = pretrain(&target, &data, &out.join("target"), device)?.checkpoint;

    let mut drafter: PretrainRecipe = load(DRAFTER, &steps(DRAFTER))?;
    drafter.tokenizer = out.join("tokenizer.json");
    eprintln!("drafter");
    let drafter = pretrain(&drafter, &data, &out.join("drafter"), device)?.checkpoint;

    let mut distillation: distill::recipe::DistillRecipe = load(DISTILL, &steps(DISTILL))?;
    distillation.target.clone_from(&target);
    distillation.drafter.clone_from(&drafter);
    eprintln!("distillation");
    let distilled = distill::distill(&distillation, &data, &out.join("distilled"), device)?;
    let measured = distilled.before.iter().zip(&distilled.after);
    let comparison = measured.map(|(before, after)| distill::pair::comparison(before, after)).collect();

    let mut evaluation: EvaluateRecipe = load(EVALUATE, &[])?;
    evaluation.target.clone_from(&target);
    for (settings, path) in evaluation.drafter.iter_mut().zip([drafter, distilled.best.clone()]) {
        settings.path = path;
    }
    eprintln!("evaluation");
    let evaluated = out.join("evaluation");
    evaluate(&evaluation, &data, &evaluated, device)?;

    let mut last: ExportRecipe = load(EXPORT, &[])?;
    last.target = target;
    last.drafter = Some(distilled.best);
    last.acceptance = Some(evaluated.join("acceptance.distilled.json"));
    let pack = out.join("pack");
    eprintln!("export");
    let export = export(&last, &data, &pack, device)?;
    Ok(DemoOutcome { comparison, table: evaluated.join("evaluation.md"), pack, export })
}

fn load<T: DeserializeOwned>(text: &str, overrides: &[String]) -> Result<T> {
    recipe::parse(Path::new("recipes/tiny"), text, overrides)
}

/// `train.steps` divided, for tests of the whole way.
fn step_overrides(text: &str, shorten: usize) -> Vec<String> {
    let steps = text.lines().find_map(|line| line.strip_prefix("steps = ")?.trim().parse::<usize>().ok());
    steps.map(|steps| format!("train.steps={}", (steps / shorten).max(1))).into_iter().collect()
}
