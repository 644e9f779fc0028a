//! What the runtime promises about speed, each as a ratio within this one run: `cargo bench -p drafthorse-tests`.
//!
//! The big pair is an inflated one: a small random target with layers added that do not change its function but cost
//! what a 134M-parameter model costs. Its drafter's acceptance and its passes' times are real, its text means nothing.
//! The quick pair has about a million parameters. Compared runs alternate; medians are printed.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use drafthorse::{
    ContextPolicy, DraftLength, Drafting, Engine, EngineOptions, GenerationOptions, Interrupt, Logits, Model,
    ModelDrafter, ModelOptions, OnnxModel, Result, Session, TokenId, speedup,
};
use drafthorse_graph::{DecoderConfig, GraphOptions, Layout, Precision, Weights, fixtures::RandomPair, random::Extras};
use drafthorse_tests::{Answer, answer, demo_pack, open, random_pack, session};

const PROMPT: [TokenId; 8] = [40, 41, 42, 43, 44, 45, 46, 47];
const RUNS: usize = 7;

fn main() {
    let shared = |precision| GraphOptions::new(Layout::Shared, precision);
    let big = random_pack(&RandomPair::large().unwrap(), &shared(Precision::INT4));
    let quick_config = DecoderConfig { context_len_max: 512, ..DecoderConfig::llama(300, 128, 352, 4, 4) };
    let quick = random_pack(&RandomPair::new(quick_config.clone(), 1, 1).unwrap(), &shared(Precision::FP32));

    println!("own time: all of a generation but the passes through ONNX Runtime, drafts of 4");
    own_time("inflated 134M, int4", big.path(), 96);
    own_time("1M, fp32", quick.path(), 200);

    println!("\nreached speed against S = E/(cγ + v(γ+1)) with c, v and α of the same run, drafts of 4");
    predicted("inflated 134M, int4", big.path(), 96);
    predicted("demo pack", &demo_pack(), 160);

    println!("\nspeculation against the target alone, adaptive draft length");
    against_plain("inflated 134M, int4", big.path(), 96);
    against_plain("demo pack", &demo_pack(), 160);

    println!("\nspeculation that cannot win: a drafter that knows nothing of the target");
    against_plain("inflated 134M, int4", hopeless(RandomPair::large().unwrap(), Precision::INT4).path(), 96);
    let pair = RandomPair::new(quick_config, 1, 1).unwrap();
    against_plain("1M, fp32", hopeless(pair, Precision::FP32).path(), 400);

    println!("\nopening, costs known and digests not compared, against making the two sessions");
    opening("inflated 134M, int4", big.path());
}

/// The pair with a drafter of other random weights.
fn hopeless(mut pair: RandomPair, precision: Precision) -> tempfile::TempDir {
    pair.drafter = Weights::random(&pair.drafter_config, Extras::default(), 3.0, 99).unwrap();
    random_pack(&pair, &GraphOptions::new(Layout::Shared, precision))
}

fn greedy(max_tokens: usize, draft_length: DraftLength) -> GenerationOptions {
    GenerationOptions {
        max_tokens: Some(max_tokens),
        min_tokens: Some(max_tokens),
        draft_length: Some(draft_length),
        ..GenerationOptions::default()
    }
}

fn run(session: &Session, options: &GenerationOptions) -> Answer {
    answer(session, &PROMPT, options).expect("a generation")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A model that adds up the time of its passes.
struct Timed {
    model: OnnxModel,
    nanos: Arc<AtomicU64>,
}

impl Timed {
    fn open(path: &Path, nanos: &Arc<AtomicU64>) -> Self {
        let options = ModelOptions { threads: Some(1), context_len_max: 512, ..ModelOptions::default() };
        Self { model: OnnxModel::open(path, &options).expect("a model").0, nanos: Arc::clone(nanos) }
    }
}

impl Model for Timed {
    fn vocab_len(&self) -> usize {
        self.model.vocab_len()
    }
    fn len(&self) -> usize {
        self.model.len()
    }
    fn context_len_max(&self) -> usize {
        self.model.context_len_max()
    }
    fn cache_bytes(&self) -> usize {
        self.model.cache_bytes()
    }
    fn score(&mut self, tokens: &[TokenId]) -> Result<Logits<'_>> {
        let start = Instant::now();
        let logits = self.model.score(tokens);
        self.nanos.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        logits
    }
    fn prefill(&mut self, tokens: &[TokenId]) -> Result<Logits<'_>> {
        let start = Instant::now();
        let logits = self.model.prefill(tokens);
        self.nanos.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        logits
    }
    fn truncate(&mut self, len: usize) -> Result<()> {
        self.model.truncate(len)
    }
    fn interrupt(&self) -> Arc<dyn Interrupt> {
        self.model.interrupt()
    }
}

