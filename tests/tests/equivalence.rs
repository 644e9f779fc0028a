//! Speculation does not change greedy output: real ONNX packs in every layout and precision, every drafter, every
//! draft length.

use std::path::Path;

use drafthorse::{
    CostProfile, DRAFT_LEN_MAX, DraftLength, Drafting, Engine, EngineOptions, GenerationOptions, TokenId,
};
use drafthorse_graph::{
    ExternalData, GraphOptions, Precision,
    fixtures::{LAYOUTS, PRECISIONS, RandomPair},
    rewrite,
};
use drafthorse_tests::{answer, demo_pack, margin, random_pack, session};

/// Tokens per answer.
const LEN: usize = 48;

/// Largest margin at which the target's choice may depend on how many rows are scored at once: rounding of the
/// kernels, by precision of the graph.
fn tolerance(precision: &str) -> f32 {
    match precision {
        "fp32" => 1e-4,
        "fp16" => 0.05,
        // The cache keeps 8 bits of a mantissa.
        "bf16" => 0.4,
        _ => 1e-3,
    }
}

fn prompts() -> Vec<Vec<TokenId>> {
    let looping: Vec<TokenId> = (0..30).map(|i| 20 + i % 5).collect();
    vec![vec![70, 71, 72], (40..90).collect(), looping]
}

#[derive(Default)]
struct Rate {
    answers: usize,
    equal: usize,
    accepted: usize,
    /// Tokens of adaptive drafts that the target was asked about.
    adaptive: usize,
}

/// Opens `folder` with costs at which drafting pays, whatever this machine is.
fn open(folder: &Path) -> Engine {
    let costs = CostProfile::new(vec![(1, 1.0), (2, 1.3), (16, 5.5)], Some(0.01));
    let one = Some(1);
    let options =
        EngineOptions { target_threads: one, drafter_threads: one, costs: Some(costs), ..EngineOptions::default() };
    Engine::open(folder, &options).expect("a pack that opens")
}

#[test]
fn greedy_text_is_the_target_s_own_in_every_layout_and_precision() {
    let pair = RandomPair::small().unwrap();
    for (layout_name, layout) in LAYOUTS {
        for (precision_name, precision) in PRECISIONS {
            let folder = random_pack(&pair, &GraphOptions::new(layout, precision));
            compare_pack(folder.path(), layout_name, precision_name);
        }
    }
}

/// Cache and logits in bf16. The CPU's attention operator takes no bf16, so only the growing layout can have it.
#[test]
fn greedy_text_is_the_target_s_own_in_bf16() {
    let (layout_name, layout) = LAYOUTS[1];
    let inside = GraphOptions { external_data: ExternalData::Never, ..GraphOptions::new(layout, Precision::FP32) };
    let folder = random_pack(&RandomPair::small().unwrap(), &inside);
    for model in ["model.onnx", "drafter.onnx"] {
        rewrite::bf16_io(&folder.path().join(model)).unwrap();
    }
    compare_pack(folder.path(), layout_name, "bf16");
}

/// Trained models, one of which costs a twelfth of the other: drafts are long, and their unsure ends are pruned.
#[test]
fn greedy_text_of_a_trained_pair_is_the_target_s_own_though_drafts_are_pruned() {
    let engine = drafthorse_tests::open(&demo_pack());
    let (alone, pair) = (session(&engine, Drafting::None), session(&engine, Drafting::Model));
    let options = GenerationOptions { temperature: Some(0.0), max_tokens: Some(200), ..Default::default() };
    let mut pruned = 0;
    for prompt in ["Once upon a time", "One day, Tom saw a big dog", "The little girl was sad because"] {
        let prompt = engine.tokenizer().encode(prompt).unwrap();
        let expected = answer(&alone, &prompt, &options).unwrap();
        let got = answer(&pair, &prompt, &options).unwrap();
        assert_eq!((got.text, got.tokens), (expected.text, expected.tokens));
        pruned += got.account.drafted - got.account.proposed;
    }
    println!("{pruned} drafted tokens were not checked");
    assert!(pruned > 0, "no draft was pruned");
}

fn compare_pack(folder: &Path, layout: &str, precision: &str) {
    let mut rate = Rate::default();
    compare(folder, tolerance(precision), &mut rate);
    println!("{layout} {precision}: {} of {} answers equal token by token", rate.equal, rate.answers);
    assert!(rate.adaptive > 0, "no adaptive draft was checked");
    assert!(rate.accepted > rate.answers * LEN / 4, "hardly a draft was accepted: nothing was compared");
}

fn compare(folder: &Path, tolerance: f32, rate: &mut Rate) {
    let engine = open(folder);
    let alone = session(&engine, Drafting::None);
    let mut lengths: Vec<DraftLength> = (1..=16).map(DraftLength::Fixed).collect();
    lengths.extend([DraftLength::Adaptive(4), DraftLength::Adaptive(DRAFT_LEN_MAX)]);
    for prompt in prompts() {
        let options = GenerationOptions { max_tokens: Some(LEN), ..Default::default() };
        let expected = answer(&alone, &prompt, &options).unwrap();
        for drafting in [Drafting::Model, Drafting::Lookup, Drafting::Both] {
            let pair = session(&engine, drafting);
            for &draft_length in &lengths {
                let options = GenerationOptions { draft_length: Some(draft_length), ..options.clone() };
                let got = answer(&pair, &prompt, &options).unwrap();
                rate.answers += 1;
                rate.accepted += got.account.accepted;
                if matches!(draft_length, DraftLength::Adaptive(_)) {
                    rate.adaptive += got.account.proposed;
                }
                let differs = expected.tokens.iter().zip(&got.tokens).position(|(a, b)| a != b);
                let Some(place) = differs else {
                    assert_eq!(expected.tokens.len(), got.tokens.len());
                    assert_eq!((&expected.text, expected.account.stop_reason), (&got.text, got.account.stop_reason));
                    rate.equal += 1;
                    continue;
                };
                let known = [&prompt[..], &expected.tokens[..place]].concat();
                let margin = margin(&alone, &known).unwrap();
                assert!(
                    margin < tolerance,
                    "{drafting:?} {draft_length:?} differs at token {place} where the margin is {margin}"
                );
            }
        }
    }
}
