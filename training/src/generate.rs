//! A model answers prompts; the answers become a data set that can be made in shards on many machines.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, activation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::dataset::{self, Answer};
use crate::distill::rollout::{Limits, Request, SCORES_MAX, Sampling, rollout};
use crate::distill::task::TaskSettings;
use crate::import::hugging_face;
use crate::model::{Llama, host, token_tensor};
use crate::part::Part;
use crate::run::Report;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// A recipe of `generate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateRecipe {
    /// Folder of the model that answers, with its `tokenizer.json`.
    pub model: PathBuf,
    /// Every prompt is answered once at each of these; 0 is greedy.
    pub temperatures: Vec<f64>,
    /// Nucleus sizes, each with each temperature above 0.
    #[serde(default = "top_p_default")]
    pub top_p: Vec<f64>,
    /// Prompts per task; 0 takes all.
    #[serde(default)]
    pub prompts: usize,
    /// Longest answer in tokens.
    #[serde(default = "completion_len_max_default")]
    pub completion_len_max: usize,
    /// Prompts that are answered side by side.
    #[serde(default = "batch_default")]
    pub batch: usize,
    /// Of the draws.
    #[serde(default)]
    pub seed: u64,
    /// Likeliest tokens whose log-probabilities are kept at each position; 0 keeps none.
    #[serde(default)]
    pub top_k: usize,
    /// Where prompts come from.
    pub task: Vec<TaskSettings>,
}

fn top_p_default() -> Vec<f64> {
    vec![1.0]
}

fn completion_len_max_default() -> usize {
    256
}

fn batch_default() -> usize {
    32
}

/// Part `index` of `count`, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Below `count`.
    pub index: usize,
    /// At least 1.
    pub count: usize,
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match parsed {
            Some((index, count)) if index < count => Ok(Self { index, count }),
            _ => Err(format!("{text:?}: must be i/n with i from 0 to n − 1")),
        }
    }
}

/// A question to the model, before sharding.
struct Asked {
    key: u64,
    task: String,
    prompt: Vec<u32>,
    sampling: Sampling,
}

/// Answers the shard's share and writes it to `out`. A shard that is there already, of the same recipe, model and data, is
/// kept; one that was killed goes on after its last batch.
///
/// # Errors
/// `Setting` of the recipe, or if `out` is there and is no data set or another shard of this one; `Format`, `Io`.
pub fn generate(recipe: &GenerateRecipe, data: &Path, shard: Shard, out: &Path, device: &Device) -> Result<usize> {
    let provenance = provenance(recipe, data, shard)?;
    let header = provenance.to_string();
    match there(out)? {
        Some(found) if found == provenance => return Ok(0),
        Some(found) => {
            check_shard(out, &found, &provenance)?;
            eprintln!("{} is of another recipe, model or data: answering anew", out.display());
        }
        None => {}
    }
    if let Some((begun, path)) = Part::header(out) {
        check_shard(&path, &serde_json::from_str(&begun).unwrap_or_default(), &provenance)?;
    }
    // Begun before the model is loaded, so that another shard that is started beside this one finds it.
    let (mut part, done) = Part::open::<Vec<Answer>>(out, &header)?;
    let model = hugging_face::load(&recipe.model, device)?;
    let tokenizer = Tokenizer::open(&recipe.model.join("tokenizer.json"))?;
    tokenizer.check_rows(model.config().vocab_len)?;
    if recipe.top_k.min(model.config().vocab_len).saturating_mul(recipe.completion_len_max) > dataset::VALUES_MAX {
        let reason = format!("{} at {} positions are too many of one answer", recipe.top_k, recipe.completion_len_max);
        return Err(Error::setting("top_k", reason));
    }
    let asked: Vec<Asked> = questions(recipe, data, &tokenizer, &model)?
        .into_iter()
        .filter(|asked| asked.key % shard.count as u64 == shard.index as u64)
        .collect();
    let limits = Limits { completion_len_max: recipe.completion_len_max, batch_rows: recipe.batch };
    let mut report = Report::new(asked.len().div_ceil(recipe.batch), done.len());
    let begun = done.len();
    let mut answers: Vec<Answer> = done.into_iter().flatten().collect();
    answers.reserve(asked.len().saturating_sub(answers.len()));
    for batch in asked.chunks(recipe.batch).skip(begun) {
        let requests: Vec<Request<'_>> = batch
            .iter()
            .map(|asked| Request { prompt: &asked.prompt, sampling: asked.sampling, key: asked.key })
            .collect();
        let completions = rollout(&model, &requests, limits, recipe.seed)?;
        report.step(completions.iter().map(Vec::len).sum(), "");
        let judged = if recipe.top_k == 0 {
            vec![Likeliest::default(); batch.len()]
        } else {
            likeliest(&model, batch, &completions, recipe.top_k, SCORES_MAX)
        };
        let start = answers.len();
        answers
            .extend(batch.iter().zip(completions).zip(judged).map(|((asked, found), top)| answer(asked, found, top)));
        part.push(&&answers[start..])?;
    }
    dataset::write(out, &answers, &provenance)?;
    part.finish()?;
    Ok(answers.len())
}

