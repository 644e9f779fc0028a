//! What is kept of a run: its recipe with seed and commit, its metrics, its last good checkpoint.

mod plot;
mod scalars;
mod tensorboard;

use std::cell::{Cell, RefCell};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Device;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::tensorboard::EventFile;
use crate::error::IoContext;
use crate::import::hugging_face;
use crate::model::{Llama, ModelConfig};
use crate::optimizer::Optimizer;
use crate::{Error, Result, folder, safetensors_file};

/// The folder of one run.
pub struct Run {
    folder: PathBuf,
    /// Begun with the first line, when it is known which step comes first.
    events: RefCell<Option<EventFile>>,
    /// Step that the plot on disk shows.
    drawn_step: Cell<usize>,
}

/// A plot is drawn again once the run is longer by this share, so that drawing stays cheap however long the run.
const DRAWN_SHARE: f64 = 0.1;

/// What `run.toml` holds.
#[derive(Serialize)]
struct Record<'a, R> {
    program: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    recipe: &'a R,
}

/// Where training stands; everything that is not a tensor and must survive a kill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimiser steps done.
    pub step: usize,
    /// Tokens trained on.
    pub tokens: u64,
    /// Steps of the optimiser's moments.
    pub optimizer_steps: usize,
    /// Best value of the measure that selects checkpoints, if one was measured.
    #[serde(default)]
    pub best: Option<f64>,
    /// What the run's own loop needs to go on, in its own form.
    #[serde(default)]
    pub extra: Value,
}

impl Run {
    /// Opens or makes the folder and writes `run.toml`: the resolved recipe, this program's version and commit.
    ///
    /// A run that goes on with another recipe, version or commit keeps the former file as `run.STEP.toml`.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(folder: &Path, recipe: &impl Serialize) -> Result<Self> {
        std::fs::create_dir_all(folder).at(folder)?;
        let path = folder.join("run.toml");
        let record = Record { program: env!("CARGO_PKG_VERSION"), commit: commit(), recipe };
        let text = toml::to_string(&record).map_err(|error| Error::format(&path, error.to_string()))?;
        keep_former(folder, &text)?;
        folder::write_file(&path, text.as_bytes())?;
        Ok(Self { folder: folder.to_owned(), events: RefCell::new(None), drawn_step: Cell::new(0) })
    }

    /// The last good checkpoint: a Hugging Face folder with the optimiser's state beside.
    pub fn checkpoint(&self) -> PathBuf {
        self.folder.join("checkpoint")
    }

    /// The checkpoint that was best by the run's measure.
    pub fn best(&self) -> PathBuf {
        self.folder.join("best")
    }

    /// Replaces the checkpoint as a whole, and draws the metrics if much has come since they were drawn.
    ///
    /// # Errors
    /// `Io`, for instance when the disk is full; the former checkpoint is then still there.
    pub fn save(&self, model: &Llama, tokenizer: &Path, optimizer: &Optimizer, progress: &Progress) -> Result<()> {
        let (moments, optimizer_steps) = optimizer.state();
        let progress = Progress { optimizer_steps, ..progress.clone() };
        folder::replace_own(&self.checkpoint(), |folder| {
            hugging_face::save(folder, model, Some(tokenizer))?;
            safetensors_file::write(&folder.join("optimizer.safetensors"), &moments)?;
            let path = folder.join("progress.json");
            std::fs::write(&path, serde_json::to_string_pretty(&progress).expect("plain numbers")).at(&path)
        })?;
        if progress.step as f64 >= (1.0 + DRAWN_SHARE) * self.drawn_step.get() as f64 {
            self.drawn_step.set(progress.step);
            self.draw()?;
        }
        Ok(())
    }

    /// Draws `metrics.jsonl` as `metrics.svg`, if there is something to draw.
    ///
    /// # Errors
    /// `Io`.
    pub fn draw(&self) -> Result<()> {
        let path = self.folder.join("metrics.jsonl");
        let Ok(metrics) = std::fs::read_to_string(&path) else { return Ok(()) };
        plot::svg(&metrics).map_or(Ok(()), |svg| folder::write_file(&path.with_extension("svg"), svg.as_bytes()))
    }

    /// Writes a model as the best one so far.
    ///
    /// # Errors
    /// `Io`.
    pub fn save_best(&self, model: &Llama, tokenizer: &Path) -> Result<()> {
        folder::replace_own(&self.best(), |folder| hugging_face::save(folder, model, Some(tokenizer)))
    }

    /// The checkpoint, if there is one; restores the optimiser's moments.
    ///
    /// # Errors
    /// `Io` or `Format` if the checkpoint is damaged.
    pub fn resume(&self, optimizer: &mut Optimizer, device: &Device) -> Result<Option<(Llama, Progress)>> {
        let folder = self.checkpoint();
        folder::recover(&folder)?;
        if !folder.exists() {
            // A run that was killed before its first checkpoint begins anew, and so do its metrics.
            self.forget_metrics(|_| false)?;
            return Ok(None);
        }
        let path = folder.join("progress.json");
        let text = std::fs::read_to_string(&path).at(&path)?;
        let progress: Progress =
            serde_json::from_str(&text).map_err(|error| Error::format(&path, error.to_string()))?;
        let model = hugging_face::load(&folder, device)?;
        let moments = safetensors_file::read(&folder.join("optimizer.safetensors"))?;
        optimizer.restore(moments, progress.optimizer_steps, device);
        // A kill after the checkpoint leaves lines that will be written again.
        self.forget_metrics(|step| step <= progress.step as u64)?;
        Ok(Some((model, progress)))
    }

    /// Appends a line to `metrics.jsonl`, and its numbers to the event file that TensorBoard reads.
    ///
    /// # Errors
    /// `Io`.
    pub fn log(&self, metrics: &Value) -> Result<()> {
        let path = self.folder.join("metrics.jsonl");
        let mut file = OpenOptions::new().create(true).append(true).open(&path).at(&path)?;
        writeln!(file, "{metrics}").at(&path)?;
        let mut events = self.events.borrow_mut();
        if events.is_none() {
            let step = metrics["step"].as_u64().unwrap_or(0);
            *events = Some(EventFile::create(&self.folder.join("tensorboard"), usize::try_from(step).unwrap_or(0))?);
        }
        events.as_mut().map_or(Ok(()), |events| events.log(metrics))
    }

    /// Keeps the lines of `metrics.jsonl` whose step is `kept`.
    fn forget_metrics(&self, kept: impl Fn(u64) -> bool) -> Result<()> {
        let path = self.folder.join("metrics.jsonl");
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
        let kept = text.lines().filter(|line| {
            serde_json::from_str::<Value>(line).is_ok_and(|value| kept(value["step"].as_u64().unwrap_or(0)))
        });
        folder::write_file(&path, kept.flat_map(|line| [line, "\n"]).collect::<String>().as_bytes())
    }
}

