//! What a short pass costs beyond ONNX Runtime's own run: `score` and `truncate` against the same graph run again on the
//! same tensors, interleaved. Prints the ratio of the medians and the difference.

use std::time::Instant;

use drafthorse::{Model, ModelOptions, OnnxModel, TokenId};
use drafthorse_graph::random::Extras;
use drafthorse_graph::{DecoderConfig, GraphOptions, Layout, Precision, Weights, write_model};

/// Tokens in the cache.
const CONTEXT: usize = 64;
const ROUNDS: usize = 2000;

fn main() {
    // `cargo test --benches` asks for one quick round.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 1 };
    println!("{:<28}{:>6}{:>12}{:>12}{:>8}{:>10}", "model", "width", "score us", "run us", "ratio", "ours us");
    for (name, config) in [
        ("1M, 2 layers", DecoderConfig::llama(2048, 128, 512, 2, 4)),
        ("7M, 12 layers", DecoderConfig::llama(2048, 192, 512, 12, 6)),
    ] {
        for precision in [Precision::FP32, Precision::INT4] {
            let mut model = open(&config, precision);
            for width in [1, 5] {
                measure(
                    &format!("{name}, {}", if precision == Precision::INT4 { "int4" } else { "fp32" }),
                    &mut model,
                    width,
                    rounds,
                );
            }
        }
    }
}

fn open(config: &DecoderConfig, precision: Precision) -> OnnxModel {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.onnx");
    let weights = Weights::random(config, Extras::default(), 3.0, 1).expect("a sound configuration");
    write_model(&path, config, &weights, &GraphOptions::new(Layout::Shared, precision)).expect("a graph");
    let options = ModelOptions { threads: Some(1), context_len_max: 256, ..ModelOptions::default() };
    OnnxModel::open(&path, &options).unwrap_or_else(|error| panic!("{error}")).0
}

fn measure(name: &str, model: &mut OnnxModel, width: usize, rounds: usize) {
    let tokens: Vec<TokenId> = (0..CONTEXT as TokenId).collect();
    model.truncate(0).expect("shortens");
    model.prefill(&tokens).expect("scores");
    let (mut ours, mut bare) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for _ in 0..rounds {
        let start = Instant::now();
        model.score(&tokens[..width]).expect("scores");
        model.truncate(CONTEXT).expect("shortens");
        ours.push(start.elapsed().as_secs_f64() * 1e6);
        let start = Instant::now();
        model.run_again().expect("runs");
        bare.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let (ours, bare) = (median(ours), median(bare));
    println!("{name:<28}{width:>6}{ours:>12.1}{bare:>12.1}{:>8.3}{:>10.2}", ours / bare, ours - bare);
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
