//! A short pass allocates nothing on the Rust heap once it has run. A test binary of its own: the allocator is global.
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

mod fixture;

use std::alloc::{GlobalAlloc, Layout as MemoryLayout, System};
use std::cell::Cell;
use std::hint::black_box;

use drafthorse::{Model, ModelOptions, OnnxModel};
use drafthorse_graph::{GraphOptions, Layout, Precision};
use fixture::{Fixture, LAYOUTS, open};

/// Counts what the whole process asks of Rust's heap; ONNX Runtime has its own.
struct Counting;

thread_local! {
    /// Of this thread: the test harness's own thread allocates whenever it likes.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has none, and is not the test's.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: MemoryLayout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: MemoryLayout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: MemoryLayout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static HEAP: Counting = Counting;

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

// One test: a second one would allocate while the first one counts.
#[test]
fn short_passes_allocate_nothing() {
    let fixture = Fixture::tiny();
    let tokens = fixture.tokens(17);
    for layout in LAYOUTS {
        for precision in [Precision::FP32, Precision::FP16, Precision::INT4] {
            for width_buckets in [vec![], vec![1, 2, 4, 8, 16]] {
                let path = fixture.write(&GraphOptions::new(layout, precision));
                let options = ModelOptions { width_buckets, ..fixture.options() };
                let mut model = open(&path, &options);
                black_box(rounds(&mut model, &tokens));
                let before = ALLOCATIONS.get();
                for _ in 0..5 {
                    black_box(rounds(&mut model, &tokens));
                }
                let made = ALLOCATIONS.get() - before;
                assert_eq!(made, 0, "{layout:?} {precision:?} {options:?}");
            }
        }
    }

    let mut model = fixture.open(Layout::Shared, Precision::FP32);
    let before = ALLOCATIONS.get();
    black_box(model.prefill(&fixture.tokens(60)).unwrap());
    assert!(ALLOCATIONS.get() > before, "the counter counts");
}
