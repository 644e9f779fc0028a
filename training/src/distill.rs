//! Distils a drafter from its target: the loop of `distill`.
//!
//! Each step deals texts from the sources of the recipe, lets the frozen target judge every completion position and
//! moves the drafter down the loss. Which state is kept is decided by acceptance on held-out prompts, never by the
//! loss. Distilling a target from a bigger one is the same command: the bigger one is the `target`.

pub mod batch;
pub mod pair;
pub mod recipe;
pub mod rollout;
pub mod source;
pub mod step;
pub mod task;
pub mod texts;
pub mod top_k;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::{Value, json};

use crate::backward::{Held, chunk_rows_asked};
use crate::distill::batch::Example;
use crate::distill::pair::{Measurement, Pair};
use crate::distill::recipe::DistillRecipe;
use crate::distill::rollout::Limits;
use crate::distill::source::Dealer;
use crate::distill::texts::{TaskHeldOut, Texts};
use crate::model::Llama;
use crate::optimizer::{self, Gradients, Optimizer};
use crate::run::{self, Progress, Report, Run};
use crate::schedule::Schedule;
use crate::{Error, Result};

/// What a finished distillation reports.
#[derive(Clone, Debug)]
pub struct DistillOutcome {
    /// Folder of the drafter with the highest acceptance on held-out prompts.
    pub best: PathBuf,
    /// The drafter that the recipe began with.
    pub before: Vec<Measurement>,
    /// The best drafter.
    pub after: Vec<Measurement>,
}

/// Distils until the recipe's last step, going on from the run's checkpoint if there is one.
///
/// The run's folder then has `run.toml`, `metrics.jsonl`, `metrics.svg`, `checkpoint/`, `best/` and, if the target wrote
/// texts, `target_text.jsonl`. A run that was killed and resumed gives the weights of an unbroken one.
///
/// # Errors
/// `NotFinite` if the loss or gradient is not a number: the last good checkpoint is kept. `Mismatch` if drafter and
/// target do not share a vocabulary. `Setting`, `Format`, `Io`.
pub fn distill(recipe: &DistillRecipe, data: &Path, folder: &Path, device: &Device) -> Result<DistillOutcome> {
    let mut distillation = Distillation::open(recipe, data, folder, device)?;
    while distillation.progress.step < recipe.train.steps {
        distillation.step()?;
    }
    distillation.finish()
}

/// A distillation between two steps.
struct Distillation<'a> {
    recipe: &'a DistillRecipe,
    pair: Pair,
    held_out: Vec<TaskHeldOut>,
    dealer: Dealer,
    run: Run,
    report: Report,
    optimizer: Optimizer,
    /// Trainable; none only while a step moves it.
    drafter: Option<Llama>,
    progress: Progress,
    /// Step of the checkpoint on disk.
    saved_step: usize,
    before: Vec<Measurement>,
    /// Of the best state, if this run and not one before it came to that.
    after: Option<Vec<Measurement>>,
}

impl<'a> Distillation<'a> {
    fn open(recipe: &'a DistillRecipe, data: &Path, folder: &Path, device: &Device) -> Result<Self> {
        recipe.check()?;
        recipe.train.precision.check(device)?;
        let pair = Pair::open(&recipe.target, &recipe.drafter, device)?;
        let texts = Texts::load(recipe, &pair, data)?;
        run::check_shape(folder, pair.drafter.config())?;
        let run = Run::open(folder, recipe)?;
        let mut optimizer = Optimizer::new(&recipe.optimizer);
        let resumed = run.resume(&mut optimizer, device)?;
        let held_out = texts.held_out(recipe, &pair)?;
        let pools = texts.pools(recipe, &pair, &held_out, &folder.join("target_text.jsonl"))?;
        let settings = &recipe.train;
        let limits = Limits { completion_len_max: settings.completion_len_max, batch_rows: settings.rollout_rows };
        let mut dealer =
            Dealer::new(pools, recipe.mixture, recipe.on_policy.clone(), limits, settings.batch, settings.seed)?;
        let before = pair.measure(&pair.drafter, &held_out, recipe);
        let (drafter, progress, after) = match resumed {
            Some((drafter, progress)) => {
                let written = serde_json::from_value(progress.extra.clone());
                dealer.restore(written.map_err(|error| Error::format(&run.checkpoint(), error.to_string()))?);
                (drafter, progress, None)
            }
            None => {
                // Should nothing be better, the drafter that came in is what comes out.
                run.save_best(&pair.drafter, &pair.tokenizer_path)?;
                run.log(&json!({ "step": 0, "score": score(&before), "held_out": before }))?;
                let progress = Progress { best: Some(score(&before)), ..Progress::default() };
                (pair.drafter.clone(), progress, Some(before.clone()))
            }
        };
        Ok(Self {
            recipe,
            pair,
            held_out,
            dealer,
            run,
            report: Report::new(settings.steps, progress.step),
            optimizer,
            drafter: Some(drafter.trainable()),
            saved_step: progress.step,
            progress,
            before,
            after,
        })
    }

