//! Texts that static activation scales are calibrated on: the target's own, since they are what both models will read.

use std::path::Path;

use super::parity::{ParityText, encoded};
use crate::Result;
use crate::corpus::CorpusSettings;
use crate::distill::rollout::{Limits, Request, Sampling, rollout};
use crate::model::Llama;
use crate::tokenizer::Tokenizer;

/// Texts that are written, and tokens of each.
const TEXTS: usize = 32;
const TEXT_TOKENS_MAX: usize = 96;
/// Tokens that the target goes on from.
const PROMPT_TOKENS_MAX: usize = 8;

/// What `target` writes, drawn from its own distribution, after the beginnings of the corpus's first documents; no text is
/// longer than `context_len` tokens.
///
/// # Errors
/// Of reading, encoding and the rollout; `Setting` if the corpus has no text of two tokens.
pub(super) fn texts(
    settings: &CorpusSettings,
    data: &Path,
    tokenizer: &Tokenizer,
    target: &Llama,
    context_len: usize,
) -> Result<Vec<ParityText>> {
    let documents = settings.documents(data)?;
    let beginnings = encoded(documents.iter().take(TEXTS), tokenizer, PROMPT_TOKENS_MAX.min(context_len / 2))?;
    let sampling = Sampling { temperature: 1.0, top_p: 1.0 };
    let requests: Vec<Request<'_>> =
        beginnings.iter().enumerate().map(|(key, prompt)| Request { prompt, sampling, key: key as u64 }).collect();
    let limits = Limits { completion_len_max: TEXT_TOKENS_MAX - PROMPT_TOKENS_MAX, batch_rows: TEXTS };
    let answers = rollout(target, &requests, limits, 0)?;
    let join = |(beginning, answer): (&ParityText, Vec<u32>)| {
        beginning.iter().copied().chain(answer).take(context_len).collect()
    };
    Ok(beginnings.iter().zip(answers).map(join).collect())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::ModelConfig;
    use crate::tokenizer;

    #[test]
    fn the_target_goes_on_from_the_corpus() {
        let folder = tempfile::tempdir().unwrap();
        let corpus = CorpusSettings::text("a.txt");
        let text: Vec<String> = (0..40).map(|index| format!("{index} cats and {index} dogs went home")).collect();
        std::fs::write(folder.path().join("a.txt"), text.join("<|endoftext|>")).unwrap();
        let file = folder.path().join("tokenizer.json");
        tokenizer::train(std::slice::from_ref(&corpus), folder.path(), 257, &file).unwrap();
        let tokenizer = Tokenizer::open(&file).unwrap();
        let shape = ModelConfig { vocab_len: 257, context_len: 24, eos_tokens: vec![], ..ModelConfig::tiny() };
        let target = Llama::random(shape, 1, &Device::flex()).unwrap();
        let run = |context_len| texts(&corpus, folder.path(), &tokenizer, &target, context_len).unwrap();
        let found = run(24);
        assert_eq!(found.len(), TEXTS);
        let document = tokenizer.encode(&text[3]).unwrap();
        assert_eq!(found[3][..PROMPT_TOKENS_MAX], document[..PROMPT_TOKENS_MAX]);
        assert_ne!(found[3][PROMPT_TOKENS_MAX..], document[PROMPT_TOKENS_MAX..], "the rest is the target's");
        assert!(found.iter().all(|text| text.len() == 24));
        assert_eq!(run(24), found, "the same pack again");
        assert!(run(6).iter().all(|text| text.len() <= 6), "a drafter with a shorter context");
    }
}
