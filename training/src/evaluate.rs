//! Measures drafters against their target: the command `evaluate`.
//!
//! All drafters are measured on the same texts, which the target writes once for each task and temperature, so that
//! one drafter's gain over another is known more closely than either's figures. Drafters that come with an exported pack
//! are timed too, in the runtime's own loop.

mod clock;
mod piece;
mod recipe;
mod records;
mod report;
mod score;

use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

pub use clock::{ClockRow, Rule};
pub use recipe::{ClockSettings, DrafterSettings, EvaluateRecipe, EvaluateTask};
pub use records::Records;
pub use score::Score;

use crate::acceptance::trace::HeldOut;
use crate::acceptance::{Figure, Mode, Summary, Trace, bootstrap, gain, summarise};
use crate::backward::chunk_rows_asked;
use crate::distill::batch::Example;
use crate::distill::pair::Pair;
use crate::distill::rollout::Limits;
use crate::distill::task::hold_out;
use crate::import::hugging_face;
use crate::part::Part;
use crate::run::{self, Report, Run};
use crate::{Error, Result, folder};
use clock::Clock;
use piece::{Digests, Piece};

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Version of this program.
    pub program: &'static str,
    /// Commit of the sources that the program was built from, if it knows.
    pub commit: Option<String>,
    /// The recipe, resolved.
    pub recipe: EvaluateRecipe,
    /// The target's parameters.
    pub target_parameters: u64,
    /// A row per drafter, task and temperature.
    pub rows: Vec<Row>,
    /// A row per task with a score and temperature: the drafters do not change it.
    pub scores: Vec<ScoreRow>,
    /// A row per pack, task, temperature and rule of the loop.
    pub clock: Vec<ClockRow>,
}

/// One drafter on one task at one temperature.
#[derive(Clone, Debug, Serialize, Deserialize)]
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

/// How good the target's answers were.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScoreRow {
    /// The task's name.
    pub task: String,
    /// How the target chose.
    pub mode: Mode,
    /// Mean of [`Score::of`] over the answers.
    pub score: Figure,
}

/// Evaluates the recipe and writes `run.toml`, `evaluation.json`, `evaluation.md` and `evaluation.html` to `out`, and for
/// each drafter `acceptance.NAME.json`, which `export` puts into the manifest of a pack of the same two models.
///
/// An evaluation that was killed goes on after the last task and temperature that was done, acceptance and clock apart;
/// one of another recipe, other weights or other texts begins anew.
///
/// # Errors
/// `Mismatch` if a drafter does not share the target's vocabulary; `Setting` of the recipe, or if `out` is a training run's
/// folder; `Format`, `Runtime`, `Io`.
pub fn evaluate(recipe: &EvaluateRecipe, data: &Path, out: &Path, device: &Device) -> Result<Evaluation> {
    recipe.check()?;
    if out.join("checkpoint").exists() {
        let reason =
            format!("{} is a training run's folder, whose record would be replaced; name another", out.display());
        return Err(Error::setting("out", reason));
    }
    let pairs = open(recipe, device)?;
    let first = pairs.first().ok_or_else(|| Error::setting("drafter", "a recipe needs at least one"))?;
    let prompts = recipe.task.iter().map(|task| prompts(recipe, task, first, &pairs, data));
    let prompts = prompts.collect::<Result<Vec<_>>>()?;
    let (whole, digests) = (out.join("evaluation.json"), Digests::new(&pairs));
    let (mut part, done) = Part::open::<Piece>(&whole, &piece::header(recipe, &digests, &prompts)?)?;
    let clock = Clock::open(recipe)?;
    Run::open(out, recipe)?;
    let blocks = recipe.task.iter().zip(&prompts).flat_map(|(task, examples)| {
        let modes = recipe.temperatures.iter().map(|&temperature| Mode::at(temperature));
        modes.flat_map(move |mode| [false, true].map(|timed| Block { task, examples, mode, timed }))
    });
    let blocks: Vec<Block<'_>> = blocks.collect();
    let answers = |blocks: &[Block<'_>]| blocks.iter().map(|block| block.answers(recipe)).sum();
    let mut report = Report::new(answers(&blocks), answers(&blocks[..done.len().min(blocks.len())]));
    let (begun, mut found) = (done.len(), Piece::default());
    done.into_iter().for_each(|piece| found.extend(piece));
    for block in blocks.iter().skip(begun) {
        let piece = block.measure(&clock, &pairs, &mut report)?;
        part.push(&piece)?;
        found.extend(piece);
    }
    let evaluation = Evaluation {
        program: env!("CARGO_PKG_VERSION"),
        commit: run::commit(),
        recipe: recipe.clone(),
        target_parameters: first.target.config().parameters(),
        rows: found.rows,
        scores: found.scores,
        clock: found.clock,
    };
    let json = serde_json::to_string_pretty(&evaluation).expect("plain numbers and names");
    folder::write_file(&whole, json.as_bytes())?;
    folder::write_file(&out.join("evaluation.md"), report::markdown(&evaluation).as_bytes())?;
    folder::write_file(&out.join("evaluation.html"), report::html(&evaluation).as_bytes())?;
    for (drafter, digest) in recipe.drafter.iter().zip(&digests.drafters) {
        let records = Records::new(&evaluation.rows, &drafter.name, &digests.target, digest);
        records.write(&out.join(format!("acceptance.{}.json", drafter.name)))?;
    }
    part.finish()?;
    Ok(evaluation)
}

/// The target with each drafter.
fn open(recipe: &EvaluateRecipe, device: &Device) -> Result<Vec<Pair>> {
    let target = hugging_face::load(&recipe.target, device)?.frozen();
    let pair = |drafter: &DrafterSettings| Pair::with_target(target.clone(), &recipe.target, &drafter.path);
    recipe.drafter.iter().map(pair).collect()
}

/// A task at a temperature: what the models' passes say of it, or what the clock says.
struct Block<'a> {
    task: &'a EvaluateTask,
    examples: &'a [Example],
    mode: Mode,
    timed: bool,
}