    fn drafter(&self) -> &Llama {
        self.drafter.as_ref().expect("a step puts the drafter back, or fails for good")
    }

    fn step(&mut self) -> Result<()> {
        let settings = &self.recipe.train;
        let step = self.progress.step;
        let drafter = self.drafter.take().expect("a step puts the drafter back, or fails for good");
        let examples = self.dealer.deal(step, &drafter)?;
        let (gradients, measured) = step_gradients(&self.pair.target, &drafter, &examples, self.recipe)?;
        let schedule = Schedule {
            peak: settings.learning_rate,
            floor: settings.learning_rate_floor,
            warmup_steps: settings.warmup_steps,
            steps: settings.steps,
        };
        let at = [step, self.saved_step];
        let (drafter, stepped) = schedule.apply(&mut self.optimizer, drafter, gradients, measured.loss as f32, at)?;
        self.drafter = Some(drafter);
        self.progress.step += 1;
        self.progress.tokens += measured.positions as u64;
        let message = format!("loss {:.4} acceptance {:.3}", measured.loss, measured.acceptance);
        let speed = self.report.step(measured.positions, &message);
        let mut line = json!({
            "step": self.progress.step, "tokens": self.progress.tokens, "loss": measured.loss,
            "acceptance": measured.acceptance, "gradient_norm": stepped.gradient_norm,
            "learning_rate": stepped.rate, "tokens_per_second": speed.round(),
        });
        let due = |every| self.progress.step == settings.steps || self.progress.step.is_multiple_of(every);
        let (selects, saves) = (due(self.recipe.select.every), due(settings.checkpoint_every));
        if selects || saves {
            self.check_weights(&examples)?;
        }
        if selects {
            self.select(&mut line)?;
        }
        self.run.log(&line)?;
        if saves {
            self.save()?;
        }
        Ok(())
    }

    /// Refuses weights that a finite gradient has moved too far, before they replace a good state.
    fn check_weights(&self, examples: &[Example]) -> Result<()> {
        let context_len = self.pair.context_len();
        // The step has refused examples that have no completion within the context.
        let predicts = |example: &&Example| example.tokens(context_len).len() > example.prompt.len().max(1);
        let judged = examples.iter().find(predicts).map_or(&[][..], std::slice::from_ref);
        let (gradients, measured) = step_gradients(&self.pair.target, self.drafter(), judged, self.recipe)?;
        for (quantity, value) in [
            ("loss after the step", measured.loss as f32),
            ("gradient norm after the step", optimizer::norm(&gradients)),
        ] {
            if !value.is_finite() {
                let (step, checkpoint_step) = (self.progress.step, self.saved_step);
                return Err(Error::NotFinite { quantity, value, step, checkpoint_step });
            }
        }
        Ok(())
    }