/// Tokens and their log-probabilities, `[completion, k]` each.
type Likeliest = (Vec<u32>, Vec<f32>);

fn answer(asked: &Asked, completion: Vec<u32>, (top_tokens, top_log_probabilities): Likeliest) -> Answer {
    Answer {
        key: asked.key,
        task: asked.task.clone(),
        temperature: asked.sampling.temperature as f32,
        top_p: asked.sampling.top_p as f32,
        prompt: asked.prompt.clone(),
        completion,
        top_tokens,
        top_log_probabilities,
    }
}

/// Provenance of the data set at `path`; none if nothing is there.
///
/// # Errors
/// `Setting` if something else is there, which is not to be written over.
fn there(path: &Path) -> Result<Option<Value>> {
    if !path.exists() {
        return Ok(None);
    }
    let found = if path.is_file() { dataset::read(path).ok() } else { None };
    let Some((_, provenance)) = found else {
        let reason = format!("{} is there and is no data set; name another Parquet file", path.display());
        return Err(Error::setting("out", reason));
    };
    Ok(Some(provenance))
}

/// Refuses to write over another shard of the same answers, finished or begun at `path`.
fn check_shard(path: &Path, found: &Value, provenance: &Value) -> Result<()> {
    let apart_from_shard = |value: &Value| {
        let mut value = value.clone();
        value["shard"].take();
        value
    };
    if found == provenance || apart_from_shard(found) != apart_from_shard(provenance) {
        return Ok(());
    }
    let shard = match found["shard"].as_array().map(Vec::as_slice) {
        Some([index, count]) => format!("shard {index}/{count}"),
        _ => "all shards".into(),
    };
    let reason = format!("{} holds {shard} of these answers; each shard needs a file of its own", path.display());
    Err(Error::setting("out", reason))
}

/// The `k` likeliest tokens at each completion position of each answer, likeliest first. As many answers are passed at once
/// as keep a layer's attention scores within `scores_max`, but at least one; the logits of one exist at a time.
fn likeliest(model: &Llama, batch: &[Asked], completions: &[Vec<u32>], k: usize, scores_max: usize) -> Vec<Likeliest> {
    let text = |(asked, completion): (&Asked, &Vec<u32>)| {
        // Nothing is asked of the last token.
        let mut text = [&asked.prompt[..], completion].concat();
        text.pop();
        text
    };
    let mut texts: Vec<Vec<u32>> = batch.iter().zip(completions).map(text).collect();
    let length = texts.iter().map(Vec::len).max().unwrap_or(0);
    texts.iter_mut().for_each(|text| text.resize(length, 0));
    let at_once = (scores_max / (model.config().heads * length * length).max(1)).max(1);
    let group = |start: usize| -> Vec<Likeliest> {
        let rows = start..(start + at_once).min(batch.len());
        let hidden = model.hidden(token_tensor(&texts[rows.clone()], &model.device()));
        let asked = batch[rows.clone()].iter().zip(&completions[rows]);
        let answers = asked.enumerate().map(|(row, (asked, completion))| {
            let places = hidden.clone().narrow(0, row * length + asked.prompt.len() - 1, completion.len());
            likeliest_at(model, places, k)
        });
        answers.collect()
    };
    (0..batch.len()).step_by(at_once).flat_map(group).collect()
}