impl Block<'_> {
    /// Answers that it takes.
    fn answers(&self, recipe: &EvaluateRecipe) -> usize {
        if self.timed { clock::answers(recipe, self.mode, self.examples) } else { self.examples.len() }
    }

    fn measure(&self, clock: &Clock<'_>, pairs: &[Pair], report: &mut Report) -> Result<Piece> {
        let &Self { task, examples, mode, timed } = self;
        let (recipe, first) = (clock.recipe, &pairs[0]);
        let message = format!("{}, {mode}", task.name);
        if timed {
            let on_answer = |tokens| {
                report.step(tokens, &message);
            };
            let rows = clock.time(task, mode, examples, first, on_answer)?;
            return Ok(Piece { clock: rows, ..Piece::default() });
        }
        let texts = write(recipe, first, examples, mode, |batch| {
            report.steps(batch.len(), batch.iter().map(Vec::len).sum(), &message);
        })?;
        let score = |score| scored(score, task, mode, examples, &texts, first, recipe.seed);
        let scores = task.score.map(score).transpose()?;
        let rows = compare(recipe, task, pairs, &texts);
        let acceptance = rows.last().map_or(0.0, |row| row.summary.acceptance.value);
        report.steps(0, 0, &format!("{message}, acceptance {acceptance:.3}"));
        Ok(Piece { rows, scores: scores.into_iter().collect(), clock: vec![] })
    }
}

/// The shortest context of all models.
fn context_len(pairs: &[Pair]) -> usize {
    pairs.iter().map(Pair::context_len).min().unwrap_or(0)
}

/// The task's prompts and reference completions: those that `distill` holds out where seed and number agree.
fn prompts(
    recipe: &EvaluateRecipe,
    task: &EvaluateTask,
    first: &Pair,
    pairs: &[Pair],
    data: &Path,
) -> Result<Vec<Example>> {
    let context_len = context_len(pairs);
    let mut examples = task.texts().examples(data, &first.tokenizer, first.end, recipe.seed)?;
    examples.retain(|example| example.prompt.len() <= context_len - context_len / 4);
    let (_, held) = hold_out(examples, recipe.prompts);
    if held.is_empty() {
        return Err(Error::setting(format!("task {}", task.name), "no prompt fits three quarters of the context"));
    }
    Ok(held)
}

