//! Next-token training of a target or a drafter on text.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::backward::{Held, backward, chunk_rows, cross_entropy, inputs_and_next, mean_loss};
use crate::corpus::{Corpus, CorpusSettings, training_row};
use crate::import::hugging_face;
use crate::model::{Llama, ModelConfig, Precision, token_tensor};
use crate::optimizer::{AdamWSettings, Gradients, Optimizer, accumulate};
use crate::run::{self, Progress, Report, Run};
use crate::schedule::Schedule;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// A recipe of `pretrain`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainRecipe {
    /// `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// Shape of a model from scratch; `vocab_len` 0 takes the tokenizer's.
    #[serde(default)]
    pub model: Option<ModelConfig>,
    /// Folder of a model to go on from instead.
    #[serde(default)]
    pub init_from: Option<PathBuf>,
    /// How long and how fast.
    pub train: TrainSettings,
    /// AdamW.
    #[serde(default)]
    pub optimizer: AdamWSettings,
    /// Texts.
    pub corpus: Vec<CorpusSettings>,
}

/// Length, batch and schedule of a training run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainSettings {
    /// Of initial weights and of the order of rows.
    pub seed: u64,
    /// Optimiser steps.
    pub steps: usize,
    /// Rows per forward pass.
    pub batch: usize,
    /// Forward passes per step.
    pub accumulation: usize,
    /// Parts of a forward pass that run side by side on the CPU; 1 on a GPU.
    pub threads: usize,
    /// Tokens per row.
    pub sequence_len: usize,
    /// Computes each layer again on the way back instead of keeping what it computed: less memory, more time.
    pub recompute_layers: bool,
    /// Numbers of the products in a step; validation is in f32.
    pub precision: Precision,
    /// Peak of the schedule.
    pub learning_rate: f64,
    /// Last rate as a share of the peak.
    pub learning_rate_floor: f64,
    /// Steps of linear rise.
    pub warmup_steps: usize,
    /// Share of each corpus's documents kept for validation.
    pub hold_out: f64,
    /// Steps between validations; 0 validates at the end only.
    pub validate_every: usize,
    /// Held-out rows per corpus.
    pub validate_rows: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            seed: 1,
            steps: 1000,
            batch: 8,
            accumulation: 1,
            threads: 1,
            sequence_len: 256,
            recompute_layers: false,
            precision: Precision::F32,
            learning_rate: 1e-3,
            learning_rate_floor: 0.1,
            warmup_steps: 50,
            hold_out: 0.02,
            validate_every: 200,
            validate_rows: 16,
            checkpoint_every: 100,
        }
    }
}

impl TrainSettings {
    fn check(&self) -> Result<()> {
        for (name, value, max) in [
            ("train.steps", self.steps, 1 << 30),
            ("train.batch", self.batch, 1 << 16),
            ("train.accumulation", self.accumulation, 1 << 16),
            ("train.threads", self.threads, 256),
            ("train.sequence_len", self.sequence_len, 1 << 24),
            ("train.checkpoint_every", self.checkpoint_every, 1 << 30),
        ] {
            if value == 0 || value > max {
                return Err(Error::setting(name, format!("{value}: from 1 to {max}")));
            }
        }
        if self.validate_rows > 1 << 20 {
            return Err(Error::setting("train.validate_rows", format!("{}: at most {}", self.validate_rows, 1 << 20)));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return Err(Error::setting("train.learning_rate", format!("{}: above 0", self.learning_rate)));
        }
        if !(0.0..=1.0).contains(&self.learning_rate_floor) {
            let reason = format!("{}: from 0 to 1, a share of the peak", self.learning_rate_floor);
            return Err(Error::setting("train.learning_rate_floor", reason));
        }
        if !(0.0..1.0).contains(&self.hold_out) {
            return Err(Error::setting("train.hold_out", format!("{}: from 0 to below 1", self.hold_out)));
        }
        Ok(())
    }
}

/// What a finished run reports.
#[derive(Clone, Debug, PartialEq)]
pub struct PretrainOutcome {
    /// Checkpoint with the final weights.
    pub checkpoint: PathBuf,
    /// Held-out cross-entropy in nats per token, by corpus.
    pub validation: Vec<(String, f32)>,
}

