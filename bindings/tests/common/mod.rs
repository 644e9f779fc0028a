//! What the tests of the border share.
#![allow(dead_code, reason = "every test uses another part")]

use std::sync::Arc;

use drafthorse_bindings::{
    Account, DraftLength, Engine, EngineOptions, Generation, GenerationEvent, GenerationOptions, Result, Token,
};

/// The demo pack on one thread, so that runs are the same everywhere.
pub(crate) fn open() -> Arc<Engine> {
    Engine::open(demo_pack(), one_thread()).expect("the demo pack opens")
}

pub(crate) fn demo_pack() -> String {
    drafthorse_tests::demo_pack().to_str().expect("a path in UTF-8").to_owned()
}

pub(crate) fn one_thread() -> EngineOptions {
    EngineOptions { target_threads: Some(1), drafter_threads: Some(1), check_digests: true, ..EngineOptions::default() }
}

/// Four drafted tokens per round, so that nothing depends on times.
pub(crate) fn greedy(max_tokens: u64) -> GenerationOptions {
    GenerationOptions {
        max_tokens: Some(max_tokens),
        draft_length: Some(DraftLength::Fixed { tokens: 4 }),
        ..GenerationOptions::default()
    }
}

/// What a whole generation gave.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    pub(crate) account: Account,
}

impl Answer {
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }
}

/// Pulls a generation to its end.
pub(crate) fn finish(generation: &Generation) -> Result<Answer> {
    let (mut text, mut all) = (String::new(), Vec::new());
    loop {
        match generation.next()?.expect("a generation ends with its account") {
            GenerationEvent::Prefill { .. } => {}
            GenerationEvent::Tokens { text: chunk, tokens } => {
                text.push_str(&chunk);
                all.extend(tokens);
            }
            GenerationEvent::Finished { account } => {
                assert_eq!(generation.next()?, None);
                return Ok(Answer { text, tokens: all, account });
            }
        }
    }
}
