//! Texts for training: documents out of files, packed into one stream of tokens per corpus.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::IoContext;
use crate::random::Stream;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result, dataset};

/// One corpus of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusSettings {
    /// File, relative to the data folder.
    pub path: PathBuf,
    /// How documents lie in the file.
    #[serde(default)]
    pub format: CorpusFormat,
    /// Text between documents; default `<|endoftext|>`.
    #[serde(default = "separator_default")]
    pub separator: String,
    /// For JSONL: the document, with `{field}` for the object's fields, `{{` and `}}` for braces.
    #[serde(default)]
    pub template: Option<String>,
    /// Texts between these two marks are removed, marks included (GSM8K's `<<48/2=24>>`).
    #[serde(default)]
    pub strip: Option<[String; 2]>,
    /// Share of the training rows, relative to the other corpora. A tokenizer is trained on every document once.
    #[serde(default = "weight_default")]
    pub weight: f64,
}

/// How documents lie in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorpusFormat {
    /// Text with separators.
    #[default]
    Text,
    /// Documents end at a single line break; two in a row are part of a document.
    Lines,
    /// One JSON object per line, made into a document by the template.
    Jsonl,
    /// One JSON object whose `examples` lists objects, each made into a document by the template (BIG-Bench Hard).
    Examples,
}

fn separator_default() -> String {
    crate::tokenizer::END_OF_TEXT.to_owned()
}

fn weight_default() -> f64 {
    1.0
}

impl CorpusSettings {
    /// A text file with the usual separator and weight 1.
    pub fn text(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: CorpusFormat::Text,
            separator: separator_default(),
            template: None,
            strip: None,
            weight: 1.0,
        }
    }

    /// The documents in order, trimmed, none empty.
    ///
    /// # Errors
    /// `Io`, or `Format` with the line that is no JSON object or lacks a field.
    pub fn documents(&self, data: &Path) -> Result<Vec<String>> {
        let path = data.join(&self.path);
        let text = std::fs::read_to_string(&path).at(&path)?;
        let documents: Vec<String> = match self.format {
            CorpusFormat::Text => text.split(&self.separator).map(str::to_owned).collect(),
            CorpusFormat::Lines => split_at_single_breaks(&text),
            CorpusFormat::Jsonl => {
                let lines = text.lines().map(str::to_owned).enumerate();
                self.fill(&path, "line", lines.filter(|(_, line)| !line.trim().is_empty()))?
            }
            CorpusFormat::Examples => {
                let object: Value =
                    serde_json::from_str(&text).map_err(|error| Error::format(&path, error.to_string()))?;
                let list = object["examples"].as_array();
                let list = list.ok_or_else(|| Error::format(&path, "has no list called examples"))?;
                self.fill(&path, "example", list.iter().map(Value::to_string).enumerate())?
            }
        };
        let documents = documents.into_iter().map(|text| match &self.strip {
            Some([open, close]) => strip(&text, open, close),
            None => text,
        });
        Ok(documents.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect())
    }

    /// SHA-256 of the file.
    ///
    /// # Errors
    /// `Format` if it cannot be read.
    pub fn digest(&self, data: &Path) -> Result<String> {
        dataset::file_digest(&data.join(&self.path))
    }

    /// A document from each object by the template; `kind` and the object's index tell where one is wrong.
    fn fill(&self, path: &Path, kind: &str, mut objects: impl Iterator<Item = (usize, String)>) -> Result<Vec<String>> {
        let template = self
            .template
            .as_deref()
            .ok_or_else(|| Error::setting("corpus.template", "needed for objects, with {field} for each field"))?;
        objects.try_fold(Vec::new(), |mut documents, (index, object)| {
            let wrong = |reason| Error::format(path, format!("{kind} {}: {reason}", index + 1));
            documents.push(fill_template(template, &object).map_err(wrong)?);
            Ok(documents)
        })
    }
}