    /// Measures the drafter on the held-out prompts and keeps it if it is the best so far.
    fn select(&mut self, line: &mut Value) -> Result<()> {
        self.report.steps(0, 0, "measuring on held-out prompts");
        let found = self.pair.measure(self.drafter(), &self.held_out, self.recipe);
        line["score"] = json!(score(&found));
        line["held_out"] = json!(found);
        if self.progress.best.is_none_or(|best| score(&found) > best) {
            self.progress.best = Some(score(&found));
            self.run.save_best(self.drafter(), &self.pair.tokenizer_path)?;
            self.after = Some(found);
        }
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        self.progress.extra = json!(self.dealer.written());
        self.run.save(self.drafter(), &self.pair.tokenizer_path, &self.optimizer, &self.progress)?;
        self.saved_step = self.progress.step;
        Ok(())
    }

    fn finish(self) -> Result<DistillOutcome> {
        self.run.draw()?;
        let best = self.run.best();
        let after = match self.after {
            Some(after) => after,
            None => {
                let drafter = crate::import::hugging_face::load(&best, &self.pair.target.device())?;
                self.pair.measure(&drafter, &self.held_out, self.recipe)
            }
        };
        Ok(DistillOutcome { best, before: self.before, after })
    }
}

/// What selects a checkpoint: the mean acceptance over tasks and temperatures.
fn score(measurements: &[Measurement]) -> f64 {
    let sum: f64 = measurements.iter().map(|measurement| measurement.summary.acceptance.value).sum();
    sum / measurements.len().max(1) as f64
}

