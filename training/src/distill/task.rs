//! Tasks: documents cut into a prompt and its completion.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::batch::Example;
use super::source::Pool;
use crate::corpus::CorpusSettings;
use crate::random::Stream;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// Held-out prompts per task if a recipe names no number: `evaluate` then measures on those that `distill` did not learn.
pub const HELD_OUT_PROMPTS: usize = 32;

/// One task of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSettings {
    /// Its name in metrics and tables.
    pub name: String,
    /// Where a document's prompt ends.
    pub prompt: PromptEnd,
    /// Share of the learned texts, relative to the other tasks.
    #[serde(default = "weight_default")]
    pub weight: f64,
    /// Documents, in the order of the file.
    pub corpus: CorpusSettings,
}

fn weight_default() -> f64 {
    1.0
}

/// Where a document's prompt ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PromptEnd {
    /// After the first occurrence of this text; documents without it are left out.
    After(String),
    /// After a number of tokens drawn between these two, both included.
    Tokens([usize; 2]),
    /// Before the first occurrence of this text, which is left out: what stands there is a user's message, and the prompt
    /// is that message in the model's own chat template. Documents without the text are left out.
    Chat(String),
    /// Nowhere: every document is a prompt without a completion.
    Whole,
    /// Nowhere: every document is a user's message without an answer, and the prompt is that message in the model's own
    /// chat template.
    Message,
}

impl TaskSettings {
    /// Every document with a prompt and at least one completion token, in order; completions end with `end`. Where
    /// documents are prompts only, completions are empty.
    ///
    /// Prompt and completion are encoded apart, as they are when the model is asked.
    ///
    /// # Errors
    /// Of reading and encoding; `Setting` if no document is left.
    pub fn examples(&self, data: &Path, tokenizer: &Tokenizer, end: u32, seed: u64) -> Result<Vec<Example>> {
        if self.corpus.weight != 1.0 {
            return Err(Error::setting(format!("task {}", self.name), "corpus.weight has no effect; weigh the task"));
        }
        let mut examples = Vec::new();
        for (index, document) in self.corpus.documents(data)?.iter().enumerate() {
            let mut stream = Stream::new(seed, 0x7461_736b, index as u64);
            let (prompt, mut completion) = self.prompt.cut(document, tokenizer, &mut stream)?;
            if prompt.is_empty() || (self.prompt.has_completions() && completion.is_empty()) {
                continue;
            }
            if self.prompt.has_completions() {
                completion.push(end);
            }
            examples.push(Example::new(prompt, completion));
        }
        if examples.is_empty() {
            let reason = "no document has a prompt and a completion; of prompts without answers, prompt = \"whole\"";
            return Err(Error::setting(format!("task {}", self.name), reason));
        }
        Ok(examples)
    }
}

impl PromptEnd {
    /// True if a completion follows the prompt in each document.
    pub fn has_completions(&self) -> bool {
        !matches!(self, Self::Whole | Self::Message)
    }

    /// Prompt and completion of a document; both are empty where it lacks the mark.
    fn cut(&self, document: &str, tokenizer: &Tokenizer, stream: &mut Stream) -> Result<(Vec<u32>, Vec<u32>)> {
        Ok(match self {
            Self::After(mark) => {
                let Some((before, after)) = document.split_once(mark) else { return Ok(<_>::default()) };
                (tokenizer.encode_prompt(&format!("{before}{mark}"))?, tokenizer.encode(after)?)
            }
            Self::Tokens([least, most]) => {
                if *least == 0 || least > most {
                    return Err(Error::setting("prompt.tokens", format!("{least} to {most}: at least 1, in order")));
                }
                let mut prompt = tokenizer.encode_prompt(document)?;
                let at = (least + stream.below(most - least + 1)).min(prompt.len());
                let completion = prompt.split_off(at);
                (prompt, completion)
            }
            Self::Chat(mark) => {
                let Some((message, answer)) = document.split_once(mark) else { return Ok(<_>::default()) };
                (tokenizer.encode_message(message.trim())?, tokenizer.encode(answer.trim_start())?)
            }
            Self::Whole => (tokenizer.encode_prompt(document)?, vec![]),
            Self::Message => (tokenizer.encode_message(document)?, vec![]),
        })
    }
}

