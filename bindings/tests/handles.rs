//! Handles are cancelled and released twice, from any thread, while a call runs; nothing is lost or left behind.

mod common;

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use common::{finish, greedy, open};
use drafthorse_bindings::{DrafthorseError, GenerationEvent, Prompt, SessionOptions, StopReason};

const MOMENTS: u64 = 200;

/// Long enough that some moments fall into prefill, the others into decoding.
fn prompt() -> Prompt {
    Prompt::Text { text: "Once upon a time a fox lived by the river. ".repeat(6) }
}

#[test]
fn cancelled_at_any_moment_the_session_goes_on_with_the_right_text() {
    let session = open().session(SessionOptions::default()).unwrap();
    let expected = finish(&session.generate(prompt(), greedy(24)).unwrap()).unwrap();
    let moment_us = expected.account.time.total_ms * 1000.0 / MOMENTS as f64;
    let (mut in_prefill, mut in_decode) = (0, 0);
    for moment in 0..MOMENTS {
        session.reset().unwrap();
        let generation = session.generate(prompt(), greedy(24)).unwrap();
        let canceller = {
            let generation = Arc::clone(&generation);
            thread::spawn(move || {
                thread::sleep(Duration::from_micros((moment as f64 * moment_us) as u64));
                generation.cancel();
                generation.cancel();
            })
        };
        let answer = finish(&generation).unwrap();
        canceller.join().unwrap();
        match answer.account.stop_reason {
            StopReason::Cancelled if answer.tokens.is_empty() => in_prefill += 1,
            StopReason::Cancelled => in_decode += 1,
            reason => assert_eq!(reason, StopReason::MaxTokens),
        }
        assert_eq!(answer.ids(), expected.ids()[..answer.tokens.len()]);
        // A late cancel reaches nobody.
        generation.cancel();
        if moment % 20 == 0 {
            session.reset().unwrap();
            assert_eq!(finish(&session.generate(prompt(), greedy(24)).unwrap()).unwrap().text, expected.text);
        }
    }
    assert!(in_prefill > 0 && in_decode > 0, "{in_prefill} in prefill, {in_decode} in decoding");
    session.reset().unwrap();
    assert_eq!(finish(&session.generate(prompt(), greedy(24)).unwrap()).unwrap().text, expected.text);
}

#[test]
fn a_second_generation_is_busy_until_the_first_has_ended() {
    let session = open().session(SessionOptions::default()).unwrap();
    let first = session.generate(prompt(), greedy(8)).unwrap();
    assert!(matches!(session.generate(prompt(), greedy(8)), Err(DrafthorseError::SessionBusy(_))));
    assert!(matches!(session.reset(), Err(DrafthorseError::SessionBusy(_))));
    finish(&first).unwrap();
    // The first handle still exists, but its generation has ended.
    finish(&session.generate(prompt(), greedy(8)).unwrap()).unwrap();
}

#[test]
fn releasing_in_flight_waits_and_frees_the_session() {
    let session = open().session(SessionOptions::default()).unwrap();
    for _ in 0..20 {
        let generation = session.generate(prompt(), greedy(400)).unwrap();
        let begun = Arc::new(Barrier::new(4));
        let release = || {
            let (generation, begun) = (Arc::clone(&generation), Arc::clone(&begun));
            thread::spawn(move || {
                begun.wait();
                generation.release();
                generation.release();
            })
        };
        let (one, other) = (release(), release());
        let pulling = {
            let (generation, begun) = (Arc::clone(&generation), Arc::clone(&begun));
            thread::spawn(move || {
                begun.wait();
                loop {
                    match generation.next() {
                        Ok(Some(GenerationEvent::Finished { .. })) => panic!("what was cut short passes for an answer"),
                        Ok(Some(_)) => {}
                        Ok(None) => panic!("ended without an account"),
                        Err(DrafthorseError::Closed(_)) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        };
        begun.wait();
        one.join().unwrap();
        other.join().unwrap();
        // Whoever released finds the session idle, whatever the one that pulls has seen.
        session.reset().unwrap();
        pulling.join().unwrap();
        assert!(!matches!(generation.next(), Ok(Some(_))));
    }
}

#[test]
fn dropping_a_generation_frees_the_session() {
    let session = open().session(SessionOptions::default()).unwrap();
    let generation = session.generate(prompt(), greedy(400)).unwrap();
    generation.next().unwrap();
    drop(generation);
    session.reset().unwrap();
}

#[test]
fn releasing_the_engine_ends_what_runs() {
    let engine = open();
    let session = engine.session(SessionOptions::default()).unwrap();
    let generation = session.generate(prompt(), greedy(4000)).unwrap();
    let pulling = {
        let generation = Arc::clone(&generation);
        thread::spawn(move || while let Ok(Some(_)) = generation.next() {})
    };
    thread::sleep(Duration::from_millis(5));
    let releases: Vec<_> = (0..3)
        .map(|_| {
            let engine = Arc::clone(&engine);
            thread::spawn(move || engine.release())
        })
        .collect();
    releases.into_iter().for_each(|release| release.join().unwrap());
    pulling.join().unwrap();
    session.release();
    assert!(matches!(session.generate(prompt(), greedy(1)), Err(DrafthorseError::Closed(_))));
    assert!(matches!(engine.tokenize("a".into()), Err(DrafthorseError::Closed(_))));
    assert_eq!(engine.report().target.provider, "cpu");
}

#[test]
fn made_up_rounds_are_pulled_like_real_ones() {
    let generation = drafthorse_bindings::measure_border(3, 2, 1, 1);
    for _ in 0..3 {
        let event = generation.next().unwrap();
        assert!(
            matches!(event, Some(GenerationEvent::Tokens { text, tokens }) if text.len() == 8 && tokens.len() == 2)
        );
    }
    assert_eq!(generation.next().unwrap(), None);
    let generation = drafthorse_bindings::measure_border(u64::MAX, u32::MAX, 0, 0);
    generation.next().unwrap();
    generation.release();
    assert!(matches!(generation.next(), Err(DrafthorseError::Closed(_))));
}
