//! The texts of a distillation: what is learned, what is held out, and what the target writes.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::batch::Example;
use super::pair::{Pair, digest};
use super::recipe::DistillRecipe;
use super::rollout::{Limits, rollout_after};
use super::source::{Pool, Pools, requests, texts};
use super::task::{generic, hold_out};
use super::top_k::TopK;
use crate::acceptance::Mode;
use crate::acceptance::trace::{HeldOut, Judged};
use crate::error::IoContext;
use crate::part::Part;
use crate::run::Report;
use crate::{Error, Result, dataset, folder};

/// The target's answers to a task's held-out prompts.
pub struct TaskHeldOut {
    /// The task's name.
    pub task: String,
    /// Prompts and answers.
    pub answers: Vec<Example>,
    /// The same, read by the target.
    pub texts: Judged,
}

/// Tokens of a held-out answer that a learned text may have in common with it: texts of a kind begin alike.
const SHARED_TOKENS_MAX: usize = 8;

/// True if `text` teaches what is measured on `held`: it has the held-out prompt, and from where both are answers it goes
/// on for more than [`SHARED_TOKENS_MAX`] tokens, or to the end, as the held-out answer does.
fn retells(text: &Example, held: &Example) -> bool {
    let ours = text.prompt.iter().chain(&text.completion);
    let theirs = held.prompt.iter().chain(&held.completion);
    let alike = ours.zip(theirs).take_while(|(one, other)| one == other).count();
    let (from, end) = (text.prompt.len().max(held.prompt.len()), held.prompt.len() + held.completion.len());
    alike > from && (alike == end || alike - from > SHARED_TOKENS_MAX)
}

/// A recipe's tasks as tokens, held-out prompts apart, and its generic text.
pub struct Texts {
    learned: Pool,
    held: Vec<(String, Vec<Example>)>,
    generic: Pool,
}

impl Texts {
    /// Reads and encodes everything that the recipe names. Texts whose prompt leaves less than a quarter of the
    /// context are left out, and so is what would be learned from a prompt that is held out for this task or another.
    ///
    /// # Errors
    /// Of reading and encoding; `Setting` if a task has too few texts.
    pub fn load(recipe: &DistillRecipe, pair: &Pair, data: &Path) -> Result<Self> {
        let context_len = pair.context_len();
        let prompt_len_max = (context_len - context_len / 4).max(1);
        let (mut rests, mut held) = (Vec::new(), Vec::new());
        for task in &recipe.task {
            let mut examples = task.examples(data, &pair.tokenizer, pair.end, recipe.train.seed)?;
            examples.retain(|example| example.prompt.len() <= prompt_len_max);
            for example in &mut examples {
                example.completion.truncate(recipe.train.completion_len_max);
            }
            let (rest, kept) = hold_out(examples, recipe.select.prompts);
            rests.push(rest);
            held.push((task.name.clone(), kept));
        }
        let held_prompts: HashSet<&[u32]> =
            held.iter().flat_map(|(_, kept)| kept).map(|example| &example.prompt[..]).collect();
        let mut learned = Pool::default();
        for ((task, mut rest), (_, kept)) in recipe.task.iter().zip(rests).zip(&held) {
            rest.retain(|example| !held_prompts.contains(&example.prompt[..]));
            if rest.is_empty() {
                let reason = format!("no prompt within the context beside the {} held out", kept.len());
                return Err(Error::setting(format!("task {}", task.name), reason));
            }
            learned.add(task.weight, rest);
        }
        let window = (recipe.train.completion_len_max + 1).min(context_len);
        let generic = generic(&recipe.generic, data, &pair.tokenizer, pair.end, window)?;
        Ok(Self { learned, held, generic })
    }

    /// The pools to deal from, without texts that retell an answer of `held_out`; the target's texts are written to
    /// `cache`, or read from it if the same recipe wrote it.
    ///
    /// # Errors
    /// `Io`, `Format`, or of the rollout.
    pub fn pools(&self, recipe: &DistillRecipe, pair: &Pair, held_out: &[TaskHeldOut], cache: &Path) -> Result<Pools> {
        let mut target = Pool::default();
        if recipe.mixture.target > 0.0 {
            target.add(1.0, self.target_texts(recipe, pair, cache)?);
        }
        let answers = || held_out.iter().flat_map(|set| &set.answers);
        let apart = |name: &str, share: f64, pool: Pool| {
            let (kept, left_out) = pool.without(|text| answers().any(|held| retells(text, held)));
            if left_out > 0 && share > 0.0 {
                eprintln!("{left_out} {name} texts are not learned: they go on as held-out answers do");
            }
            kept
        };
        let mixture = &recipe.mixture;
        Ok(Pools {
            fixed: apart("fixed", mixture.fixed + mixture.on_policy, self.learned.clone()),
            target: apart("target", mixture.target, target),
            generic: apart("generic", mixture.generic_share, self.generic.clone()),
        })
    }