/// Replaces every `{field}` of `template` by the text of that field of the JSON object `line`; `{{` and `}}` are braces.
///
/// # Errors
/// Which field is missing, or what the JSON lacks.
pub fn fill_template(template: &str, line: &str) -> Result<String, String> {
    let object: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        if let Some(after) = after.strip_prefix('{') {
            filled.push_str(&before.replace("}}", "}"));
            filled.push('{');
            rest = after;
            continue;
        }
        let (field, after) = after.split_once('}').ok_or("the template has { without }")?;
        filled.push_str(&before.replace("}}", "}"));
        match &object[field] {
            Value::String(text) => filled.push_str(text),
            Value::Null => return Err(format!("field {field:?} is missing")),
            other => filled.push_str(&other.to_string()),
        }
        rest = after;
    }
    filled.push_str(&rest.replace("}}", "}"));
    Ok(filled)
}

/// Splits at line breaks that stand alone.
fn split_at_single_breaks(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    let mut after_blank = true;
    for line in text.lines() {
        let blank = line.trim().is_empty();
        if !(blank || after_blank) {
            documents.push(String::new());
        }
        let document = documents.last_mut().expect("there is always one");
        document.push_str(line);
        document.push('\n');
        after_blank = blank;
    }
    documents
}

/// Removes what lies between `open` and `close`, marks included.
pub fn strip(text: &str, open: &str, close: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(open) {
        kept.push_str(before);
        match after.split_once(close) {
            Some((_, after)) => rest = after,
            None => {
                kept.push_str(open);
                rest = after;
            }
        }
    }
    kept.push_str(rest);
    kept
}

/// A corpus as tokens: training and held-out documents packed end to end.
pub struct Corpus {
    name: String,
    weight: f64,
    train: Vec<u32>,
    held_out: Vec<u32>,
}

