//! A round's own part allocates nothing on the heap. A test binary of its own: the allocator is global.
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::Duration;

use drafthorse::scripted::ScriptedModel;
use drafthorse::{
    CombinedDrafter, CostProfile, DraftLength, DraftLengthController, DraftedRound, Drafter, GenerationOptions,
    History, Known, Model, ModelDrafter, PlanContext, PromptLookup, Proposal, Recorder, RoundRecord, RoundTime,
    Verification, Verifier,
};

/// Counts what each thread asks of the heap.
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
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static HEAP: Counting = Counting;

const VOCAB_LEN: usize = 6000;

/// Logits that the last token decides, so that texts repeat; flat enough for a long support.
fn model() -> ScriptedModel {
    ScriptedModel::new(VOCAB_LEN, |tokens, row| {
        let last = *tokens.last().unwrap_or(&0) as usize;
        (0..).zip(row).for_each(|(i, logit)| *logit = ((i * 31 + last * 17) % 1009) as f32 * 0.01);
    })
}

/// Allocations of 400 rounds under `options`, from the first on.
fn allocations(options: GenerationOptions) -> usize {
    let defaults = GenerationOptions::default();
    let context =
        PlanContext { vocab_len: VOCAB_LEN, tokens_left: 4000, stop_tokens: &[], defaults: &defaults, seed: 1 };
    let plan = options.plan(&context).unwrap();
    let mut target = model().with_context_len_max(8192);
    let lookup = PromptLookup::new(2, 8, 8192);
    let mut drafter = CombinedDrafter::new(lookup, ModelDrafter::new(model().with_context_len_max(8192), VOCAB_LEN), 6);
    let mut verifier = Verifier::new(&plan, VOCAB_LEN);
    let (mut proposal, mut history) = (Proposal::new(VOCAB_LEN, 8), History::new(VOCAB_LEN, 8192));
    let profile = CostProfile::new(vec![(1, 1.0), (8, 1.2)], Some(0.05));
    let mut controller = DraftLengthController::new(DraftLength::Adaptive(8), &profile, None);
    let known = Known { prompt_tokens: 1, prompt_tokens_kept: 0, cache_bytes: 0, seed: 1, lossless: true };
    let mut recorder = Recorder::new(known, 4000);
    history.extend(&[1, 2, 3]);
    history.begin_output();
    target.score(&[1, 2]).unwrap();

    let mut confirmed = Vec::with_capacity(8192);
    let mut counted = 0;
    for number in 0..400 {
        confirmed.extend_from_slice(&history.tokens()[confirmed.len()..]);
        let before = ALLOCATIONS.get();
        let source = drafter.source(&confirmed);
        let choice = controller.choose(source, 8);
        let mut sink = verifier.sink(&mut proposal, &mut history, None, choice.len, &choice.stop);
        drafter.propose(&confirmed, choice.len, &mut sink).unwrap();
        let drafted = ALLOCATIONS.get() - before;

        let logits = target.score(&history.tokens()[confirmed.len() - 1..]).unwrap();
        let before = ALLOCATIONS.get();
        let acceptance = verifier.verify(&proposal, logits, &mut history, None).unwrap();
        history.push(acceptance.next);
        let round = DraftedRound::checked(source, proposal.confidences(), acceptance.accepted, RoundTime::default());
        controller.observe(&round);
        let (proposed, accepted) = (proposal.len(), acceptance.accepted);
        let record = RoundRecord { proposed, accepted, emitted: accepted + 1, ..RoundRecord::default() };
        recorder.round(&record, Duration::from_millis(number));
        drafter.truncate(history.len() - 1).unwrap();
        let verified = ALLOCATIONS.get() - before;
        target.truncate(history.len() - 1).unwrap();
        counted += drafted + verified;
    }
    black_box(history.len());
    counted
}

#[test]
fn drafting_verifying_and_accounting_allocate_nothing() {
    let base = GenerationOptions { temperature: Some(0.9), ..GenerationOptions::default() };
    let rules = [Verification::Token, Verification::Block, Verification::SeedCoupled];
    let mut cases = vec![
        GenerationOptions::default(),
        GenerationOptions {
            repetition_penalty: Some(1.1),
            presence_penalty: Some(0.1),
            ..GenerationOptions::default()
        },
        GenerationOptions { top_k: Some(40), ..base.clone() },
        GenerationOptions { top_p: Some(0.95), ..base.clone() },
        GenerationOptions { min_p: Some(0.02), ..base.clone() },
    ];
    cases.extend(rules.map(|rule| GenerationOptions { verification: Some(rule), ..base.clone() }));
    for options in cases {
        assert_eq!(allocations(options.clone()), 0, "allocations with {options:?}");
    }
}