/// Trains until the recipe's last step, going on from the run's checkpoint if there is one.
///
/// The run's folder then has `run.toml`, `metrics.jsonl`, `metrics.svg` and `checkpoint/`.
///
/// # Errors
/// `NotFinite` if the loss or gradient is not a number: the last good checkpoint is kept. `Setting` of the recipe, or if
/// `folder` holds a run of another shape; `Format`, `Io`.
pub fn pretrain(recipe: &PretrainRecipe, data: &Path, folder: &Path, device: &Device) -> Result<PretrainOutcome> {
    recipe.train.check()?;
    recipe.train.precision.check(device)?;
    recipe.optimizer.check()?;
    let tokenizer = Tokenizer::open(&recipe.tokenizer)?;
    if let Some(wanted) = initial_config(recipe, &tokenizer) {
        run::check_shape(folder, &wanted)?;
    }
    let run = Run::open(folder, recipe)?;
    let mut optimizer = Optimizer::new(&recipe.optimizer);
    let (model, mut progress) = match run.resume(&mut optimizer, device)? {
        Some(resumed) => resumed,
        None => (initial_model(recipe, &tokenizer, device)?, Progress::default()),
    };
    tokenizer.check_rows(model.config().vocab_len)?;
    let settings = &recipe.train;
    if settings.sequence_len > model.config().context_len {
        let context = model.config().context_len;
        return Err(Error::setting(
            "train.sequence_len",
            format!("{}: the context is {context}", settings.sequence_len),
        ));
    }
    let corpora = load_corpora(recipe, data, &tokenizer, &model)?;
    let mut model = model.trainable();
    let schedule = Schedule {
        peak: settings.learning_rate,
        floor: settings.learning_rate_floor,
        warmup_steps: settings.warmup_steps,
        steps: settings.steps,
    };
    let mut saved_step = progress.step;
    let mut report = Report::new(settings.steps, progress.step);
    while progress.step < settings.steps {
        let step = progress.step;
        let (loss, gradients) = step_gradients(&model, &corpora, settings, step);
        let (moved, stepped) = schedule.apply(&mut optimizer, model, gradients, loss, [step, saved_step])?;
        model = moved;
        let tokens = settings.batch * settings.accumulation * settings.sequence_len;
        progress.step += 1;
        progress.tokens += tokens as u64;
        let speed = report.step(tokens, &format!("loss {loss:.3}"));
        let mut line = json!({
            "step": progress.step, "tokens": progress.tokens, "loss": loss, "gradient_norm": stepped.gradient_norm,
            "learning_rate": stepped.rate, "tokens_per_second": speed.round(),
        });
        if settings.validate_every > 0 && progress.step % settings.validate_every == 0 {
            for (name, loss) in validate(&model, &corpora, settings) {
                line["validation"][name] = json!(loss);
            }
        }
        run.log(&line)?;
        if progress.step % settings.checkpoint_every == 0 || progress.step == settings.steps {
            check_weights(&model, &corpora, settings, [progress.step, saved_step])?;
            run.save(&model, &recipe.tokenizer, &optimizer, &progress)?;
            saved_step = progress.step;
        }
    }
    run.draw()?;
    Ok(PretrainOutcome { checkpoint: run.checkpoint(), validation: validate(&model, &corpora, settings) })
}

fn initial_model(recipe: &PretrainRecipe, tokenizer: &Tokenizer, device: &Device) -> Result<Llama> {
    match (&recipe.init_from, &recipe.model) {
        (Some(folder), None) => hugging_face::load(folder, device),
        (None, Some(config)) => Llama::random(whole_config(config, tokenizer), recipe.train.seed, device),
        _ => Err(Error::setting("model", "a recipe has either [model] or init_from")),
    }
}

/// The shape that the recipe begins with; none if the folder that it goes on from is there no more, which a run that has
/// begun does not need.
fn initial_config(recipe: &PretrainRecipe, tokenizer: &Tokenizer) -> Option<ModelConfig> {
    match (&recipe.init_from, &recipe.model) {
        (Some(folder), _) => ModelConfig::from_hugging_face(&folder.join("config.json")).ok(),
        (None, config) => config.as_ref().map(|config| whole_config(config, tokenizer)),
    }
}

/// With what a recipe may leave to the tokenizer.
fn whole_config(config: &ModelConfig, tokenizer: &Tokenizer) -> ModelConfig {
    let mut config = config.clone();
    if config.vocab_len == 0 {
        config.vocab_len = tokenizer.vocab_len();
    }
    if let (true, Some(end)) = (config.eos_tokens.is_empty(), tokenizer.end_of_text()) {
        config.eos_tokens = vec![end];
    }
    config
}