fn write(
    recipe: &EvaluateRecipe,
    pair: &Pair,
    examples: &[Example],
    mode: Mode,
    on_batch: impl FnMut(&[Vec<u32>]),
) -> Result<HeldOut> {
    let prompts: Vec<Vec<u32>> = examples.iter().map(|example| example.prompt.clone()).collect();
    let limits = Limits { completion_len_max: recipe.completion_len_max, batch_rows: recipe.batch_rows };
    HeldOut::write(&pair.target, &prompts, mode, limits, recipe.seed ^ 0x6576_616c, on_batch)
}

fn compare(recipe: &EvaluateRecipe, task: &EvaluateTask, pairs: &[Pair], texts: &HeldOut) -> Vec<Row> {
    let target = &pairs[0].target;
    let chunk_rows = chunk_rows_asked(recipe.chunk_rows, target.config().vocab_len);
    let judged = texts.judged(target, context_len(pairs), recipe.batch_rows);
    let traces: Vec<Vec<Trace>> = pairs.iter().map(|pair| judged.traces(&pair.drafter, chunk_rows)).collect();
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

fn scored(
    score: Score,
    task: &EvaluateTask,
    mode: Mode,
    examples: &[Example],
    texts: &HeldOut,
    pair: &Pair,
    seed: u64,
) -> Result<ScoreRow> {
    let mut terms = Vec::with_capacity(examples.len());
    for (reference, answer) in examples.iter().zip(&texts.examples) {
        let (wanted, found) = (pair.completion_text(&reference.completion)?, pair.completion_text(&answer.completion)?);
        terms.push((score.of(&wanted, &found), 1.0));
    }
    Ok(ScoreRow { task: task.name.clone(), mode, score: bootstrap(&terms, seed) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::CorpusSettings;
    use crate::distill::task::PromptEnd;
    use crate::model::{Llama, ModelConfig};
    use crate::tokenizer::{self, Tokenizer};

    fn recipe(root: &Path) -> EvaluateRecipe {
        let text: Vec<String> = (0..20).map(|index| format!("{index} plus {index} is\n#### {}", 2 * index)).collect();
        std::fs::write(root.join("a.txt"), text.join("<|endoftext|>")).unwrap();
        let corpus = CorpusSettings::text("a.txt");
        let file = root.join("tokenizer.json");
        tokenizer::train(std::slice::from_ref(&corpus), root, 280, &file).unwrap();
        let vocab_len = Tokenizer::open(&file).unwrap().vocab_len();
        for (name, seed) in [("target", 1), ("other", 2)] {
            let config = ModelConfig { vocab_len, context_len: 64, ..ModelConfig::tiny() };
            let model = Llama::random(config, seed, &Device::flex()).unwrap().map(|_, tensor| tensor.mul_scalar(4.0));
            folder::replace(&root.join(name), |folder| hugging_face::save(folder, &model, Some(&file))).unwrap();
        }
        let drafter = |name: &str, path: &str| DrafterSettings { name: name.into(), path: root.join(path), pack: None };
        let head = format!("target = {:?}\ndrafter = []\ntask = []\nprompts = 6\n", root.join("target"));
        let prompt = PromptEnd::After(" is".into());
        let task = EvaluateTask { name: "sums".into(), prompt, corpus, score: Some(Score::FinalNumber) };
        EvaluateRecipe {
            completion_len_max: 12,
            drafter: vec![drafter("other", "other"), drafter("self", "target")],
            task: vec![task],
            ..toml::from_str(&head).unwrap()
        }
    }

    #[test]
    fn a_target_gains_what_a_draft_holds_when_it_drafts_for_itself() {
        let root = tempfile::tempdir().unwrap();
        let recipe = recipe(root.path());
        let out = root.path().join("out");
        let evaluation = evaluate(&recipe, root.path(), &out, &Device::flex()).unwrap();
        assert_eq!((evaluation.rows.len(), evaluation.scores.len()), (4, 2));
        assert_eq!(evaluation.scores[0].score.value, 0.0, "a random target does not add");
        for row in evaluation.rows.iter().filter(|row| row.drafter == "self") {
            assert!((row.summary.acceptance.value - 1.0).abs() < 1e-4 && row.cost_ratio == 1.0);
            assert!(row.gain.as_ref().unwrap()[0].value > 1.0);
        }
        let records = Records::read(&out.join("acceptance.self.json")).unwrap();
        assert_eq!(records.target_sha256, records.drafter_sha256);
        let records = records.acceptance;
        assert_eq!(records.len(), 6, "two temperatures, three draft lengths");
        assert!(records.iter().all(|record| (record.acceptance - 1.0).abs() < 1e-4 && record.prompts == Some(6)));
        assert!(["evaluation.html", "evaluation.md", "run.toml"].iter().all(|name| out.join(name).exists()));
    }

    #[test]
    fn a_killed_evaluation_goes_on_after_its_last_block() {
        let root = tempfile::tempdir().unwrap();
        let recipe = recipe(root.path());
        let run = |recipe: &EvaluateRecipe, out: &str| {
            evaluate(recipe, root.path(), &root.path().join(out), &Device::flex()).unwrap()
        };
        let whole = run(&recipe, "whole");
        let kept = |recipe: &EvaluateRecipe| {
            let pairs = open(recipe, &Device::flex()).unwrap();
            let held = prompts(recipe, &recipe.task[0], &pairs[0], &pairs, root.path()).unwrap();
            let header = piece::header(recipe, &Digests::new(&pairs), &[held]).unwrap();
            let path = root.path().join("broken/evaluation.json");
            let (mut part, _) = Part::open::<Piece>(&path, &header).unwrap();
            // Killed after the greedy texts; the mark shows that they were not measured again.
            let (mut rows, scores) = (whole.rows[..2].to_vec(), whole.scores[..1].to_vec());
            rows[0].task = "kept".into();
            part.push(&Piece { rows, scores, clock: vec![] }).unwrap();
        };
        kept(&recipe);
        let resumed = run(&recipe, "broken");
        assert_eq!(report::markdown(&resumed).replace("| kept |", "| sums |"), report::markdown(&whole));
        assert_eq!(resumed.rows[0].task, "kept");
        let left = std::fs::read_dir(root.path().join("broken")).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!left.into_iter().any(|name| name.to_string_lossy().ends_with(".part")), "nothing stays beside it");

        kept(&recipe);
        let other = EvaluateRecipe { completion_len_max: 11, ..recipe.clone() };
        assert_eq!(run(&other, "broken").rows[0].task, "sums", "another recipe");
        kept(&recipe);
        let target = recipe.drafter[1].path.clone();
        let model = hugging_face::load(&target, &Device::flex()).unwrap().map(|_, tensor| tensor.mul_scalar(1.01));
        let tokens = root.path().join("tokenizer.json");
        folder::replace(&target, |folder| hugging_face::save(folder, &model, Some(&tokens))).unwrap();
        assert_eq!(run(&recipe, "broken").rows[0].task, "sums", "other weights in the same folder");
    }

    #[test]
    fn answers_are_compared_without_their_end_whatever_its_name() {
        let root = tempfile::tempdir().unwrap();
        let recipe = recipe(root.path());
        for name in ["target", "other"] {
            let path = root.path().join(name).join("tokenizer.json");
            let text = std::fs::read_to_string(&path).unwrap().replace(tokenizer::END_OF_TEXT, "</s>");
            std::fs::write(&path, text).unwrap();
        }
        let pairs = open(&recipe, &Device::flex()).unwrap();
        let mut tokens = pairs[0].tokenizer.encode(" (B)").unwrap();
        tokens.push(pairs[0].end);
        assert_eq!(pairs[0].tokenizer.decode(&tokens).unwrap(), " (B)</s>");
        let text = pairs[0].completion_text(&tokens).unwrap();
        assert_eq!((&text[..], Score::ExactMatch.of(&text, "(B)")), (" (B)", 1.0));
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let mut recipe = recipe(root.path());
        recipe.drafter[0].name = "../other".into();
        assert!(evaluate(&recipe, root.path(), &root.path().join("out"), &Device::flex()).is_err());
    }
}
