//! Sessions over models and drafters of a caller's own, which do at a given moment what a test wants to see.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use drafthorse::{
    CancelHandle, ContextPolicy, CostProfile, DraftLength, DraftSink, DraftSource, Drafter, Engine, EngineOptions,
    GenerationOptions, Interrupt, Logits, Model, ModelDrafter, ModelOptions, OnnxModel, Prompt, Result, StopReason,
    TokenId,
};
use drafthorse_graph::{
    GraphOptions,
    fixtures::{LAYOUTS, PRECISIONS, RandomPair},
};
use drafthorse_tests::{answer, demo_pack, finish, open, random_pack};

/// Cancels as a pass begins, from another thread: passes until then, and what to cancel.
#[derive(Clone, Default)]
struct Trigger(Arc<Mutex<Option<(usize, CancelHandle)>>>);

impl Trigger {
    fn set(&self, passes: usize, cancel: CancelHandle) {
        *self.0.lock().unwrap() = Some((passes, cancel));
    }

    fn is_set(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }

    fn pass(&self) {
        let mut state = self.0.lock().unwrap();
        match state.take() {
            Some((0, cancel)) => thread::spawn(move || cancel.cancel()).join().unwrap(),
            later => *state = later.map(|(passes, cancel)| (passes - 1, cancel)),
        }
    }
}

/// A model whose passes pull the trigger.
struct Watched(OnnxModel, Trigger);

impl Model for Watched {
    fn vocab_len(&self) -> usize {
        self.0.vocab_len()
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn context_len_max(&self) -> usize {
        self.0.context_len_max()
    }
    fn cache_bytes(&self) -> usize {
        self.0.cache_bytes()
    }
    fn score(&mut self, tokens: &[TokenId]) -> Result<Logits<'_>> {
        self.1.pass();
        self.0.score(tokens)
    }
    fn prefill(&mut self, tokens: &[TokenId]) -> Result<Logits<'_>> {
        self.1.pass();
        self.0.prefill(tokens)
    }
    fn truncate(&mut self, len: usize) -> Result<()> {
        self.0.truncate(len)
    }
    fn interrupt(&self) -> Arc<dyn Interrupt> {
        self.0.interrupt()
    }
}

#[test]
fn a_cancel_in_any_pass_of_either_model_ends_the_round_and_keeps_the_session() {
    let folder = random_pack(&RandomPair::small().unwrap(), &GraphOptions::new(LAYOUTS[0].1, PRECISIONS[0].1));
    let engine = open(folder.path());
    let trigger = Trigger::default();
    let model = |file| {
        let options = ModelOptions { threads: Some(1), context_len_max: 256, ..ModelOptions::default() };
        Watched(OnnxModel::open(&folder.path().join(file), &options).unwrap().0, trigger.clone())
    };
    let target = model("model.onnx");
    let drafter = ModelDrafter::new(model("drafter.onnx"), target.vocab_len());
    let session = engine.session_over(Box::new(target), Some(Box::new(drafter)), ContextPolicy::Fail);
    let prompt: Vec<TokenId> = (0..40).map(|i| 40 + i * 7 % 100).collect();
    let options = GenerationOptions {
        max_tokens: Some(24),
        draft_length: Some(DraftLength::Fixed(4)),
        ..GenerationOptions::default()
    };
    let whole = answer(&session, &prompt, &options).unwrap();
    for passes in 0.. {
        session.reset().unwrap();
        let generation = session.generate(Prompt::Tokens(&prompt), &options).unwrap();
        trigger.set(passes, generation.cancel_handle());
        let got = finish(generation).unwrap();
        assert_eq!(got.tokens, whole.tokens[..got.tokens.len()]);
        assert_eq!(session.tokens().unwrap(), [&prompt[..], &got.tokens].concat());
        if trigger.is_set() {
            // No pass was left to cancel in.
            assert_eq!(got.tokens, whole.tokens);
            assert!(passes > whole.account.rounds, "{passes} passes");
            return;
        }
        assert_eq!(got.account.stop_reason, StopReason::Cancelled, "in pass {passes}");
        assert!(got.tokens.len() < whole.tokens.len());
        assert_eq!(answer(&session, &prompt, &options).unwrap().tokens, whole.tokens);
    }
}

/// A drafter that takes its time for the first that it reads.
struct Slow<D>(D, Duration);

const READING: Duration = Duration::from_millis(200);

impl<D: Drafter> Drafter for Slow<D> {
    fn propose(&mut self, context: &[TokenId], len_max: usize, sink: &mut dyn DraftSink) -> Result<()> {
        self.0.propose(context, len_max, sink)
    }
    fn read(&mut self, context: &[TokenId]) -> Result<()> {
        thread::sleep(std::mem::take(&mut self.1));
        self.0.read(context)
    }
    fn truncate(&mut self, len: usize) -> Result<()> {
        self.0.truncate(len)
    }
    fn source(&mut self, context: &[TokenId]) -> DraftSource {
        self.0.source(context)
    }
    fn interrupts(&self) -> Vec<Arc<dyn Interrupt>> {
        self.0.interrupts()
    }
}

#[test]
fn reading_a_long_prompt_does_not_count_against_the_drafter() {
    let costs = CostProfile::new(vec![(1, 1.0), (17, 1.6)], Some(0.05));
    let one = Some(1);
    let options =
        EngineOptions { target_threads: one, drafter_threads: one, costs: Some(costs), ..EngineOptions::default() };
    let engine = Engine::open(demo_pack(), &options).unwrap();
    let model =
        |file| OnnxModel::open(&demo_pack().join(file), &ModelOptions { threads: one, ..ModelOptions::default() });
    let target = model("model.onnx").unwrap().0;
    let drafter = ModelDrafter::new(model("drafter.onnx").unwrap().0, target.vocab_len());
    let session = engine.session_over(Box::new(target), Some(Box::new(Slow(drafter, READING))), ContextPolicy::Fail);
    let options = GenerationOptions { temperature: Some(0.0), max_tokens: Some(80), ..GenerationOptions::default() };
    let got = finish(session.generate(Prompt::Text("Once upon a time"), &options).unwrap()).unwrap();
    let account = got.account;
    assert!(account.time.prefill_ms >= READING.as_secs_f64() * 1e3, "{account:?}");
    assert!(2 * account.passthrough_rounds < account.rounds, "{account:?}");
}
