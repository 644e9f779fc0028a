//! A round allocates nothing on the heap, from `next` to `next`. A test binary of its own: the allocator is global.

use allocation_counter::measure;
use drafthorse::{DraftLength, Drafting, Event, GenerationOptions, Prompt, Session, Verification};
use drafthorse_tests::{demo_pack, open, session};

/// Rounds until the chunk that goes to and fro is as large as it gets.
const FIRST_ROUNDS: usize = 30;

/// Rounds after the first ones, and what they allocated.
fn allocations(session: &Session, options: &GenerationOptions) -> (usize, u64) {
    session.reset().unwrap();
    let mut generation = session.generate(Prompt::Text("One day, a girl"), options).unwrap();
    let (mut rounds, mut made) = (0, 0);
    loop {
        let mut event = None;
        let counted = measure(|| event = generation.next());
        match event.expect("an account ends it").unwrap() {
            Event::Tokens(chunk) => {
                rounds += 1;
                if rounds > FIRST_ROUNDS {
                    made += counted.count_total;
                }
                generation.reuse(chunk);
            }
            Event::Finished(_) => return (rounds.saturating_sub(FIRST_ROUNDS), made),
            _ => {}
        }
    }
}

#[test]
fn rounds_allocate_nothing() {
    let engine = open(&demo_pack());
    let greedy = GenerationOptions { temperature: Some(0.0), max_tokens: Some(300), ..GenerationOptions::default() };
    let sampled = GenerationOptions { temperature: Some(0.9), seed: Some(7), ..greedy.clone() };
    let rules = [Verification::Token, Verification::Block, Verification::SeedCoupled];
    let mut cases = vec![
        greedy.clone(),
        GenerationOptions { stop: vec!["never there".into(), "The end of it".into()], ..greedy.clone() },
        GenerationOptions { repetition_penalty: Some(1.1), presence_penalty: Some(0.1), ..greedy.clone() },
        GenerationOptions { top_k: Some(40), ..sampled.clone() },
        GenerationOptions { top_p: Some(0.95), ..sampled.clone() },
        GenerationOptions { min_p: Some(0.02), ..sampled.clone() },
    ];
    cases.extend(rules.map(|rule| GenerationOptions { verification: Some(rule), ..sampled.clone() }));
    for drafting in [Drafting::None, Drafting::Model, Drafting::Lookup, Drafting::Both] {
        let session = session(&engine, drafting);
        let mut counted = 0;
        for draft_length in [None, Some(DraftLength::Fixed(3))] {
            for options in &cases {
                let options = GenerationOptions { draft_length, ..options.clone() };
                let (rounds, made) = allocations(&session, &options);
                assert_eq!(made, 0, "in {rounds} rounds of {drafting:?} under {options:?}");
                counted += rounds;
            }
        }
        assert!(counted > 300, "{counted} rounds with {drafting:?}");
    }
}
