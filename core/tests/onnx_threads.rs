//! Passes of several models over one session at once, and passes stopped from another thread.

mod fixture;

use std::sync::mpsc;
use std::thread;

use drafthorse::{Error, Model, ModelOptions};
use drafthorse_graph::{DecoderConfig, GraphOptions, Precision};
use fixture::{Fixture, LAYOUTS, difference, open, score};

#[test]
fn models_on_one_session_do_not_disturb_each_other() {
    let fixture = Fixture::tiny();
    let tokens = fixture.tokens(120);
    for layout in LAYOUTS {
        let first = open(
            &fixture.write(&GraphOptions::new(layout, Precision::FP32)),
            &ModelOptions { threads: Some(2), ..fixture.options() },
        );
        let second = first.fork().unwrap();
        thread::scope(|scope| {
            for (mut model, offset) in [(first, 0), (second, 60)] {
                let tokens = &tokens[offset..offset + 60];
                let expected = fixture.reference(tokens);
                scope.spawn(move || {
                    for round in 0..20 {
                        model.truncate(0).unwrap();
                        let width = 1 + round % 17;
                        let rows: Vec<f32> = tokens.chunks(width).flat_map(|part| score(&mut model, part)).collect();
                        let off = difference(&rows, &expected);
                        assert!(off < 2e-4, "{layout:?}, round {round}: {off}");
                    }
                });
            }
        });
    }
}

#[test]
fn an_interrupt_holds_until_it_is_cleared() {
    let fixture = Fixture::tiny();
    let tokens = fixture.tokens(30);
    for layout in LAYOUTS {
        let mut model = fixture.open(layout, Precision::FP32);
        let before = score(&mut model, &tokens[..5]);
        let switch = model.interrupt();
        switch.interrupt();
        assert!(matches!(model.score(&tokens[5..6]), Err(Error::Cancelled)));
        assert!(matches!(model.prefill(&tokens[5..30]), Err(Error::Cancelled)));
        assert_eq!(model.len(), 5);
        let mut fork = model.fork().unwrap();
        assert_eq!(score(&mut fork, &tokens[..5]), before, "other models go on");
        switch.clear();
        assert_eq!(score(&mut model, &tokens[5..9]), score(&mut fork, &tokens[5..9]));
    }
}

/// A long prefill is stopped from another thread, in the middle of a pass, and leaves the cache as it was.
#[test]
fn a_long_prefill_stops_from_another_thread() {
    let config =
        DecoderConfig { kv_head_count: 2, context_len_max: 4096, ..DecoderConfig::llama(300, 256, 1024, 8, 4) };
    let fixture = Fixture::new(config);
    let tokens = fixture.tokens(4000);
    for layout in [LAYOUTS[0], LAYOUTS[1]] {
        let path = fixture.write(&GraphOptions::new(layout, Precision::FP32));
        for chunk_len in [16, 4000] {
            let mut model = open(&path, &ModelOptions { chunk_len: Some(chunk_len), ..fixture.options() });
            let expected = score(&mut model, &tokens[..8]);
            model.truncate(7).unwrap();
            let switch = model.interrupt();
            let (started, start) = mpsc::channel();
            let outcome = thread::scope(|scope| {
                scope.spawn(move || {
                    start.recv().unwrap();
                    // Long enough for the first pass to begin, far shorter than the whole prefill.
                    thread::sleep(std::time::Duration::from_millis(20));
                    switch.interrupt();
                });
                started.send(()).unwrap();
                model.prefill(&tokens[7..]).map(|_| ())
            });
            assert!(matches!(outcome, Err(Error::Cancelled)), "{layout:?}: {outcome:?}");
            assert_eq!(model.len(), 7);
            model.interrupt().clear();
            let row = score(&mut model, &tokens[7..8]);
            let off = difference(&row, &expected[7 * 300..]);
            assert!(off < 2e-3, "{layout:?}, chunks of {chunk_len}: the seven tokens are intact, {off}");
        }
    }
}