/// The `k` likeliest tokens of each row of `hidden` `[rows, hidden_len]`.
fn likeliest_at(model: &Llama, hidden: Tensor<2>, k: usize) -> Likeliest {
    let log_probabilities: Tensor<2> = activation::log_softmax(model.logits(hidden), 1);
    let width = log_probabilities.dims()[1];
    let (mut tokens, mut values) = (Vec::new(), Vec::new());
    for row in host(log_probabilities).chunks_exact(width) {
        for index in best(row, k) {
            tokens.push(model.config().head_tokens.as_ref().map_or(index as u32, |kept| kept[index]));
            values.push(row[index]);
        }
    }
    (tokens, values)
}

/// Indices of the `k` greatest values, greatest first and the lowest index first among equals.
fn best(values: &[f32], k: usize) -> Vec<usize> {
    let order = |a: &usize, b: &usize| values[*b].total_cmp(&values[*a]).then(a.cmp(b));
    let mut indices: Vec<usize> = (0..values.len()).collect();
    if k < indices.len() {
        indices.select_nth_unstable_by(k, order);
        indices.truncate(k);
    }
    indices.sort_unstable_by(order);
    indices
}

fn questions(recipe: &GenerateRecipe, data: &Path, tokenizer: &Tokenizer, model: &Llama) -> Result<Vec<Asked>> {
    let samplings = samplings(recipe)?;
    let end = model.config().eos_tokens.first().copied().unwrap_or(0);
    let prompt_len_max = model.config().context_len.saturating_sub(1);
    let mut asked = Vec::new();
    for task in &recipe.task {
        let examples = task.examples(data, tokenizer, end, recipe.seed)?;
        let count = if recipe.prompts == 0 { examples.len() } else { recipe.prompts };
        for example in examples.into_iter().filter(|example| example.prompt.len() <= prompt_len_max).take(count) {
            for &sampling in &samplings {
                let (key, task, prompt) = (asked.len() as u64, task.name.clone(), example.prompt.clone());
                asked.push(Asked { key, task, prompt, sampling });
            }
        }
    }
    Ok(asked)
}

fn samplings(recipe: &GenerateRecipe) -> Result<Vec<Sampling>> {
    if recipe.batch == 0 || recipe.completion_len_max == 0 {
        return Err(Error::setting("batch", "batch and completion_len_max must be at least 1"));
    }
    let mut samplings = Vec::new();
    for &temperature in &recipe.temperatures {
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(Error::setting("temperatures", format!("{temperature}: 0 or above")));
        }
        // Greedy answers do not depend on the nucleus.
        let nuclei = if temperature == 0.0 { &[1.0][..] } else { &recipe.top_p };
        for &top_p in nuclei {
            if !(top_p > 0.0 && top_p <= 1.0) {
                return Err(Error::setting("top_p", format!("{top_p}: above 0 and at most 1")));
            }
            samplings.push(Sampling { temperature, top_p });
        }
    }
    if samplings.is_empty() { Err(Error::setting("temperatures", "at least one")) } else { Ok(samplings) }
}

fn provenance(recipe: &GenerateRecipe, data: &Path, shard: Shard) -> Result<Value> {
    let model = &recipe.model;
    let corpora = recipe.task.iter().map(|task| task.corpus.digest(data)).collect::<Result<Vec<_>>>()?;
    let mut recipe = json!(recipe);
    // Where the model lay on this machine says nothing; its digest does.
    recipe["model"] = Value::Null;
    Ok(json!({
        "program": format!("drafthorse-train {}", env!("CARGO_PKG_VERSION")),
        "model_sha256": dataset::model_digest(model)?,
        "tokenizer_sha256": dataset::tokenizer_digest(model)?,
        "corpora_sha256": corpora,
        "recipe": recipe,
        "shard": [shard.index, shard.count],
    }))
}

