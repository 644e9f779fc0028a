//! What the end-to-end tests and benches share: packs to open, and generations to compare.

mod broken;

use std::path::{Path, PathBuf};

use drafthorse::{
    Account, Drafting, Engine, EngineOptions, Event, Generation, GenerationOptions, Prompt, Result, Session,
    SessionOptions, TokenId,
};
use drafthorse_graph::{GraphOptions, fixtures::RandomPair};
use tempfile::TempDir;

pub use broken::{edit, write_broken_packs};

/// The demo pack of the repository.
pub fn demo_pack() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packs/demo")
}

/// A folder with a tiny random pair, in the kind that onnxruntime-genai reads. It goes when dropped.
pub fn random_pack(pair: &RandomPair, options: &GraphOptions) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    pair.write_genai(folder.path(), options).expect("a written pack");
    folder
}

/// Opens `folder` as tests want it: one thread, so that runs are the same everywhere.
pub fn open(folder: &Path) -> Engine {
    Engine::open(folder, &EngineOptions { target_threads: Some(1), drafter_threads: Some(1), ..Default::default() })
        .expect("a pack that opens")
}

/// A session that drafts by `drafting`.
pub fn session(engine: &Engine, drafting: Drafting) -> Session {
    engine.session(&SessionOptions { drafting, ..Default::default() }).expect("a session")
}

/// What a whole generation gave.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// The tokens, a stop token included.
    pub tokens: Vec<TokenId>,
    /// The account.
    pub account: Account,
}

/// Runs a generation to its end.
///
/// # Errors
/// Those of the generation.
pub fn finish(generation: Generation) -> Result<Answer> {
    let (mut text, mut tokens) = (String::new(), Vec::new());
    for event in generation {
        match event? {
            Event::Tokens(chunk) => {
                text.push_str(&chunk.text);
                tokens.extend(chunk.tokens.iter().map(|token| token.id));
            }
            Event::Finished(account) => return Ok(Answer { text, tokens, account: *account }),
            _ => {}
        }
    }
    unreachable!("a generation ends with an account or an error")
}

/// Generates after `prompt` in a session that has forgotten everything.
///
/// # Errors
/// Those of the generation.
pub fn answer(session: &Session, prompt: &[TokenId], options: &GenerationOptions) -> Result<Answer> {
    session.reset()?;
    finish(session.generate(Prompt::Tokens(prompt), options)?)
}

/// How much the target prefers its choice after `tokens` to the next best: the difference of the two best logits when
/// the last token is scored alone.
///
/// # Errors
/// Those of the session.
pub fn margin(session: &Session, tokens: &[TokenId]) -> Result<f32> {
    Ok(drafthorse::margin(&session.next_logits(tokens)?))
}