impl Corpus {
    /// Reads and encodes a corpus; the last `hold_out` share of its documents is kept for validation.
    ///
    /// Every document begins as a prompt does and ends with `end`. Each half holds at least one row of `row_len` tokens.
    ///
    /// # Errors
    /// Of reading and encoding; `Setting` if the corpus is too small.
    pub fn load(
        settings: &CorpusSettings,
        data: &Path,
        tokenizer: &Tokenizer,
        end: u32,
        hold_out: f64,
        row_len: usize,
    ) -> Result<Self> {
        let documents = settings.documents(data)?;
        let held = ((documents.len() as f64 * hold_out).ceil() as usize).min(documents.len());
        let mut streams = [Vec::new(), Vec::new()];
        for (index, document) in documents.iter().enumerate() {
            let stream = &mut streams[usize::from(index >= documents.len() - held)];
            stream.extend(tokenizer.encode_prompt(document)?);
            if stream.last() != Some(&end) {
                stream.push(end);
            }
        }
        let [train, held_out] = streams;
        let name = settings.path.display().to_string();
        let short = |len: usize| len < row_len;
        if !(settings.weight.is_finite() && settings.weight >= 0.0) {
            return Err(Error::setting("corpus.weight", format!("{}: 0 or above", settings.weight)));
        }
        if short(train.len()) || (hold_out > 0.0 && short(held_out.len())) {
            let reason = format!("{name} has {} + {} tokens, a row takes {row_len}", train.len(), held_out.len());
            return Err(Error::setting("corpus", reason));
        }
        Ok(Self { name, weight: settings.weight, train, held_out })
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Up to `count` held-out rows of `row_len` tokens, evenly spread and always the same.
    pub fn held_out_rows(&self, count: usize, row_len: usize) -> Vec<Vec<u32>> {
        let room = self.held_out.len().saturating_sub(row_len);
        let count = count.min(self.held_out.len() / row_len.max(1));
        (0..count)
            .map(|index| {
                let start = room * index / count.max(2).saturating_sub(1);
                self.held_out[start..start + row_len].to_vec()
            })
            .collect()
    }
}

/// Row `row` of step `step`: a corpus drawn by weight and a window drawn evenly.
///
/// It depends on the seed, the step and the row only, so a resumed run sees what an unbroken one would.
pub fn training_row(corpora: &[Corpus], seed: u64, step: usize, row: usize, row_len: usize) -> Vec<u32> {
    let mut stream = Stream::new(seed, step as u64, row as u64);
    let weights: Vec<f64> = corpora.iter().map(|corpus| corpus.weight).collect();
    let tokens = &corpora[stream.weighted(&weights)].train;
    let start = stream.below(tokens.len() - row_len + 1);
    tokens[start..start + row_len].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_out_of_both_formats() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), "one\n<|endoftext|>\n\n<|endoftext|> two").unwrap();
        assert_eq!(CorpusSettings::text("a.txt").documents(folder.path()).unwrap(), ["one", "two"]);

        std::fs::write(folder.path().join("b.jsonl"), "{\"q\": \"1+1\", \"a\": \"1+1=<<1+1=2>>2\"}\n\n").unwrap();
        let mut corpus = CorpusSettings::text("b.jsonl");
        corpus.format = CorpusFormat::Jsonl;
        assert!(corpus.documents(folder.path()).is_err(), "no template");
        corpus.template = Some("Q: {q} A: {a}".into());
        corpus.strip = Some(["<<".into(), ">>".into()]);
        assert_eq!(corpus.documents(folder.path()).unwrap(), ["Q: 1+1 A: 1+1=2"]);
        assert_eq!(fill_template("{{{q}}} }}{{", "{\"q\": \"{x}\"}"), Ok("{{x}} }{".into()));
        corpus.template = Some("{missing}".into());
        assert!(corpus.documents(folder.path()).unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn single_breaks_end_documents_and_double_ones_do_not() {
        assert_eq!(split_at_single_breaks("a\n\nb\nc\n\nd"), ["a\n\nb\n", "c\n\nd\n"]);
    }

    #[test]
    fn listed_examples_are_documents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("task.json");
        std::fs::write(&path, r#"{"examples": [{"input": "1+1", "target": "2"}, {"input": "3"}]}"#).unwrap();
        let mut corpus = CorpusSettings::text("task.json");
        corpus.format = CorpusFormat::Examples;
        corpus.template = Some("{input} is".into());
        assert_eq!(corpus.documents(folder.path()).unwrap(), ["1+1 is", "3 is"]);
        corpus.template = Some("{target}".into());
        assert!(corpus.documents(folder.path()).unwrap_err().to_string().contains("example 2"));
        std::fs::write(&path, "{}").unwrap();
        assert!(corpus.documents(folder.path()).is_err());
    }

    #[test]
    fn strip_leaves_an_open_mark_alone() {
        assert_eq!(strip("a<<b>>c<<d", "<<", ">>"), "ac<<d");
    }

    #[test]
    fn documents_begin_with_the_token_that_begins_a_text() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), "one two<|endoftext|>one two three").unwrap();
        let (settings, file) = (CorpusSettings::text("a.txt"), folder.path().join("tokenizer.json"));
        crate::tokenizer::train(std::slice::from_ref(&settings), folder.path(), 257, &file).unwrap();
        let mut written: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let sequence = |id: &str| serde_json::json!({ "Sequence": { "id": id, "type_id": 0 } });
        written["post_processor"] = serde_json::json!({
            "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "A", "type_id": 0 } }, sequence("A")],
            "pair": [sequence("A"), sequence("B")],
            "special_tokens": { "A": { "id": "A", "ids": [34], "tokens": ["A"] } },
        });
        std::fs::write(&file, written.to_string()).unwrap();
        let tokenizer = Tokenizer::open(&file).unwrap();
        let corpus = Corpus::load(&settings, folder.path(), &tokenizer, 0, 0.0, 4).unwrap();
        let documents: Vec<&[u32]> = corpus.train.split(|&token| token == 0).collect();
        assert_eq!(documents.len(), 3, "two, and nothing after the last end");
        assert!(documents[..2].iter().all(|tokens| tokens[0] == 34), "{documents:?}");
        assert_eq!(documents[0], tokenizer.encode_prompt("one two").unwrap());
    }

    #[test]
    fn rows_follow_the_weights_and_replay() {
        let corpus = |name: &str, weight, token| Corpus {
            name: name.into(),
            weight,
            train: vec![token; 100],
            held_out: (0..50).collect(),
        };
        let corpora = [corpus("a", 3.0, 1), corpus("b", 1.0, 2)];
        let first = (0..1000).filter(|&row| training_row(&corpora, 1, 0, row, 8)[0] == 1).count();
        assert!((690..810).contains(&first), "{first}");
        assert_eq!(training_row(&corpora, 1, 5, 3, 8), training_row(&corpora, 1, 5, 3, 8));
        let held = corpora[0].held_out_rows(3, 10);
        assert_eq!(held.len(), 3);
        assert_eq!((held[0][0], held[2][9]), (0, 49));
    }
}