/// Refuses a recipe that begins with the shape `wanted` for the run at `folder` if its checkpoint has another. Asked
/// before the run is opened, which would put down that recipe as its own.
///
/// # Errors
/// `Setting` naming the folder; `Format`, `Io` if the checkpoint cannot be read.
pub fn check_shape(folder: &Path, wanted: &ModelConfig) -> Result<()> {
    let checkpoint = folder.join("checkpoint");
    folder::recover(&checkpoint)?;
    if !checkpoint.exists() {
        return Ok(());
    }
    let found = ModelConfig::from_hugging_face(&checkpoint.join("config.json"))?;
    if found.same_shape(wanted) {
        return Ok(());
    }
    let size = |config: &ModelConfig| {
        let ModelConfig { layers, hidden_len, ffn_len, heads, .. } = config;
        format!("{layers} layers of {hidden_len}, {heads} heads, feed-forward {ffn_len}, head {}", config.head_rows())
    };
    let (folder, found, wanted) = (folder.display(), size(&found), size(wanted));
    let reason =
        format!("{folder} holds a run of another model ({found}; the recipe's: {wanted}); name another folder");
    Err(Error::setting("out", reason))
}

/// Keeps a former `run.toml` as `run.STEP.toml` if a checkpoint came from it and `text` differs in more than
/// [`MAY_DIFFER`]; says so. A state's lineage is then the files in the order of their steps, `run.toml` last.
fn keep_former(folder: &Path, text: &str) -> Result<()> {
    let path = folder.join("run.toml");
    let Ok(former) = std::fs::read_to_string(&path) else { return Ok(()) };
    let progress = std::fs::read_to_string(folder.join("checkpoint/progress.json")).unwrap_or_default();
    let Ok(Progress { step, .. }) = serde_json::from_str(&progress) else { return Ok(()) };
    let parsed = |text: &str| toml::from_str::<Value>(text).unwrap_or_default();
    let mut differing = Vec::new();
    differences("", &parsed(&former), &parsed(text), &mut differing);
    differing.retain(|(name, _)| !MAY_DIFFER.contains(&name.as_str()));
    let kept = folder.join(format!("run.{step}.toml"));
    // Whatever came after the one that is there has made no checkpoint.
    if differing.is_empty() || kept.exists() {
        return Ok(());
    }
    let changes: Vec<String> = differing.into_iter().map(|(name, change)| format!("{name} {change}")).collect();
    eprintln!(
        "going on from step {step} with another run.toml ({}); the former is kept as {}",
        changes.join(", "),
        kept.display()
    );
    std::fs::rename(&path, &kept).at(&kept)
}