    fn target_texts(&self, recipe: &DistillRecipe, pair: &Pair, cache: &Path) -> Result<Vec<Example>> {
        let settings = &recipe.target_text;
        if let Some(path) = &settings.path {
            let mut examples = read_answers(path, &recipe.target, pair.target.config().vocab_len, settings.judged)?;
            for example in &mut examples {
                example.completion.truncate(recipe.train.completion_len_max);
            }
            // What selects the best state must not be learned, wherever the texts were written.
            examples.retain(|example| !self.is_held_out(&example.prompt));
            if examples.is_empty() {
                return Err(Error::format(path, "no text whose prompt is not held out"));
            }
            return Ok(examples);
        }
        let header = json!({
            "target": digest(&pair.target), "seed": recipe.train.seed, "settings": settings,
            "tasks": recipe.task, "completion_len_max": recipe.train.completion_len_max,
            "prompts": self.prompts_digest(),
        })
        .to_string();
        // Whatever else is there is written anew.
        if let Ok(examples) = read_examples(cache, Some(&header), pair.target.config().vocab_len) {
            return Ok(examples);
        }
        let limits =
            Limits { completion_len_max: recipe.train.completion_len_max, batch_rows: recipe.train.rollout_rows };
        // Pieces are batches; the texts are the same whatever their size.
        let (mut part, done) = Part::open::<Vec<Vec<u32>>>(cache, &format!("{} {header}", limits.batch_rows))?;
        let mut report = Report::new(settings.count.div_ceil(limits.batch_rows), done.len());
        let mut done = done.into_iter();
        let mut examples = Vec::new();
        for (task, (share, learned)) in self.learned.shares().enumerate() {
            let count = (settings.count as f64 * share).round() as usize;
            // Spread over the task should there be fewer texts than prompts.
            let stride = (learned.len() / count.max(1)).max(1);
            let prompts: Vec<&[u32]> = learned.iter().step_by(stride).map(|example| &example.prompt[..]).collect();
            let seed = recipe.train.seed ^ 0x7461_7267 ^ ((task as u64) << 32);
            let asked = requests(&prompts, count, &settings.temperatures, settings.top_p)?;
            let answers = rollout_after(&pair.target, &asked, limits, seed, &mut done, |batch| {
                report.step(batch.iter().map(Vec::len).sum(), "target's texts");
                part.push(&batch)
            })?;
            examples.extend(texts(&asked, answers));
        }
        let mut text = header;
        for example in &examples {
            text.push('\n');
            text.push_str(&serde_json::to_string(example).expect("token ids are plain numbers"));
        }
        folder::write_file(cache, text.as_bytes())?;
        part.finish()?;
        Ok(examples)
    }

    /// SHA-256 of the prompts to learn from: other data at the same path, or another number held out, are other prompts.
    fn prompts_digest(&self) -> String {
        let mut hash = Sha256::new();
        for (_, examples) in self.learned.shares() {
            for example in examples {
                hash.update((example.prompt.len() as u64).to_le_bytes());
                example.prompt.iter().for_each(|token| hash.update(token.to_le_bytes()));
            }
        }
        drafthorse_pack::hexadecimal(&hash.finalize())
    }

    /// True if `prompt` begins a held-out text, or a held-out prompt begins it: cuts differ from recipe to recipe.
    fn is_held_out(&self, prompt: &[u32]) -> bool {
        let mut held = self.held.iter().flat_map(|(_, examples)| examples);
        held.any(|example| example.prompt.starts_with(prompt) || prompt.starts_with(&example.prompt))
    }

    /// The target's answers to the held-out prompts, by task and temperature.
    ///
    /// # Errors
    /// Of the rollout.
    pub fn held_out(&self, recipe: &DistillRecipe, pair: &Pair) -> Result<Vec<TaskHeldOut>> {
        let select = &recipe.select;
        let limits = Limits { completion_len_max: select.completion_len_max, batch_rows: recipe.train.rollout_rows };
        let count: usize = self.held.iter().map(|(_, examples)| examples.len()).sum();
        let mut report = Report::new(count * select.temperatures.len(), 0);
        let mut sets = Vec::new();
        for (task, examples) in &self.held {
            let prompts: Vec<Vec<u32>> = examples.iter().map(|example| example.prompt.clone()).collect();
            for &temperature in &select.temperatures {
                let (mode, seed) = (Mode::at(temperature), recipe.train.seed ^ 0x6865_6c64);
                let texts = HeldOut::write(&pair.target, &prompts, mode, limits, seed, |batch| {
                    report.steps(batch.len(), batch.iter().map(Vec::len).sum(), "held-out answers");
                })?;
                let judged = texts.judged(&pair.target, pair.context_len(), recipe.train.batch_per_pass);
                sets.push(TaskHeldOut { task: task.clone(), answers: texts.examples, texts: judged });
            }
        }
        Ok(sets)
    }
}