fn load_corpora(recipe: &PretrainRecipe, data: &Path, tokenizer: &Tokenizer, model: &Llama) -> Result<Vec<Corpus>> {
    if model.config().head_tokens.is_some() {
        return Err(Error::setting("model.head_tokens", "trim the head after pretraining: text has every token"));
    }
    let end = tokenizer
        .end_of_text()
        .or(model.config().eos_tokens.first().copied())
        .ok_or_else(|| Error::setting("tokenizer", "no end-of-text token, and the model has no end token"))?;
    let settings = &recipe.train;
    let load = |corpus| Corpus::load(corpus, data, tokenizer, end, settings.hold_out, settings.sequence_len + 1);
    let corpora = recipe.corpus.iter().map(load).collect::<Result<Vec<_>>>()?;
    if corpora.is_empty() {
        return Err(Error::setting("corpus", "a recipe needs at least one"));
    }
    Ok(corpora)
}

/// Mean loss and gradients of one step.
///
/// The CPU backend computes elementwise operations on one thread, so each forward pass is split into parts that run
/// side by side; their order of summation is fixed.
fn step_gradients(model: &Llama, corpora: &[Corpus], settings: &TrainSettings, step: usize) -> (f32, Gradients) {
    let (mut loss, mut sum) = (0.0, Gradients::new());
    let model = &model.clone().with_precision(settings.precision);
    let held = Held { chunk_rows: rows_at_once(model), recompute_layers: settings.recompute_layers };
    let scale = 1.0 / (settings.batch * settings.accumulation * settings.sequence_len) as f32;
    for pass in 0..settings.accumulation {
        let rows: Vec<Vec<u32>> = (pass * settings.batch..(pass + 1) * settings.batch)
            .map(|row| training_row(corpora, settings.seed, step, row, settings.sequence_len + 1))
            .collect();
        let part_len = settings.batch.div_ceil(settings.threads);
        let parts: Vec<_> = std::thread::scope(|scope| {
            let spawn = |rows| scope.spawn(move || rows_gradients(model, rows, scale, held));
            let running: Vec<_> = rows.chunks(part_len).map(spawn).collect();
            running.into_iter().map(|part| part.join().expect("a part panicked")).collect()
        });
        for (value, gradients) in parts {
            loss += value;
            accumulate(&mut sum, gradients);
        }
    }
    (loss, sum)
}

fn rows_gradients(model: &Llama, rows: &[Vec<u32>], scale: f32, held: Held) -> (f32, Gradients) {
    let (inputs, next) = inputs_and_next(rows);
    let tokens = token_tensor(&inputs, &model.device());
    // Leaves of its own, so that tapes of parts running side by side stay apart.
    let model = model.clone().trainable();
    backward(&model, tokens, held, |logits, range| cross_entropy(logits, &next[range], scale))
}

/// Positions whose logits exist at once.
fn rows_at_once(model: &Llama) -> usize {
    chunk_rows(model.config().vocab_len, 1024)
}

/// Refuses weights that a finite gradient has moved too far, before they replace a good checkpoint.
fn check_weights(model: &Llama, corpora: &[Corpus], settings: &TrainSettings, at: [usize; 2]) -> Result<()> {
    let [step, checkpoint_step] = at;
    let row = training_row(corpora, settings.seed, step, 0, settings.sequence_len + 1);
    let value = mean_loss(&model.clone().frozen(), &[row], rows_at_once(model));
    if value.is_finite() {
        Ok(())
    } else {
        Err(Error::NotFinite { quantity: "loss after the step", value, step, checkpoint_step })
    }
}

/// Held-out cross-entropy by corpus.
fn validate(model: &Llama, corpora: &[Corpus], settings: &TrainSettings) -> Vec<(String, f32)> {
    let model = model.clone().frozen();
    let mut losses = Vec::new();
    for corpus in corpora {
        let rows = corpus.held_out_rows(settings.validate_rows, settings.sequence_len + 1);
        if rows.is_empty() {
            continue;
        }
        let batches = rows.chunks(settings.batch);
        let sum: f32 = batches.map(|rows| mean_loss(&model, rows, rows_at_once(&model)) * rows.len() as f32).sum();
        losses.push((corpus.name().to_owned(), sum / rows.len() as f32));
    }
    losses
}