/// Joins the shards of one data set; every shard must be there, of one recipe and one model, with no key twice.
///
/// # Errors
/// `Format` naming the shard that is missing, doubled or different; `Io`.
pub fn merge(shards: &[PathBuf], out: &Path) -> Result<usize> {
    there(out)?;
    let mut seen: Vec<Option<&Path>> = Vec::new();
    let mut common: Option<Value> = None;
    let mut answers = Vec::new();
    for path in shards {
        let (rows, mut provenance) = dataset::read(path)?;
        let shard = provenance["shard"].take();
        let number = |index: usize| shard[index].as_u64().and_then(|value| usize::try_from(value).ok());
        let (Some(index), Some(count)) = (number(0), number(1)) else {
            return Err(Error::format(path, "is no shard: its provenance names none"));
        };
        match &common {
            None => {
                common = Some(provenance);
                seen = vec![None; count.min(1 << 20)];
            }
            Some(first) if *first != provenance => {
                return Err(Error::format(path, "was made by another recipe, model or data than the first shard"));
            }
            Some(_) => {}
        }
        let of_shard = rows.iter().all(|row| row.key % count as u64 == index as u64);
        match seen.get_mut(index) {
            Some(slot @ None) if of_shard => *slot = Some(path),
            Some(Some(other)) => {
                return Err(Error::format(path, format!("shard {index} is {} already", other.display())));
            }
            _ => return Err(Error::format(path, format!("does not hold the rows of shard {index} of {count}"))),
        }
        answers.extend(rows);
    }
    if let Some(missing) = seen.iter().position(Option::is_none) {
        return Err(Error::format(out, format!("shard {missing} of {} is missing", seen.len())));
    }
    answers.sort_by_key(|answer| answer.key);
    if let Some(gap) = answers.iter().enumerate().find(|(index, answer)| answer.key != *index as u64) {
        return Err(Error::format(out, format!("answer {} is missing or there twice", gap.0)));
    }
    dataset::write(out, &answers, &common.unwrap_or(Value::Null))?;
    Ok(answers.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::CorpusSettings;
    use crate::distill::task::PromptEnd;
    use crate::model::ModelConfig;
    use crate::{folder, tokenizer};

    fn setting() -> (tempfile::TempDir, GenerateRecipe) {
        let root = tempfile::tempdir().unwrap();
        let text = "one two three four five<|endoftext|>six seven eight<|endoftext|>nine ten eleven";
        std::fs::write(root.path().join("a.txt"), text).unwrap();
        let tokens = root.path().join("t.json");
        tokenizer::train(&[CorpusSettings::text("a.txt")], root.path(), 257, &tokens).unwrap();
        let config = ModelConfig { vocab_len: 257, ..ModelConfig::tiny() };
        let model = Llama::random(config, 1, &Device::flex()).unwrap();
        let path = root.path().join("model");
        folder::replace(&path, |folder| hugging_face::save(folder, &model, Some(&tokens))).unwrap();
        let prompt = PromptEnd::Tokens([2, 3]);
        let recipe = GenerateRecipe {
            model: path,
            temperatures: vec![0.0, 1.0],
            top_p: vec![0.9, 1.0],
            prompts: 0,
            completion_len_max: 5,
            batch: 4,
            seed: 1,
            top_k: 2,
            task: vec![TaskSettings {
                name: "words".into(),
                prompt,
                weight: 1.0,
                corpus: CorpusSettings::text("a.txt"),
            }],
        };
        (root, recipe)
    }

    #[test]
    fn what_is_no_data_set_is_not_written_over() {
        let (root, recipe) = setting();
        let shard = Shard { index: 0, count: 1 };
        for taken in ["model", "a.txt"] {
            let error = generate(&recipe, root.path(), shard, &root.path().join(taken), &Device::flex()).unwrap_err();
            assert!(error.to_string().contains(taken) && matches!(error, Error::Setting { .. }), "{error}");
        }
        assert!(root.path().join("model/config.json").exists() && root.path().join("a.txt").exists());
    }

    #[test]
    fn shards_join_to_what_one_machine_makes() {
        let (root, recipe) = setting();
        let device = Device::flex();
        let at = |name: &str| root.path().join(name);
        generate(&recipe, root.path(), Shard { index: 0, count: 1 }, &at("all.parquet"), &device).unwrap();
        let shards: Vec<PathBuf> = (0..2).map(|index| at(&format!("{index}.parquet"))).collect();
        for (index, path) in shards.iter().enumerate() {
            let shard = Shard { index, count: 2 };
            assert!(generate(&recipe, root.path(), shard, path, &device).unwrap() > 0);
            assert_eq!(generate(&recipe, root.path(), shard, path, &device).unwrap(), 0, "idempotent");
        }
        assert_eq!(merge(&shards, &at("joined.parquet")).unwrap(), 9, "3 prompts, greedy and two nuclei");
        let (all, joined) = (dataset::read(&at("all.parquet")).unwrap(), dataset::read(&at("joined.parquet")).unwrap());
        assert_eq!(all.0, joined.0);
        assert!(all.0.iter().all(|answer| answer.top_tokens.len() == 2 * answer.completion.len()));

        assert!(merge(&shards[..1], &at("x")).unwrap_err().to_string().contains("shard 1"));
        assert!(merge(&[shards[0].clone(), shards[0].clone()], &at("x")).is_err());
        for taken in [&shards[0], &at("all.parquet"), &at("joined.parquet")] {
            let before = std::fs::read(taken).unwrap();
            let error = generate(&recipe, root.path(), Shard { index: 1, count: 2 }, taken, &device).unwrap_err();
            assert!(matches!(error, Error::Setting { .. }) && error.to_string().contains("file of its own"), "{error}");
            assert_eq!(std::fs::read(taken).unwrap(), before);
        }
        let other = GenerateRecipe { seed: 2, ..recipe };
        generate(&other, root.path(), Shard { index: 1, count: 2 }, &shards[1], &device).unwrap();
        assert!(merge(&shards, &at("x")).unwrap_err().to_string().contains("another recipe"));
    }

    #[test]
    fn a_killed_shard_goes_on_after_its_last_batch() {
        let (root, recipe) = setting();
        let run = |out: &Path| generate(&recipe, root.path(), Shard { index: 0, count: 1 }, out, &Device::flex());
        let (whole, broken) = (root.path().join("whole.parquet"), root.path().join("broken.parquet"));
        run(&whole).unwrap();
        let (answers, provenance) = dataset::read(&whole).unwrap();
        // A run that was killed after its first batch of four; the mark shows that it was not made again.
        let mut first = answers[..4].to_vec();
        first[0].task = "kept".into();
        let (mut part, _) = Part::open::<Vec<Answer>>(&broken, &provenance.to_string()).unwrap();
        part.push(&first).unwrap();
        drop(part);
        let other = Shard { index: 1, count: 2 };
        let error = generate(&recipe, root.path(), other, &broken, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains(".part holds shard 0/1"), "{error}");
        run(&broken).unwrap();
        let (found, _) = dataset::read(&broken).unwrap();
        assert_eq!((&found[..4], &found[4..]), (&first[..], &answers[4..]));
        let names = std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!names.into_iter().any(|name| name.to_string_lossy().ends_with(".part")), "nothing stays beside it");
    }

    #[test]
    fn answers_of_other_weights_or_other_data_are_not_kept() {
        let (root, recipe) = setting();
        let model = hugging_face::load(&recipe.model, &Device::flex()).unwrap();
        let values = model.values();
        let files: Vec<String> = (0..2).map(|index| format!("model-{index}.safetensors")).collect();
        let mut map = serde_json::Map::new();
        for (file, part) in files.iter().zip(values.chunks(values.len().div_ceil(2))) {
            crate::safetensors_file::write(&recipe.model.join(file), part).unwrap();
            map.extend(part.iter().map(|tensor| (tensor.name.clone(), Value::from(file.clone()))));
        }
        std::fs::remove_file(recipe.model.join("model.safetensors")).unwrap();
        let index = recipe.model.join("model.safetensors.index.json");
        std::fs::write(&index, json!({ "weight_map": map }).to_string()).unwrap();
        let out = root.path().join("answers.parquet");
        let run = || generate(&recipe, root.path(), Shard { index: 0, count: 1 }, &out, &Device::flex()).unwrap();
        assert_eq!((run(), run()), (9, 0));
        let last = recipe.model.join(&files[1]);
        let mut part = crate::safetensors_file::read(&last).unwrap();
        part[0].values[0] += 1.0;
        crate::safetensors_file::write(&last, &part).unwrap();
        assert_eq!((run(), run()), (9, 0), "other weights, then the same");
        let (_, origin) = dataset::read(&out).unwrap();
        dataset::check_tokens(&out, &origin, &recipe.model).unwrap();
        let tokenizer = recipe.model.join("tokenizer.json");
        let text = std::fs::read_to_string(&tokenizer).unwrap();
        std::fs::write(&tokenizer, format!("{text}\n")).unwrap();
        let error = dataset::check_tokens(&out, &origin, &recipe.model).unwrap_err().to_string();
        assert!(error.contains("other tokens"), "{error}");
        assert_eq!(run(), 9, "another tokenizer");
        let data = root.path().join("a.txt");
        let text = std::fs::read_to_string(&data).unwrap();
        std::fs::write(&data, text.rsplit("<|endoftext|>").collect::<Vec<_>>().join("<|endoftext|>")).unwrap();
        assert_eq!((run(), run()), (9, 0), "other data at the same path, then the same");
    }

    #[test]
    fn judgement_does_not_depend_on_the_batch() {
        let (root, recipe) = setting();
        let answers = |batch: usize| {
            let (recipe, out) =
                (GenerateRecipe { batch, ..recipe.clone() }, root.path().join(format!("{batch}.parquet")));
            generate(&recipe, root.path(), Shard { index: 0, count: 1 }, &out, &Device::flex()).unwrap();
            dataset::read(&out).unwrap().0
        };
        let (alone, together) = (answers(1), answers(9));
        assert_eq!(alone.len(), together.len());
        for (one, other) in alone.iter().zip(&together) {
            assert_eq!((&one.completion, &one.top_tokens), (&other.completion, &other.top_tokens));
            let pairs = one.top_log_probabilities.iter().zip(&other.top_log_probabilities);
            pairs.for_each(|(x, y)| assert!((x - y).abs() < 1e-5, "{x} {y}"));
        }
    }

    #[test]
    fn answers_judged_in_groups_are_those_of_one_pass() {
        let model = Llama::random(ModelConfig::tiny(), 1, &Device::flex()).unwrap();
        let sampling = Sampling { temperature: 0.0, top_p: 1.0 };
        let asked = |key: u64| Asked { key, task: String::new(), prompt: vec![1; 1 + key as usize], sampling };
        let batch: Vec<Asked> = (0..5).map(asked).collect();
        let completions: Vec<Vec<u32>> = (1..6).map(|length| vec![2; length]).collect();
        let judge = |scores_max| likeliest(&model, &batch, &completions, 3, scores_max);
        let whole = judge(SCORES_MAX);
        let two = 2 * model.config().heads * 9 * 9;
        for scores_max in [1, two] {
            let found = judge(scores_max);
            assert_eq!(found.len(), whole.len());
            for ((tokens, values), (all_tokens, all_values)) in found.iter().zip(&whole) {
                assert_eq!(tokens, all_tokens);
                assert!(values.iter().zip(all_values).all(|(x, y)| (x - y).abs() < 1e-5));
            }
        }
    }

    #[test]
    fn the_best_come_in_order_and_equals_by_index() {
        let values = [0.5, 2.0, -1.0, 2.0, 0.5, 3.0];
        assert_eq!(best(&values, 4), [5, 1, 3, 0]);
        assert_eq!(best(&values, 9), [5, 1, 3, 0, 4, 2]);
    }

    #[test]
    fn shards_are_written_as_index_of_count() {
        assert_eq!("2/5".parse(), Ok(Shard { index: 2, count: 5 }));
        for wrong in ["5/5", "1", "a/b", "-1/2"] {
            assert!(wrong.parse::<Shard>().is_err());
        }
    }
}