fn own_time(name: &str, folder: &Path, tokens: usize) {
    let engine = open(folder);
    let passes = Arc::new(AtomicU64::new(0));
    let target = Timed::open(&folder.join("model.onnx"), &passes);
    let drafter = ModelDrafter::new(Timed::open(&folder.join("drafter.onnx"), &passes), target.vocab_len());
    let session = engine.session_over(Box::new(target), Some(Box::new(drafter)), ContextPolicy::Fail);
    let options = greedy(tokens, DraftLength::Fixed(4));
    run(&session, &options);
    let (mut shares, mut micros) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        passes.store(0, Ordering::Relaxed);
        let account = run(&session, &options).account;
        let own_ms = account.time.total_ms - passes.load(Ordering::Relaxed) as f64 / 1e6;
        shares.push(own_ms / account.time.total_ms * 100.0);
        micros.push(own_ms * 1e3 / account.rounds as f64);
    }
    println!("  {name:22} {:.2} % of the time, {:.1} µs per round", median(shares), median(micros));
}

fn predicted(name: &str, folder: &Path, tokens: usize) {
    let engine = open(folder);
    let (alone, pair) = (session(&engine, Drafting::None), session(&engine, Drafting::Model));
    let options = greedy(tokens, DraftLength::Fixed(4));
    let mut shares = Vec::new();
    for _ in 0..=RUNS {
        let (plain, drafted) = (run(&alone, &options).account, run(&pair, &options).account);
        let step = plain.time.score_ms / plain.rounds as f64;
        let rounds = drafted.rounds as f64;
        let draft_cost = drafted.time.draft_ms / drafted.proposed as f64 / step;
        let verify_cost = drafted.time.score_ms / rounds / step;
        // α such that E(α, γ) is the block efficiency that was reached: the formula's own notion of acceptance.
        let acceptance = acceptance_of(drafted.tokens_per_target_call, 4);
        let promised = speedup(acceptance, 4, draft_cost, verify_cost, 0.0);
        shares.push(drafted.decode_tokens_per_s / plain.decode_tokens_per_s / promised * 100.0);
    }
    shares.remove(0);
    println!("  {name:22} {:.1} %", median(shares));
}

fn acceptance_of(tokens_per_target_call: f64, draft_len: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if drafthorse::block_efficiency(middle, draft_len) < tokens_per_target_call {
            low = middle
        } else {
            high = middle
        }
    }
    low
}

fn against_plain(name: &str, folder: &Path, tokens: usize) {
    let engine = open(folder);
    let (alone, pair) = (session(&engine, Drafting::None), session(&engine, Drafting::Model));
    let options = greedy(tokens, DraftLength::Adaptive(8));
    let mut ratios = Vec::new();
    let mut last = None;
    for _ in 0..=RUNS {
        let plain = run(&alone, &options).account;
        let drafted = run(&pair, &options).account;
        ratios.push(drafted.decode_tokens_per_s / plain.decode_tokens_per_s);
        last = Some(drafted);
    }
    ratios.remove(0);
    let account = last.expect("a run");
    println!(
        "  {name:22} {:.2}×, {:.2} tokens per target call, {:.0} % of drafts accepted",
        median(ratios),
        account.tokens_per_target_call,
        account.acceptance_rate * 100.0
    );
}

fn opening(name: &str, folder: &Path) {
    let costs = open(folder).report().costs.clone();
    let options = EngineOptions {
        target_threads: Some(1),
        drafter_threads: Some(1),
        check_digests: false,
        costs: Some(costs),
        ..EngineOptions::default()
    };
    let mut ratios = Vec::new();
    for _ in 0..RUNS {
        let ours = time(|| drop(Engine::open(folder, &options).expect("a pack")));
        let bare = time(|| {
            for file in ["model.onnx", "drafter.onnx"] {
                let options = ModelOptions { threads: Some(1), context_len_max: 2048, ..ModelOptions::default() };
                drop(OnnxModel::open(&folder.join(file), &options).expect("a model"));
            }
        });
        ratios.push(ours.as_secs_f64() / bare.as_secs_f64());
    }
    println!("  {name:22} {:.2}×", median(ratios));
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
