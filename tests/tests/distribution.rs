//! Sampling through the whole loop follows the target's distribution: a chi-square test over 200,000 continuations per
//! rule, on a tiny ONNX pack, against probabilities computed from the target alone.

use std::collections::BTreeMap;

use drafthorse::{
    Distribution, DraftLength, Drafting, GenerationOptions, History, Lenience, SamplingPlan, Session, TokenId,
    Verification, Warper,
};
use drafthorse_graph::{
    DecoderConfig, GraphOptions,
    fixtures::{LAYOUTS, PRECISIONS, RandomPair},
};
use drafthorse_tests::{answer, open, random_pack, session};

/// Continuations per rule, over two threads.
const CONTINUATIONS: u64 = 200_000;

/// Tokens of a continuation, and how many are drafted for it.
const LEN: usize = 3;

const PROMPT: [TokenId; 3] = [70, 71, 72];

/// Standard deviations past which the test fails: one false alarm in a million.
const Z_MAX: f64 = 4.75;

type Counts = BTreeMap<Vec<TokenId>, u64>;

/// What is sampled: by a rule, from drafts of a length.
#[derive(Clone, Copy, Debug)]
struct Way {
    verification: Verification,
    draft_length: DraftLength,
}

fn options(way: Way) -> GenerationOptions {
    GenerationOptions {
        max_tokens: Some(LEN),
        temperature: Some(1.5),
        top_k: Some(3),
        verification: Some(way.verification),
        draft_length: Some(way.draft_length),
        ..Default::default()
    }
}

/// The probability of every continuation, from the target's logits after each prefix.
fn expected(target: &Session) -> BTreeMap<Vec<TokenId>, f64> {
    let mut open = vec![(Vec::new(), 1.0)];
    for _ in 0..LEN {
        let mut longer = Vec::new();
        for (tokens, chance) in open {
            let known = [&PROMPT[..], &tokens].concat();
            let logits = target.next_logits(&known).unwrap();
            let plan = SamplingPlan { temperature: 1.5, top_k: 3, ..SamplingPlan::neutral() };
            let mut row = Distribution::new(logits.len());
            Warper::new(&plan, logits.len()).warp(&logits, &History::new(logits.len(), 0), None, &mut row).unwrap();
            for (token, &p) in row.probs().iter().enumerate().filter(|&(_, &p)| p > 0.0) {
                longer.push(([&tokens[..], &[token as TokenId]].concat(), chance * f64::from(p)));
            }
        }
        open = longer;
    }
    open.into_iter().collect()
}

fn sample(session: &Session, way: Way, seeds: std::ops::Range<u64>) -> Counts {
    let mut counts = Counts::new();
    for seed in seeds {
        let options = GenerationOptions { seed: Some(seed), ..options(way) };
        *counts.entry(answer(session, &PROMPT, &options).unwrap().tokens).or_default() += 1;
    }
    counts
}

/// How many standard deviations chi-square lies above its mean (Wilson and Hilferty, 1931).
fn z_of_chi_square(counts: &Counts, expected: &BTreeMap<Vec<TokenId>, f64>) -> f64 {
    let total: u64 = counts.values().sum();
    assert!(counts.keys().all(|tokens| expected.contains_key(tokens)), "an impossible continuation was sampled");
    let chi_square: f64 = expected
        .iter()
        .map(|(tokens, chance)| {
            let (seen, wanted) = (counts.get(tokens).copied().unwrap_or(0) as f64, chance * total as f64);
            (seen - wanted).powi(2) / wanted
        })
        .sum();
    let freedom = (expected.len() - 1) as f64;
    let spread = 2.0 / (9.0 * freedom);
    ((chi_square / freedom).cbrt() - (1.0 - spread)) / spread.sqrt()
}

#[test]
fn every_lossless_rule_samples_the_target_s_distribution_and_a_lenient_one_does_not() {
    let config = DecoderConfig { context_len_max: 64, ..DecoderConfig::llama(300, 32, 64, 2, 2) };
    let pair = RandomPair::new(config, 1, 7).unwrap();
    let folder = random_pack(&pair, &GraphOptions::new(LAYOUTS[0].1, PRECISIONS[0].1));
    let engine = open(folder.path());
    let expected = expected(&session(&engine, Drafting::None));
    println!("{} continuations are possible", expected.len());

    let z = |verification, draft_length, continuations: u64| {
        let way = Way { verification, draft_length };
        let engine = &engine;
        let halves = [0..continuations / 2, continuations / 2..continuations];
        let counts = std::thread::scope(|scope| {
            let threads =
                halves.map(|seeds| scope.spawn(move || sample(&session(engine, Drafting::Model), way, seeds)));
            threads.map(|thread| thread.join().unwrap())
        });
        let [mut counts, more] = counts;
        for (tokens, count) in more {
            *counts.entry(tokens).or_default() += count;
        }
        let z = z_of_chi_square(&counts, &expected);
        println!("{way:?}: {z:.2} standard deviations over {continuations} continuations");
        z
    };
    let fixed = DraftLength::Fixed(LEN - 1);
    for verification in [Verification::Token, Verification::Block, Verification::SeedCoupled] {
        assert!(
            z(verification, fixed, CONTINUATIONS) < Z_MAX,
            "{verification:?} does not sample the target's distribution"
        );
    }
    // Drafts that end early, by what was accepted before and how sure the drafter is.
    for verification in [Verification::Token, Verification::Block] {
        let z = z(verification, DraftLength::Adaptive(LEN - 1), CONTINUATIONS / 2);
        assert!(z < Z_MAX, "{verification:?} with early stops does not sample the target's distribution");
    }
    // The test can fail: leniency moves the distribution, and a twentieth of the samples shows it.
    let lenient = Verification::Lenient(Lenience::Linear(0.5));
    assert!(z(lenient, fixed, CONTINUATIONS / 20) > Z_MAX, "a lossy rule went unnoticed");
}