/// What may change from one part of a run to the next without changing what the run is.
const MAY_DIFFER: [&str; 2] = ["recipe.train.steps", "recipe.train.threads"];

/// Dotted names of the leaves in which two trees differ, each with both values.
fn differences(name: &str, former: &Value, now: &Value, found: &mut Vec<(String, String)>) {
    match (former, now) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let names: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
            for key in names {
                let below = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                differences(&below, &former[key], &now[key], found);
            }
        }
        _ if former == now => {}
        _ => found.push((name.to_owned(), format!("{former} → {now}"))),
    }
}

/// Progress on a terminal as a bar, elsewhere as a line every half minute.
pub struct Report {
    bar: ProgressBar,
    last: Instant,
    began: Instant,
    tokens: u64,
}

impl Report {
    /// For a run of `steps`, `done` of which are behind.
    pub fn new(steps: usize, done: usize) -> Self {
        let style = "{bar:30} {pos}/{len} {elapsed} eta {eta} {msg}";
        let bar = ProgressBar::new(steps as u64)
            .with_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_position(done as u64);
        bar.reset_eta();
        Self { bar, last: Instant::now(), began: Instant::now(), tokens: 0 }
    }

    /// Counts a step of `tokens` and shows `message`. Returns tokens per second so far.
    pub fn step(&mut self, tokens: usize, message: &str) -> f64 {
        self.steps(1, tokens, message)
    }

    /// As [`Report::step`], for `steps` that were made together.
    pub fn steps(&mut self, steps: usize, tokens: usize, message: &str) -> f64 {
        self.tokens += tokens as u64;
        let rate = self.tokens as f64 / self.began.elapsed().as_secs_f64();
        self.bar.set_message(format!("{rate:.0} tok/s {message}"));
        self.bar.inc(steps as u64);
        if self.bar.is_hidden() && self.last.elapsed().as_secs() >= 30 {
            self.last = Instant::now();
            let left = self.bar.eta().as_secs();
            eprintln!(
                "step {} of {}, {rate:.0} tok/s, {message}, {left} s left",
                self.bar.position(),
                self.bar.length().unwrap_or(0)
            );
        }
        rate
    }
}

/// Commit of the sources that this program was built from; none in a debug build, or outside a repository.
pub fn commit() -> Option<String> {
    option_env!("DRAFTHORSE_COMMIT").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_goes_on_with_another_recipe_keeps_the_former() {
        let folder = tempfile::tempdir().unwrap();
        let names = || {
            let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name());
            let mut names: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };
        let open = |rate: f64, steps: usize| {
            let recipe = serde_json::json!({ "train": { "learning_rate": rate, "steps": steps } });
            Run::open(folder.path(), &recipe).map(|_| ()).unwrap();
        };
        open(1e-3, 8);
        open(2e-3, 8);
        assert_eq!(names(), ["run.toml"], "nothing was trained with the former");
        std::fs::create_dir(folder.path().join("checkpoint")).unwrap();
        let progress = serde_json::to_string(&Progress { step: 7, ..Progress::default() }).unwrap();
        std::fs::write(folder.path().join("checkpoint/progress.json"), progress).unwrap();
        open(2e-3, 16);
        assert_eq!(names(), ["checkpoint", "run.toml"], "the same run, longer");
        open(3e-3, 16);
        open(4e-3, 16);
        assert_eq!(names(), ["checkpoint", "run.7.toml", "run.toml"]);
        let kept = std::fs::read_to_string(folder.path().join("run.7.toml")).unwrap();
        assert!(kept.contains("0.002"), "what the checkpoint was made with: {kept}");
    }

    #[test]
    fn a_program_without_a_commit_records_none() {
        let record = Record { program: "0", commit: None, recipe: &"recipe" };
        assert!(!toml::to_string(&record).unwrap().contains("commit"));
    }
}
