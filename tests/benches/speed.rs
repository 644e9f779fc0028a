//! What the runtime promises about speed, each as a ratio within this one run: `cargo bench -p drafthorse-tests`, or with
//! some of own, formula, gain, hopeless, opening and memory: `cargo bench -p drafthorse-tests --bench speed -- opening`.
//!
//! The big pair is an inflated one: a small random target with layers added that do not change its function but cost
//! what a 134M-parameter model costs. Its drafter's acceptance and its passes' times are real, its text means nothing.
//! The quick pair has about a million parameters. Compared runs alternate; medians are printed.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use drafthorse::{
    BareSession, ContextPolicy, DRAFT_LEN_MAX, DraftLength, Drafting, Engine, EngineOptions, GenerationOptions,
    Interrupt, Logits, Model, ModelDrafter, ModelOptions, OnnxModel, Result, Session, TokenId, acceptance_for, speedup,
};
use drafthorse_graph::{DecoderConfig, GraphOptions, Layout, Precision, Weights, fixtures::RandomPair, random::Extras};
use drafthorse_tests::{Answer, answer, demo_pack, open, random_pack, session};

const PROMPT: [TokenId; 8] = [40, 41, 42, 43, 44, 45, 46, 47];
const RUNS: usize = 7;

/// First argument of a process that only reports its memory.
const MEMORY: &str = "--memory";

fn main() {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let [_, flag, folder] = &arguments[..]
        && flag == MEMORY
    {
        return fill_and_report(Path::new(folder));
    }
    let wanted = |section: &str| {
        let mut names = arguments.iter().skip(1).filter(|name| *name != "--bench").peekable();
        names.peek().is_none() || names.any(|name| name == section)
    };
    let shared = |precision| GraphOptions::new(Layout::Shared, precision);
    let big = random_pack(&RandomPair::large().unwrap(), &shared(Precision::INT4));
    let (big, demo) = (("inflated 134M, int4", big.path()), ("demo pack", &*demo_pack()));

    if wanted("own") {
        println!("own time: all of a generation but the passes through ONNX Runtime, drafts of 4");
        let quick = random_pack(&quick_pair(), &shared(Precision::FP32));
        own_time(big, 96);
        own_time(("1M, fp32", quick.path()), 200);
    }
    if wanted("formula") {
        println!("\nreached speed against S = E/(cγ + v(γ+1)) with c, v and α of the same run, drafts of 4");
        predicted(big, 96);
        predicted(demo, 160);
    }
    if wanted("gain") {
        println!("\nspeculation against the target alone, adaptive draft length");
        against_plain(big, 96);
        against_plain(demo, 160);
    }
    if wanted("hopeless") {
        println!("\nspeculation that cannot win: a drafter that knows nothing of the target");
        let hopeless_big = hopeless(RandomPair::large().unwrap(), Precision::INT4);
        against_plain((big.0, hopeless_big.path()), 96);
        against_plain(("1M, fp32", hopeless(quick_pair(), Precision::FP32).path()), 400);
    }
    if wanted("opening") {
        println!("\nopening, against making the two sessions one after the other");
        opening(big);
        opening(demo);
    }
    if wanted("memory") {
        println!("\nmemory of a process with one session whose context is full");
        memory(big);
        memory(demo);
    }
}

/// About a million parameters in the target.
fn quick_pair() -> RandomPair {
    let config = DecoderConfig { context_len_max: 512, ..DecoderConfig::llama(300, 128, 352, 4, 4) };
    RandomPair::new(config, 1, 1).unwrap()
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

fn own_time((name, folder): (&str, &Path), tokens: usize) {
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

fn predicted((name, folder): (&str, &Path), tokens: usize) {
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
        let acceptance = acceptance_for(drafted.tokens_per_target_call, 4);
        let promised = speedup(acceptance, 4, draft_cost, verify_cost, 0.0);
        shares.push(drafted.decode_tokens_per_s / plain.decode_tokens_per_s / promised * 100.0);
    }
    shares.remove(0);
    println!("  {name:22} {:.1} %", median(shares));
}

fn against_plain((name, folder): (&str, &Path), tokens: usize) {
    let engine = open(folder);
    let (alone, pair) = (session(&engine, Drafting::None), session(&engine, Drafting::Model));
    let options = greedy(tokens, DraftLength::Adaptive(DRAFT_LEN_MAX));
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
        "  {name:22} {:.2}×, {:.2} tokens per target call, {} tokens drafted in the last run, {:.0} % of drafts accepted",
        median(ratios),
        account.tokens_per_target_call,
        account.drafted,
        account.acceptance_rate * 100.0
    );
}

fn opening((name, folder): (&str, &Path)) {
    let costs = open(folder).report().costs.clone();
    let known = EngineOptions {
        target_threads: Some(1),
        drafter_threads: Some(1),
        check_digests: false,
        costs: Some(costs),
        ..EngineOptions::default()
    };
    let checked = EngineOptions { check_digests: true, ..known.clone() };
    let first = EngineOptions { costs: None, ..checked.clone() };
    let cache = tempfile::tempdir().expect("a folder");
    let again = EngineOptions { cache_folder: Some(cache.path().to_owned()), ..checked.clone() };
    Engine::open(folder, &again).expect("a pack");
    let starts = [
        ("costs known, digests not compared", known),
        ("costs known, digests compared at an earlier start", again),
        ("costs known, digests compared", checked),
        ("costs measured, digests compared: a first start", first),
    ];
    let mut ratios = vec![Vec::new(); starts.len()];
    for _ in 0..RUNS {
        let bare = time(|| {
            ["model.onnx", "drafter.onnx"].map(|file| BareSession::new(&folder.join(file), 1).expect("a session"))
        });
        for ((_, options), ratios) in starts.iter().zip(&mut ratios) {
            let ours = time(|| Engine::open(folder, options).expect("a pack"));
            ratios.push(ours.as_secs_f64() / bare.as_secs_f64());
        }
    }
    for ((start, _), ratios) in starts.iter().zip(ratios) {
        println!("  {name:22} {:.2}× {start}", median(ratios));
    }
}

/// The time that `work` takes; what it made is dropped after that.
fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    let made = work();
    let time = start.elapsed();
    drop(made);
    time
}

/// Runs this program again for one folder, so that nothing else lies in its memory.
fn memory((name, folder): (&str, &Path)) {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).arg(MEMORY).arg(folder).output().expect("a second process");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("  {name:22} {}", String::from_utf8_lossy(&output.stdout).trim_end());
}

/// Fills the context of one session and prints what the process takes then.
fn fill_and_report(folder: &Path) {
    let engine = open(folder);
    let session = session(&engine, Drafting::Auto);
    let report = engine.report();
    let prompt: Vec<TokenId> = (0..report.context_len as TokenId - 64).map(|i| 40 + i % 100).collect();
    answer(&session, &prompt, &greedy(64, DraftLength::Adaptive(DRAFT_LEN_MAX))).expect("a generation");
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let Some(resident) = drafthorse::resident_bytes() else { return println!("not told by this system") };
    let (weights, cache) = (report.weight_bytes, report.cache_bytes);
    println!(
        "{:.0} MiB resident = {:.0} weights + {:.0} KV + {:.0} (aim: 57, which is 60 MB); {:.0} by opening",
        mib(resident),
        mib(weights),
        mib(cache),
        mib(resident) - mib(weights) - mib(cache),
        mib(report.resident_bytes.unwrap_or(0)),
    );
}
