//! What the harness itself costs: generations taken by it against generations whose events are only drained, in turns on
//! the demo pack, in pairs. `cargo bench -p drafthorse-bench`.

use std::path::Path;
use std::time::Instant;

use drafthorse::{Drafting, Engine, EngineOptions, GenerationOptions, Prompt, Session, SessionOptions};
use drafthorse_bench::Recorder;
use drafthorse_bench::statistics::bootstrap;

const PROMPTS: [&str; 4] = ["Once upon a time", "The big dog", "One day, a girl named Ana", "User: How are you?\nBot:"];
const PAIRS: usize = 60;

fn main() {
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/packs/demo");
    let options = EngineOptions { target_threads: Some(1), drafter_threads: Some(1), ..EngineOptions::default() };
    let engine = Engine::open(pack, &options).expect("the demo pack");
    println!("time with the harness over time without, whole generations of 96 tokens on the demo pack");
    for (name, drafting) in [("plain", Drafting::None), ("adaptive", Drafting::Both)] {
        let session = engine.session(&SessionOptions { drafting, ..SessionOptions::default() }).expect("a session");
        let groups = PROMPTS.map(|prompt| ratios(&session, prompt));
        let figure = bootstrap(&groups, 1).expect("pairs");
        println!(
            "  {name:10} {:.4} [{:.4}, {:.4}], {} pairs",
            figure.value,
            figure.low,
            figure.high,
            PAIRS * PROMPTS.len()
        );
    }
}

/// Time with the harness over time without, pair by pair, each side first in every other pair.
fn ratios(session: &Session, prompt: &str) -> Vec<f64> {
    let options = GenerationOptions { max_tokens: Some(96), temperature: Some(0.0), ..GenerationOptions::default() };
    let mut recorder = Recorder::new(None);
    let mut recorded =
        || time(session, || drop(recorder.record(session, Prompt::Text(prompt), &options).expect("a text")));
    let drained = || {
        time(session, || {
            for event in session.generate(Prompt::Text(prompt), &options).expect("a generation") {
                event.expect("an event");
            }
        })
    };
    (0..PAIRS)
        .map(|pair| {
            if pair % 2 == 0 {
                let with = recorded();
                with / drained()
            } else {
                let without = drained();
                recorded() / without
            }
        })
        .collect()
}

fn time(session: &Session, work: impl FnOnce()) -> f64 {
    session.reset().expect("an idle session");
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}