/// Splits off `count` examples evenly spread over `examples`: what is left to learn from, and what was taken.
pub fn hold_out(examples: Vec<Example>, count: usize) -> (Vec<Example>, Vec<Example>) {
    let (total, count) = (examples.len(), count.min(examples.len()));
    let (mut kept, mut held) = (Vec::new(), Vec::new());
    for (index, example) in examples.into_iter().enumerate() {
        // Exactly `count` of the indices pass a multiple of total / count.
        if (index + 1) * count / total > index * count / total { held.push(example) } else { kept.push(example) }
    }
    (kept, held)
}

/// Documents as windows of at most `len_max` tokens, each learned from its second token on; a group for each corpus.
///
/// # Errors
/// Of reading and encoding.
pub fn generic(
    corpora: &[CorpusSettings],
    data: &Path,
    tokenizer: &Tokenizer,
    end: u32,
    len_max: usize,
) -> Result<Pool> {
    let mut pool = Pool::default();
    for corpus in corpora {
        let mut examples = Vec::new();
        for document in corpus.documents(data)? {
            let mut tokens = tokenizer.encode_prompt(&document)?;
            tokens.push(end);
            for window in tokens.chunks(len_max.max(2)).filter(|window| window.len() > 1) {
                examples.push(Example::new(window[..1].to_vec(), window[1..].to_vec()));
            }
        }
        pool.add(corpus.weight, examples);
    }
    Ok(pool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer;

    fn folder() -> (tempfile::TempDir, Tokenizer) {
        let folder = tempfile::tempdir().unwrap();
        let text = "Q: one and one? A: two<|endoftext|>no mark here<|endoftext|>Q: A:".to_owned();
        std::fs::write(folder.path().join("a.txt"), text).unwrap();
        let path = folder.path().join("tokenizer.json");
        tokenizer::train(&[CorpusSettings::text("a.txt")], folder.path(), 270, &path).unwrap();
        let tokenizer = Tokenizer::open(&path).unwrap();
        (folder, tokenizer)
    }

    fn task(prompt: PromptEnd) -> TaskSettings {
        TaskSettings { name: "sums".into(), prompt, weight: 1.0, corpus: CorpusSettings::text("a.txt") }
    }

    #[test]
    fn a_prompt_ends_after_its_mark() {
        let (folder, tokenizer) = folder();
        let task = task(PromptEnd::After("A:".into()));
        let examples = task.examples(folder.path(), &tokenizer, 0, 1).unwrap();
        // The second document has no mark, the third no completion.
        assert_eq!(examples.len(), 1);
        assert_eq!(tokenizer.decode(&examples[0].prompt).unwrap(), "Q: one and one? A:");
        assert_eq!(tokenizer.decode(&examples[0].completion).unwrap(), " two<|endoftext|>");
    }

    #[test]
    fn a_weight_without_effect_is_refused() {
        let (folder, tokenizer) = folder();
        let mut task = task(PromptEnd::Whole);
        task.corpus.weight = 2.0;
        let error = task.examples(folder.path(), &tokenizer, 0, 1).unwrap_err().to_string();
        assert!(error.contains("corpus.weight"), "{error}");
    }

    #[test]
    fn a_message_goes_through_the_models_own_chat_template() {
        let (folder, _) = folder();
        let open = || Tokenizer::open(&folder.path().join("tokenizer.json")).unwrap();
        let task = task(PromptEnd::Chat("A:".into()));
        let error = task.examples(folder.path(), &open(), 0, 1).unwrap_err().to_string();
        assert!(error.contains("setting prompt:") && error.contains("chat_template.jinja"), "{error}");

        let template = "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n\
                        {% endfor %}{% if add_generation_prompt %}[bot {{ strftime_now('%Y') }}] {% endif %}";
        std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
        std::fs::write(folder.path().join("tokenizer_config.json"), r#"{"bos_token": "<|endoftext|>"}"#).unwrap();
        let tokenizer = open();
        let examples = task.examples(folder.path(), &tokenizer, 0, 1).unwrap();
        let text = |tokens: &[u32]| tokenizer.decode(tokens).unwrap();
        assert_eq!(text(&examples[0].prompt), "<|endoftext|>[user] Q: one and one?\n[bot 2025] ");
        assert_eq!((examples[0].prompt[0], &text(&examples[0].completion)[..]), (0, "two<|endoftext|>"));

        std::fs::write(folder.path().join("chat_template.jinja"), "{% for %}").unwrap();
        let error = task.examples(folder.path(), &open(), 0, 1).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error}");
    }

    #[test]
    fn prompts_without_answers_are_taken_whole() {
        let (folder, _) = folder();
        let lines = "{\"prompt\": \"one and two?\"}\n{\"prompt\": \"here\"}\n";
        std::fs::write(folder.path().join("p.jsonl"), lines).unwrap();
        std::fs::write(folder.path().join("chat_template.jinja"), "[{{ messages[0]['content'] }}]").unwrap();
        let tokenizer = Tokenizer::open(&folder.path().join("tokenizer.json")).unwrap();
        let prompts = |prompt: &str| {
            let corpus = r#"{ path = "p.jsonl", format = "jsonl", template = "{prompt}\nA:" }"#;
            let text = format!("name = \"asked\"\nprompt = {prompt}\ncorpus = {corpus}");
            let task: TaskSettings = toml::from_str(&text).unwrap();
            task.examples(folder.path(), &tokenizer, 0, 1).map(|examples| {
                assert!(examples.iter().all(|example| example.completion.is_empty()));
                examples.iter().map(|example| tokenizer.decode(&example.prompt).unwrap()).collect::<Vec<_>>()
            })
        };
        assert_eq!(prompts("\"whole\"").unwrap(), ["one and two?\nA:", "here\nA:"]);
        assert_eq!(prompts("\"message\"").unwrap(), ["[one and two?\nA:]", "[here\nA:]"]);
        let error = prompts("{ after = \"A:\" }").unwrap_err().to_string();
        assert!(error.contains("whole"), "{error}");
    }

    #[test]
    fn a_prompt_of_tokens_is_drawn_and_replays() {
        let (folder, tokenizer) = folder();
        let task = task(PromptEnd::Tokens([2, 4]));
        let examples = task.examples(folder.path(), &tokenizer, 0, 1).unwrap();
        assert!(examples.iter().all(|example| (2..=4).contains(&example.prompt.len())));
        assert_eq!(examples, task.examples(folder.path(), &tokenizer, 0, 1).unwrap());
        let absent = TaskSettings { prompt: PromptEnd::After("nowhere".into()), ..task };
        assert!(absent.examples(folder.path(), &tokenizer, 0, 1).unwrap_err().to_string().contains("sums"));
    }

    #[test]
    fn held_out_examples_are_spread_and_apart() {
        let examples: Vec<Example> = (0..10).map(|index| Example::new(vec![index], vec![index])).collect();
        let (kept, held) = hold_out(examples.clone(), 3);
        assert_eq!((kept.len(), held.len()), (7, 3));
        assert!(held.iter().all(|example| !kept.contains(example)));
        assert_eq!(hold_out(examples, 20).1.len(), 10);
    }

    #[test]
    fn generic_text_is_cut_into_windows() {
        let (folder, tokenizer) = folder();
        let corpus = |weight| CorpusSettings { weight, ..CorpusSettings::text("a.txt") };
        let pool = generic(&[corpus(3.0), corpus(1.0)], folder.path(), &tokenizer, 0, 5).unwrap();
        for ((share, examples), expected) in pool.shares().zip([0.75, 0.25]) {
            assert!(examples.iter().all(|example| example.prompt.len() == 1 && example.completion.len() <= 4));
            assert!(examples.len() > 3 && share == expected, "{share}");
        }
    }
}
