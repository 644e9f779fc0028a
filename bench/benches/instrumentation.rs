//! What the harness itself costs: generations taken by it against generations whose events are only drained, in turns on
//! the demo pack, in pairs of the quickest of a few. Told are the time per token that a report would give, and the time
//! of everything, the look at the sensors before a generation included. `cargo bench -p drafthorse-bench`.

use std::path::Path;
use std::time::Instant;

use drafthorse::{Drafting, Engine, EngineOptions, Event, GenerationOptions, Prompt, Session, SessionOptions};
use drafthorse_bench::Recorder;
use drafthorse_bench::statistics::bootstrap;

const PROMPTS: [&str; 4] = ["Once upon a time", "The big dog", "One day, a girl named Ana", "User: How are you?\nBot:"];
const PAIRS: usize = 24;

/// Generations of each side in a pair, of which the quickest counts: whatever else the machine does only slows them. An even
/// number, so that each side goes first in half of them.
const TAKEN: usize = 6;

/// Time with the harness over time without that the upper end of the interval may reach.
const COST_MAX: f64 = 1.01;

fn main() {
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/packs/demo");
    let options = EngineOptions { target_threads: Some(1), drafter_threads: Some(1), ..EngineOptions::default() };
    let engine = Engine::open(pack, &options).expect("the demo pack");
    println!("time with the harness over time without, whole generations of 96 tokens on the demo pack");
    for (name, drafting) in [("plain", Drafting::None), ("adaptive", Drafting::Both)] {
        let session = engine.session(&SessionOptions { drafting, ..SessionOptions::default() }).expect("a session");
        let pairs = PROMPTS.map(|prompt| ratios(&session, prompt));
        for (part, which) in [("per token", 0), ("of everything", 1)] {
            let groups = pairs.each_ref().map(|pairs| pairs.iter().map(|pair| pair[which]).collect::<Vec<_>>());
            let figure = bootstrap(&groups, 1).expect("pairs");
            println!(
                "  {name:10} {part:14} {:.4} [{:.4}, {:.4}], {} pairs{}",
                figure.value,
                figure.low,
                figure.high,
                PAIRS * PROMPTS.len(),
                // The claim is about what a report tells, the time per token.
                match (which, figure.high <= COST_MAX) {
                    (0, true) => "; within 1 %: yes",
                    (0, false) => "; within 1 %: no",
                    _ => "",
                }
            );
        }
    }
}

/// Seconds per token as the account has them, and seconds of everything.
type Times = [f64; 2];

/// Time with the harness over time without, pair by pair, each side first in every other generation and every other pair.
fn ratios(session: &Session, prompt: &str) -> Vec<Times> {
    let options = GenerationOptions { max_tokens: Some(96), temperature: Some(0.0), ..GenerationOptions::default() };
    let mut recorder = Recorder::new(None);
    let mut recorded = || {
        timed(session, || recorder.record(session, Prompt::Text(prompt), &options).expect("a text").decode_tokens_per_s)
    };
    let drained = || {
        timed(session, || {
            let events = session.generate(Prompt::Text(prompt), &options).expect("a generation");
            match events.map(|event| event.expect("an event")).last() {
                Some(Event::Finished(account)) => account.decode_tokens_per_s,
                _ => unreachable!("a generation ends with its account"),
            }
        })
    };
    let pair = |number: usize| {
        let (mut with, mut without) = ([f64::INFINITY; 2], [f64::INFINITY; 2]);
        for taken in 0..TAKEN {
            if (number + taken).is_multiple_of(2) {
                with = quicker(with, recorded());
                without = quicker(without, drained());
            } else {
                without = quicker(without, drained());
                with = quicker(with, recorded());
            }
        }
        [with[0] / without[0], with[1] / without[1]]
    };
    (0..PAIRS).map(pair).collect()
}

fn quicker(a: Times, b: Times) -> Times {
    [a[0].min(b[0]), a[1].min(b[1])]
}

/// The times of a generation that tells its tokens per second.
fn timed(session: &Session, generate: impl FnOnce() -> f64) -> Times {
    session.reset().expect("an idle session");
    let start = Instant::now();
    let tokens_per_s = generate();
    [1.0 / tokens_per_s, start.elapsed().as_secs_f64()]
}