/// Gradients and measures of one step, a mean over all its positions, in as many passes as its texts need.
fn step_gradients(
    target: &Llama,
    drafter: &Llama,
    examples: &[Example],
    recipe: &DistillRecipe,
) -> Result<(Gradients, step::Measured)> {
    let settings = &recipe.train;
    let held = Held {
        chunk_rows: chunk_rows_asked(settings.chunk_rows, target.config().vocab_len),
        recompute_layers: settings.recompute_layers,
    };
    let objective =
        step::Objective { loss: recipe.loss, temperature: recipe.temperature, held, precision: settings.precision };
    let context_len = target.config().context_len.min(drafter.config().context_len);
    let mut ordered: Vec<&Example> = examples.iter().collect();
    // Texts of like length share a pass; those that the target has judged before need none of its own.
    let judged = |example: &Example| example.judged.is_some();
    ordered.sort_by_key(|example| (judged(example), example.prompt.len() + example.completion.len()));
    let alike = ordered.chunk_by(|one, other| judged(one) == judged(other));
    let passes = alike.flat_map(|texts| texts.chunks(settings.batch_per_pass));
    let batches: Vec<_> = passes.filter_map(|texts| batch::Batch::new(texts, context_len, &target.device())).collect();
    let positions: usize = batches.iter().map(|batch| batch.next.len()).sum();
    if positions == 0 {
        return Err(Error::setting("task", "no text of the step has a completion within the context"));
    }
    let mut sum = Gradients::new();
    let mut total = step::Measured { loss: 0.0, acceptance: 0.0, positions };
    for group in batches.chunks(settings.threads) {
        // The CPU backend computes elementwise operations on one thread: passes run side by side, and are summed in
        // order.
        let found: Vec<_> = std::thread::scope(|scope| {
            let spawn = |batch| scope.spawn(move || step::gradients(target, drafter, batch, objective));
            let running: Vec<_> = group.iter().map(spawn).collect();
            running.into_iter().map(|pass| pass.join().expect("a pass panicked")).collect()
        });
        for (gradients, measured) in found {
            let share = measured.positions as f64 / positions as f64;
            let scaled = gradients.into_iter().map(|(name, gradient)| (name, gradient.mul_scalar(share))).collect();
            optimizer::accumulate(&mut sum, scaled);
            total.loss += measured.loss * share;
            total.acceptance += measured.acceptance * share;
        }
    }
    Ok((sum, total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::CorpusSettings;
    use crate::distill::recipe::{DistillSettings, Selection, TargetText};
    use crate::distill::source::{Mixture, OnPolicy};
    use crate::distill::task::{PromptEnd, TaskSettings};
    use crate::generate::{GenerateRecipe, Shard, generate};
    use crate::import::hugging_face;
    use crate::loss::Loss;
    use crate::model::ModelConfig;
    use crate::optimizer::AdamWSettings;
    use crate::{folder, tokenizer};

    const WORDS: [&str; 8] = ["one", "two", "three", "four", "five", "six", "seven", "eight"];

    /// A folder with texts, a tokenizer, a target of random but pronounced opinions and a small random drafter.
    pub(super) fn toy(root: &Path) -> DistillRecipe {
        let text: Vec<String> = (0..64)
            .map(|index| (0..12).map(|t| WORDS[(index * 3 + t * (index % 5 + 1)) % 8]).collect::<Vec<_>>().join(" "))
            .collect();
        std::fs::write(root.join("a.txt"), text.join("<|endoftext|>")).unwrap();
        let corpus = CorpusSettings::text("a.txt");
        let file = root.join("tokenizer.json");
        tokenizer::train(std::slice::from_ref(&corpus), root, 288, &file).unwrap();
        let vocab_len = crate::tokenizer::Tokenizer::open(&file).unwrap().vocab_len();
        // A tied head would make both models repeat the last token, and agree before they have learned anything.
        let shape = ModelConfig { vocab_len, context_len: 64, tied_head: false, ..ModelConfig::tiny() };
        let small = ModelConfig { layers: 1, ffn_len: 16, ..shape.clone() };
        let device = Device::flex();
        let target = Llama::random(shape, 1, &device).unwrap().map(|_, tensor| tensor.mul_scalar(4.0));
        let drafter = Llama::random(small, 2, &device).unwrap();
        for (name, model) in [("target", target), ("drafter", drafter)] {
            folder::replace(&root.join(name), |folder| hugging_face::save(folder, &model, Some(&file))).unwrap();
        }
        DistillRecipe {
            target: root.join("target"),
            drafter: root.join("drafter"),
            loss: Loss::ForwardKl,
            temperature: 1.0,
            mixture: Mixture { fixed: 0.0, target: 0.0, on_policy: 1.0, generic_share: 0.1 },
            on_policy: OnPolicy { refresh_steps: 4, ..OnPolicy::default() },
            target_text: TargetText { count: 20, ..TargetText::default() },
            train: DistillSettings {
                steps: 160,
                batch: 8,
                completion_len_max: 24,
                learning_rate: 1e-2,
                warmup_steps: 5,
                checkpoint_every: 5,
                ..DistillSettings::default()
            },
            optimizer: AdamWSettings::default(),
            select: Selection { every: 40, prompts: 16, completion_len_max: 24, ..Selection::default() },
            task: vec![TaskSettings {
                name: "words".into(),
                prompt: PromptEnd::Tokens([2, 5]),
                weight: 1.0,
                corpus: corpus.clone(),
            }],
            generic: vec![corpus],
        }
    }

    fn acceptance(measurements: &[Measurement]) -> Vec<f64> {
        measurements.iter().map(|measurement| measurement.summary.acceptance.value).collect()
    }

    #[test]
    fn on_policy_distillation_raises_acceptance() {
        let root = tempfile::tempdir().unwrap();
        let recipe = toy(root.path());
        let outcome = distill(&recipe, root.path(), &root.path().join("run"), &Device::flex()).unwrap();
        let (before, after) = (acceptance(&outcome.before), acceptance(&outcome.after));
        assert_eq!(before.len(), 2, "greedy and sampled");
        for (before, after) in before.iter().zip(&after) {
            assert!(*after > before + 0.05, "{before} to {after}");
        }
        let again = distill(&recipe, root.path(), &root.path().join("run"), &Device::flex()).unwrap();
        assert_eq!(acceptance(&again.after), acceptance(&outcome.after), "read from disk once the run is over");
        let metrics = std::fs::read_to_string(root.path().join("run/metrics.jsonl")).unwrap();
        let scores: Vec<f64> =
            metrics.lines().filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["score"].as_f64()).collect();
        assert_eq!(scores.len(), 5, "before, thrice on the way and at the end");
        let best = scores.iter().copied().fold(0.0, f64::max);
        assert!((score(&outcome.after) - best).abs() < 1e-9, "the best checkpoint is what comes out");
        let plot = std::fs::read_to_string(root.path().join("run/metrics.svg")).unwrap();
        assert!(plot.contains("held out, words, T = 1") && plot.contains(">learning rate<"), "{plot}");
    }

    #[test]
    fn a_killed_run_resumes_to_the_weights_of_an_unbroken_one() {
        let root = tempfile::tempdir().unwrap();
        let mut recipe = toy(root.path());
        recipe.train.steps = 13;
        recipe.mixture = Mixture { fixed: 1.0, target: 1.0, on_policy: 2.0, generic_share: 0.1 };
        let device = Device::flex();
        let (whole, broken) = (root.path().join("whole"), root.path().join("broken"));
        distill(&recipe, root.path(), &whole, &device).unwrap();
        let mut first = Distillation::open(&recipe, root.path(), &broken, &device).unwrap();
        // Killed in the middle of a refresh, two steps after the checkpoint.
        (0..7).for_each(|_| first.step().unwrap());
        drop(first);
        let resumed = Distillation::open(&recipe, root.path(), &broken, &device).unwrap();
        assert_eq!(resumed.progress.step, 5);
        drop(resumed);
        distill(&recipe, root.path(), &broken, &device).unwrap();
        let weights = |run: &Path| hugging_face::load(&run.join("checkpoint"), &device).unwrap().values();
        assert_eq!(weights(&whole), weights(&broken));
        let steps = |run: &Path| {
            let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
            metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["step"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(steps(&whole), steps(&broken));
    }

    #[test]
    fn the_targets_texts_go_on_after_a_kill() {
        let root = tempfile::tempdir().unwrap();
        let mut recipe = toy(root.path());
        recipe.mixture = Mixture { fixed: 0.0, target: 1.0, on_policy: 0.0, generic_share: 0.0 };
        recipe.train.rollout_rows = 8;
        let pair = Pair::open(&recipe.target, &recipe.drafter, &Device::flex()).unwrap();
        let texts = Texts::load(&recipe, &pair, root.path()).unwrap();
        let write = |cache: &Path| {
            let pools = texts.pools(&recipe, &pair, &[], cache).unwrap();
            let (_, written) = pools.target.shares().next().unwrap();
            written.to_vec()
        };
        let (whole, broken) = (root.path().join("whole.jsonl"), root.path().join("broken.jsonl"));
        let unbroken = write(&whole);
        // Two of three batches were done; what they hold shows that they were not made again.
        let written = std::fs::read_to_string(&whole).unwrap();
        let header = format!("8 {}", written.lines().next().unwrap());
        let (mut part, _) = crate::part::Part::open::<Vec<Vec<u32>>>(&broken, &header).unwrap();
        (0..2).for_each(|_| part.push(&vec![vec![7u32]; 8]).unwrap());
        drop(part);
        let found = write(&broken);
        assert_eq!(found.len(), unbroken.len());
        assert_eq!(found.iter().filter(|example| example.completion == [7]).count(), 16);
        assert_eq!(found.iter().filter(|example| unbroken.contains(example)).count(), unbroken.len() - 16);
    }

    #[test]
    fn prompts_equal_to_a_held_out_one_are_not_learned_nor_kept_from_before() {
        let root = tempfile::tempdir().unwrap();
        let mut recipe = toy(root.path());
        recipe.mixture = Mixture { fixed: 1.0, target: 1.0, on_policy: 0.0, generic_share: 0.0 };
        recipe.target_text.count = 60;
        recipe.task[0].prompt = PromptEnd::Tokens([4, 4]);
        let pair = Pair::open(&recipe.target, &recipe.drafter, &Device::flex()).unwrap();
        let cache = root.path().join("target_text.jsonl");
        let examples = recipe.task[0].examples(root.path(), &pair.tokenizer, pair.end, recipe.train.seed).unwrap();
        // Every text stands there again forty lines below.
        for prompts in [4, 12] {
            recipe.select.prompts = prompts;
            let (rest, held) = task::hold_out(examples.clone(), prompts);
            let leaks = |text: &Example| held.iter().any(|other| other.prompt == text.prompt);
            assert!(rest.iter().any(leaks), "the data has prompts twice");
            let pools = Texts::load(&recipe, &pair, root.path()).unwrap().pools(&recipe, &pair, &[], &cache).unwrap();
            for pool in [&pools.fixed, &pools.target] {
                let texts: Vec<&Example> = pool.shares().flat_map(|(_, texts)| texts).collect();
                assert!(texts.len() >= 20 && !texts.into_iter().any(leaks), "{prompts} held out");
            }
        }
    }

    #[test]
    fn a_run_of_a_drafter_of_another_shape_is_not_gone_on_with() {
        let root = tempfile::tempdir().unwrap();
        let mut recipe = toy(root.path());
        recipe.train.steps = 1;
        let (run, device) = (root.path().join("run"), Device::flex());
        distill(&recipe, root.path(), &run, &device).unwrap();
        let drafter = hugging_face::load(&recipe.drafter, &device).unwrap();
        let counts = crate::init::count_tokens([&[5u32, 9][..]], drafter.config().vocab_len);
        let (trimmed, _) = crate::init::trim(&drafter, &counts, 32, &device).unwrap();
        let file = root.path().join("tokenizer.json");
        folder::replace(&recipe.drafter, |folder| hugging_face::save(folder, &trimmed, Some(&file))).unwrap();
        let error = distill(&recipe, root.path(), &run, &device).unwrap_err();
        assert!(matches!(error, Error::Setting { .. }) && error.to_string().contains("run holds a run"), "{error}");
    }

    #[test]
    fn a_share_of_generic_text_needs_some() {
        let root = tempfile::tempdir().unwrap();
        let mut recipe = toy(root.path());
        recipe.generic[0].weight = -1.0;
        assert!(recipe.check().unwrap_err().to_string().contains("generic.weight"));
        recipe.generic.clear();
        assert!(recipe.check().unwrap_err().to_string().contains("[[generic]]"));
        recipe.mixture.generic_share = 0.0;
        recipe.check().unwrap();
    }

    #[test]
    fn prompts_without_answers_are_enough() {
        let root = tempfile::tempdir().unwrap();
        let mut recipe = toy(root.path());
        recipe.task[0].prompt = PromptEnd::Whole;
        recipe.task[0].corpus.path = "prompts.txt".into();
        let prompts: Vec<String> = WORDS.iter().flat_map(|one| WORDS.map(|two| format!("{one} {two}"))).collect();
        std::fs::write(root.path().join("prompts.txt"), prompts.join("<|endoftext|>")).unwrap();
        recipe.mixture = Mixture { fixed: 0.0, target: 1.0, on_policy: 1.0, generic_share: 0.0 };
        recipe.train.steps = 2;
        let outcome = distill(&recipe, root.path(), &root.path().join("run"), &Device::flex()).unwrap();
        assert_eq!(outcome.after[0].summary.texts, 16);
        recipe.mixture.fixed = 1.0;
        let error = distill(&recipe, root.path(), &root.path().join("other"), &Device::flex()).unwrap_err();
        assert!(error.to_string().contains("mixture.fixed"), "{error}");
    }

    #[test]
    fn a_loss_that_is_no_number_stops_and_keeps_the_checkpoint() {
        let root = tempfile::tempdir().unwrap();
        let mut recipe = toy(root.path());
        recipe.train.steps = 8;
        let (run, device) = (root.path().join("run"), Device::flex());
        let mut distillation = Distillation::open(&recipe, root.path(), &run, &device).unwrap();
        (0..6).for_each(|_| distillation.step().unwrap());
        let spoiled = distillation.drafter.take().map(|drafter| drafter.map(|_, tensor| tensor.mul_scalar(f32::NAN)));
        distillation.drafter = spoiled.map(|drafter| drafter.frozen().trainable());
        let error = distillation.step().unwrap_err();
        assert!(matches!(error, Error::NotFinite { step: 6, checkpoint_step: 5, .. }), "{error}");
        let kept = hugging_face::load(&run.join("checkpoint"), &device).unwrap().values();
        assert!(kept.iter().all(|tensor| tensor.values.iter().all(|value| value.is_finite())));
    }

    #[test]
    fn weights_that_a_finite_gradient_broke_never_replace_a_checkpoint() {
        let root = tempfile::tempdir().unwrap();
        let mut recipe = toy(root.path());
        recipe.train.steps = 5;
        let (run, device) = (root.path().join("run"), Device::flex());
        distill(&recipe, root.path(), &run, &device).unwrap();
        let weights = || hugging_face::load(&run.join("checkpoint"), &device).unwrap().values();
        let good = weights();
        recipe.train.steps = 6;
        // The gradient of this step is taken before it and finite; the last step is saved at once.
        (recipe.train.learning_rate, recipe.train.learning_rate_floor) = (1e36, 1.0);
        let error = distill(&recipe, root.path(), &run, &device).unwrap_err();
        assert!(matches!(error, Error::NotFinite { checkpoint_step: 5, .. }), "{error}");
        assert_eq!(weights(), good);
    }

    #[test]
    fn another_vocabulary_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let recipe = toy(root.path());
        let file = root.path().join("drafter/tokenizer.json");
        let text = std::fs::read_to_string(&file).unwrap().replace("\"one\"", "\"won\"");
        std::fs::write(&file, text).unwrap();
        let error = distill(&recipe, root.path(), &root.path().join("run"), &Device::flex()).unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    }

    #[test]
    fn added_tokens_and_missing_vocabularies_are_compared_too() {
        let root = tempfile::tempdir().unwrap();
        let recipe = toy(root.path());
        let file = root.path().join("drafter/tokenizer.json");
        let written: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let refused = |name: &str, change: fn(&mut Value)| {
            let mut other = written.clone();
            change(&mut other);
            std::fs::write(root.path().join(name).join("tokenizer.json"), other.to_string()).unwrap();
            Pair::open(&recipe.target, &recipe.drafter, &Device::flex()).err().unwrap()
        };
        let error = refused("drafter", |json| json["added_tokens"][0]["content"] = json!("<|end|>"));
        assert!(matches!(error, Error::Mismatch { .. }) && error.to_string().contains("token 0"), "{error}");
        // Two files without a vocabulary are not two equal ones.
        refused("drafter", |json| json["model"]["vocab"] = Value::Null);
        let error = refused("target", |json| json["model"]["vocab"] = Value::Null);
        assert!(matches!(error, Error::Format { .. }), "{error}");
    }

    #[test]
    fn unequal_padding_names_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let recipe = toy(root.path());
        let file = root.path().join("tokenizer.json");
        let config = ModelConfig { vocab_len: 300, context_len: 64, ..ModelConfig::tiny() };
        let padded = Llama::random(config, 2, &Device::flex()).unwrap();
        folder::replace(&recipe.drafter, |folder| hugging_face::save(folder, &padded, Some(&file))).unwrap();
        let open = |drafter: &Path| Pair::open(&recipe.target, drafter, &Device::flex());
        let error = open(&recipe.drafter).err().unwrap().to_string();
        assert!(error.contains("300") && error.contains("`import`"), "{error}");
        let imported = root.path().join("imported");
        crate::import::import(&recipe.drafter, None, &imported, &Device::flex()).unwrap();
        open(&imported).unwrap();
    }

    #[test]
    fn a_trimmed_target_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let recipe = toy(root.path());
        let file = root.path().join("tokenizer.json");
        let target = hugging_face::load(&recipe.target, &Device::flex()).unwrap();
        let counts = crate::init::count_tokens([&[5u32, 9][..]], target.config().vocab_len);
        let (trimmed, _) = crate::init::trim(&target, &counts, 32, &Device::flex()).unwrap();
        folder::replace(&recipe.target, |folder| hugging_face::save(folder, &trimmed, Some(&file))).unwrap();
        let error = Pair::open(&recipe.target, &recipe.drafter, &Device::flex()).err().unwrap();
        assert!(matches!(error, Error::Mismatch { .. }) && error.to_string().contains("trimmed to 32"), "{error}");
    }

    #[test]
    fn tokens_outside_both_models_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let recipe = toy(root.path());
        let file = root.path().join("tokenizer.json");
        for (name, seed) in [("target", 1), ("drafter", 2)] {
            let config = ModelConfig { vocab_len: 100, context_len: 64, ..ModelConfig::tiny() };
            let model = Llama::random(config, seed, &Device::flex()).unwrap();
            folder::replace(&root.path().join(name), |folder| hugging_face::save(folder, &model, Some(&file))).unwrap();
        }
        let error = Pair::open(&recipe.target, &recipe.drafter, &Device::flex()).err().unwrap();
        assert!(matches!(error, Error::Mismatch { .. }) && error.to_string().contains("100 rows"), "{error}");
    }

    #[test]
    fn learns_from_what_generate_wrote_but_not_from_held_out_prompts() {
        let root = tempfile::tempdir().unwrap();
        let mut recipe = toy(root.path());
        recipe.mixture = Mixture { fixed: 0.0, target: 1.0, on_policy: 0.0, generic_share: 0.0 };
        recipe.select.prompts = 8;
        let asked = GenerateRecipe {
            model: recipe.target.clone(),
            temperatures: vec![1.0],
            top_p: vec![1.0],
            prompts: 0,
            completion_len_max: 8,
            batch: 32,
            seed: recipe.train.seed,
            top_k: 1 << 16,
            task: recipe.task.clone(),
        };
        let (answers, device) = (root.path().join("answers.parquet"), Device::flex());
        let written = generate(&asked, root.path(), Shard { index: 0, count: 1 }, &answers, &device).unwrap();
        recipe.target_text.path = Some(answers.clone());
        let pair = Pair::open(&recipe.target, &recipe.drafter, &device).unwrap();
        let texts = Texts::load(&recipe, &pair, root.path()).unwrap();
        let pools = texts.pools(&recipe, &pair, &[], &root.path().join("unused")).unwrap();
        let (_, learned) = pools.target.shares().next().unwrap();
        assert!((1..=written - 8).contains(&learned.len()), "{} of {written}", learned.len());

        recipe.train.steps = 2;
        distill(&recipe, root.path(), &root.path().join("run"), &device).unwrap();
        // The judgement on disk is over the whole vocabulary: the target's own pass gives the same losses.
        recipe.target_text.judged = true;
        distill(&recipe, root.path(), &root.path().join("judged"), &device).unwrap();
        let mut short = recipe.clone();
        (short.train.completion_len_max, short.train.steps) = (5, 1);
        let pools = texts.pools(&short, &pair, &[], &root.path().join("unused")).unwrap();
        let lens = |(_, texts): (f64, &[Example])| texts.iter().map(|text| text.completion.len()).max();
        assert_eq!(pools.target.shares().find_map(lens), Some(5), "as long as the recipe asks");
        distill(&short, root.path(), &root.path().join("short"), &device).unwrap();
        let losses = |run: &str| {
            let metrics = std::fs::read_to_string(root.path().join(run).join("metrics.jsonl")).unwrap();
            let loss = |line: &str| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64();
            metrics.lines().filter_map(loss).collect::<Vec<_>>()
        };
        let (ran, read) = (losses("run"), losses("judged"));
        assert!(ran.len() == 2 && ran.iter().zip(&read).all(|(x, y)| (x - y).abs() < 1e-4), "{ran:?} {read:?}");
        let other = GenerateRecipe { top_k: 0, ..asked };
        generate(&other, root.path(), Shard { index: 0, count: 1 }, &root.path().join("bare.parquet"), &device)
            .unwrap();
        let bare = DistillRecipe {
            target_text: TargetText { path: Some(root.path().join("bare.parquet")), ..recipe.target_text.clone() },
            ..recipe.clone()
        };
        let error = distill(&bare, root.path(), &root.path().join("bare"), &device).unwrap_err();
        assert!(error.to_string().contains("0 likeliest"), "{error}");

        let other = Llama::random(pair.target.config().clone(), 9, &device).unwrap();
        let tokenizer = root.path().join("tokenizer.json");
        folder::replace(&recipe.target, |folder| hugging_face::save(folder, &other, Some(&tokenizer))).unwrap();
        let error = distill(&recipe, root.path(), &root.path().join("again"), &device).unwrap_err();
        assert!(error.to_string().contains("other weights"), "{error}");
    }
}
