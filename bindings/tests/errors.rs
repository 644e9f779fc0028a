//! Every error that an app tells apart, raised by its real cause.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{demo_pack, finish, greedy, one_thread, open};
use drafthorse_bindings::{
    Constraint, DrafthorseError as E, Engine, EngineOptions, GenerationOptions, Message, Prompt, Provider,
    ProviderChoice, Result, SessionOptions, provoke_panic, set_runtime_library,
};
use tempfile::TempDir;

fn text(text: &str) -> Prompt {
    Prompt::Text { text: text.to_owned() }
}

/// Opens, starts a session, and generates to the end.
fn generate(path: &Path, options: EngineOptions, prompt: Prompt) -> Result<()> {
    let engine = Engine::open(path.to_str().unwrap().to_owned(), options)?;
    let session = engine.session(SessionOptions::default())?;
    let generation = session.generate(prompt, greedy(8))?;
    finish(&generation).map(drop)
}

macro_rules! fails {
    ($call:expr, $variant:ident) => {
        match $call {
            Err(E::$variant(message)) => assert!(message.len() > 5, "{message:?} says too little"),
            Err(other) => panic!("{other:?} instead of {}", stringify!($variant)),
            Ok(_) => panic!("no {}", stringify!($variant)),
        }
    };
}

#[test]
fn broken_packs_name_what_is_wrong() {
    let folder = TempDir::new().unwrap();
    drafthorse_tests::write_broken_packs(folder.path()).unwrap();
    let run = |name: &str, prompt: Prompt| generate(&folder.path().join(name), one_thread(), prompt);
    let message = Message { role: "user".to_owned(), content: Some("Hello".to_owned()), more_json: None };
    let messages = Prompt::Messages { messages: vec![message], tools_json: Vec::new() };
    fails!(run("PackInvalid", text("A")), PackInvalid);
    fails!(run("PackDamaged", text("A")), PackDamaged);
    fails!(run("Unsupported", text("A")), Unsupported);
    fails!(run("VocabularyMismatch", text("A")), VocabularyMismatch);
    fails!(run("ChatTemplate", messages), ChatTemplate);
    fails!(run("InvalidLogits", Prompt::Tokens { tokens: vec![300; 250] }), InvalidLogits);
    fails!(run("PackInvalid/genai_config.json/pack", text("A")), Io);
    fails!(run("Internal", Prompt::Tokens { tokens: vec![300; 250] }), Internal);
    run("Internal", text("A")).unwrap();
    fails!(run("nothing here", text("A")), PackNotFound);
}

#[test]
fn a_session_survives_a_failed_generation() {
    let folder = TempDir::new().unwrap();
    drafthorse_tests::write_broken_packs(folder.path()).unwrap();
    let path = folder.path().join("Internal").to_str().unwrap().to_owned();
    let engine = Engine::open(path, one_thread()).unwrap();
    let session = engine.session(SessionOptions::default()).unwrap();
    let expected = finish(&session.generate(text("Once"), greedy(8)).unwrap()).unwrap().text;
    let failing = session.generate(Prompt::Tokens { tokens: vec![300; 250] }, greedy(8)).unwrap();
    fails!(finish(&failing), Internal);
    assert_eq!(failing.next().unwrap(), None);
    session.reset().unwrap();
    assert_eq!(finish(&session.generate(text("Once"), greedy(8)).unwrap()).unwrap().text, expected);
}

#[test]
fn engines_that_cannot_be_opened_as_asked() {
    let open = |options: EngineOptions| Engine::open(demo_pack(), options);
    let cuda = ProviderChoice { provider: Provider::Cuda, options: Default::default(), strict: true, library: None };
    fails!(open(EngineOptions { target_providers: vec![cuda], ..one_thread() }), ProviderUnavailable);
    let small = EngineOptions { context_len: Some(512), cache_bytes_max: Some(1000), ..one_thread() };
    fails!(open(small), OutOfMemoryBudget);
    let elsewhere = EngineOptions { runtime_library: Some("/nowhere/libonnxruntime.so".into()), ..one_thread() };
    fails!(open(elsewhere), RuntimeLibrary);
    fails!(set_runtime_library("/nowhere/libonnxruntime.so".into()), RuntimeLibrary);
}

#[test]
fn generations_that_cannot_be_made_as_asked() {
    let engine = open();
    let session = engine.session(SessionOptions::default()).unwrap();
    let with = |change: fn(&mut GenerationOptions)| {
        let mut options = greedy(8);
        change(&mut options);
        session.generate(text("A fox"), options)
    };
    fails!(with(|options| options.temperature = Some(-1.0)), InvalidOptions);
    fails!(with(|options| options.max_tokens = Some(0)), InvalidOptions);
    fails!(with(|options| options.constraint = Some(Constraint::Regex { pattern: "(".into() })), Constraint);
    fails!(session.generate(Prompt::Tokens { tokens: vec![300; 600] }, greedy(1)), ContextFull);
    fails!(session.generate(Prompt::Tokens { tokens: vec![u32::MAX] }, greedy(1)), InvalidOptions);
    let running = session.generate(text("A"), greedy(8)).unwrap();
    fails!(session.generate(text("A"), greedy(1)), SessionBusy);
    fails!(session.tokens(), SessionBusy);
    running.release();
    fails!(running.next(), Closed);
    session.release();
    fails!(session.reset(), Closed);
    engine.release();
    fails!(engine.session(SessionOptions::default()), Closed);
    fails!(provoke_panic("on purpose".into()), Panic);
}

#[test]
fn huge_numbers_are_errors_or_limits_never_panics() {
    let session = open().session(SessionOptions::default()).unwrap();
    let huge =
        GenerationOptions { max_tokens: Some(u64::MAX), top_k: Some(u64::MAX), min_tokens: Some(0), ..greedy(1) };
    let generation = session.generate(text("A"), huge).unwrap();
    generation.next().unwrap();
    generation.release();
    session.rewind(u64::MAX).unwrap();
    let engine: Result<Arc<Engine>> =
        Engine::open(demo_pack(), EngineOptions { context_len: Some(u64::MAX), ..one_thread() });
    assert!(engine.is_ok() || matches!(engine, Err(E::OutOfMemoryBudget(_) | E::InvalidOptions(_))));
}