/// Reads texts that the target wrote: the Parquet of `generate`, which must be this target's, or JSON lines. With
/// `judged`, each text brings what the target thought of it.
fn read_answers(path: &Path, target: &Path, vocab_len: usize, judged: bool) -> Result<Vec<Example>> {
    if path.extension().is_none_or(|extension| extension != "parquet") {
        if judged {
            return Err(Error::setting(
                "target_text.judged",
                "true, but only the Parquet of `generate` holds judgement",
            ));
        }
        return read_examples(path, None, vocab_len);
    }
    let (answers, provenance) = dataset::read(path)?;
    dataset::check_weights(path, &provenance, target)?;
    dataset::check_tokens(path, &provenance, target)?;
    answers
        .into_iter()
        .filter(|answer| !answer.completion.is_empty())
        .map(|answer| {
            let wrong = |reason| Error::format(path, format!("answer {}: {reason}", answer.key));
            let positions = answer.completion.len();
            let mut example = checked(Example::new(answer.prompt, answer.completion), vocab_len).map_err(wrong)?;
            if judged {
                let found = TopK::new(positions, answer.top_tokens, answer.top_log_probabilities, vocab_len);
                example.judged = Some(Arc::new(found.map_err(wrong)?));
            }
            Ok(example)
        })
        .collect()
}

/// Reads examples as JSON lines; the first line must be `header` if one is given.
fn read_examples(path: &Path, header: Option<&str>, vocab_len: usize) -> Result<Vec<Example>> {
    let text = std::fs::read_to_string(path).at(path)?;
    let mut lines = text.lines().enumerate();
    if let Some(header) = header
        && lines.next().map(|(_, line)| line) != Some(header)
    {
        return Err(Error::format(path, "written by another recipe"));
    }
    lines
        .map(|(index, line)| {
            let wrong = |reason: String| Error::format(path, format!("line {}: {reason}", index + 1));
            let example: Example = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
            checked(example, vocab_len).map_err(wrong)
        })
        .collect()
}

/// The example if its prompt has a token and no token lies outside the vocabulary, else what is wrong.
fn checked(example: Example, vocab_len: usize) -> Result<Example, String> {
    if example.prompt.is_empty() {
        return Err("the prompt is empty".into());
    }
    match example.prompt.iter().chain(&example.completion).find(|&&token| token as usize >= vocab_len) {
        Some(token) => Err(format!("token {token} is not below {vocab_len}")),
        None => Ok(example),
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::distill::source::Mixture;
    use crate::distill::tests::toy;

    #[test]
    fn a_text_retells_an_answer_if_it_goes_on_as_that_does() {
        let held = Example::new((0..4).collect(), (4..24).collect());
        let text = |prompt: u32, alike: u32| Example::new((0..prompt).collect(), (prompt..alike).chain([99]).collect());
        for (prompt, alike) in [(4, 13), (1, 13), (6, 15), (20, 24)] {
            assert!(retells(&text(prompt, alike), &held), "{prompt} {alike}");
        }
        for (prompt, alike) in [(4, 12), (1, 12), (6, 14), (24, 24), (1, 3)] {
            assert!(!retells(&text(prompt, alike), &held), "{prompt} {alike}");
        }
        let short = Example::new((0..4).collect(), vec![4, 5]);
        assert!(retells(&text(2, 6), &short) && !retells(&text(2, 5), &short), "the whole answer");
    }

    #[test]
    fn texts_that_retell_a_held_out_answer_are_not_learned() {
        let root = tempfile::tempdir().unwrap();
        let mut recipe = toy(root.path());
        recipe.mixture = Mixture { fixed: 1.0, target: 1.0, on_policy: 0.0, generic_share: 0.1 };
        (recipe.target_text.temperatures, recipe.select.temperatures) = (vec![0.0], vec![0.0]);
        let pair = Pair::open(&recipe.target, &recipe.drafter, &Device::flex()).unwrap();
        let mut texts = Texts::load(&recipe, &pair, root.path()).unwrap();
        let held_out = texts.held_out(&recipe, &pair).unwrap();
        let held = held_out[0].answers.iter().max_by_key(|answer| answer.completion.len()).unwrap();
        let whole = held.tokens(usize::MAX);
        let cut = |at: usize| vec![Example::new(whole[..at].to_vec(), whole[at..].to_vec())];
        // Asked to go on from the middle of its answer, the target writes the rest of it.
        texts.learned.add(1.0, cut(held.prompt.len() + 2));
        texts.generic.add(1.0, cut(1));
        let count = |held_out: &[TaskHeldOut], told: bool| {
            let pools = texts.pools(&recipe, &pair, held_out, &root.path().join("texts.jsonl")).unwrap();
            [pools.fixed, pools.target, pools.generic].map(|pool| {
                let texts = pool.shares().flat_map(|(_, group)| group.to_vec());
                texts.filter(|text| !told || text.tokens(usize::MAX).starts_with(&whole)).count()
            })
        };
        assert!(count(&[], true).into_iter().all(|count| count > 0));
        assert_eq!(count(&held_out, true), [0; 3]);
        assert!(count(&held_out, false).into_iter().all(|count| count > 8), "others are learned");
    }
}
