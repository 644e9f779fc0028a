//! A pass allocates nothing on the Rust heap, a short one once it has run. A test binary of its own: the allocator is global.

mod fixture;

use std::hint::black_box;

use allocation_counter::measure;
use drafthorse::{Model, ModelOptions, OnnxModel};
use drafthorse_graph::{GraphOptions, Layout, Precision};
use fixture::{Fixture, LAYOUTS, open};

/// Rounds as the loop makes them: score a draft, keep a part, score on; every width up to a full draft.
fn rounds(model: &mut OnnxModel, tokens: &[u32]) -> f32 {
    let mut sum = 0.0;
    for width in 1..=17 {
        let len = model.len();
        let logits = model.score(&tokens[..width]).unwrap();
        sum += logits.last()[0];
        model.truncate(len + width.div_ceil(2)).unwrap();
    }
    model.truncate(3).unwrap();
    sum
}

#[test]
fn passes_allocate_nothing() {
    let fixture = Fixture::tiny();
    let tokens = fixture.tokens(17);
    for layout in LAYOUTS {
        for precision in [Precision::FP32, Precision::FP16, Precision::INT4] {
            for width_buckets in [vec![], vec![1, 2, 4, 8, 16]] {
                let path = fixture.write(&GraphOptions::new(layout, precision));
                let options = ModelOptions { width_buckets, ..fixture.options() };
                let mut model = open(&path, &options);
                black_box(rounds(&mut model, &tokens));
                let made = measure(|| {
                    for _ in 0..5 {
                        black_box(rounds(&mut model, &tokens));
                    }
                });
                assert_eq!(made.count_total, 0, "{layout:?} {precision:?} {options:?}");
            }
        }
    }

    // Nor does a drafter that reads what it missed.
    let mut model = fixture.open(Layout::Shared, Precision::FP32);
    let long = fixture.tokens(60);
    assert_eq!(measure(|| _ = black_box(model.prefill(&long).unwrap())).count_total, 0);
    assert!(measure(|| _ = black_box(fixture.tokens(60))).count_total > 0, "the counter counts");
}
