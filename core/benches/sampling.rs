//! What warping, sampling and verifying cost per row, by vocabulary and settings.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use drafthorse::{Distribution, Draft, History, Random, Relaxation, Residual, SamplingPlan, Warper};

/// Logits shaped like a language model's: a broad body and a few tokens far above it.
fn row(vocab_len: usize, seed: u64) -> Vec<f32> {
    let noise = Random::new(seed).noise(0);
    let logit = |token: u32| {
        let body = 2.5 * noise.gumbel(token);
        let head = if noise.uniform(token + 1_000_000) < 3e-4 { 14.0 } else { 0.0 };
        (body + head) as f32
    };
    (0..vocab_len as u32).map(logit).collect()
}

fn plan() -> SamplingPlan {
    SamplingPlan { temperature: 0.8, ..SamplingPlan::neutral() }
}

fn sampling(criterion: &mut Criterion) {
    for vocab_len in [1_000, 32_000, 152_000] {
        let mut group = criterion.benchmark_group("row");
        group.throughput(Throughput::Elements(vocab_len as u64)).sample_size(30);
        let logits = row(vocab_len, 1);
        let mut history = History::new(vocab_len, 4096);
        history.extend(&(0..1000).map(|i| i * 7 % vocab_len as u32).collect::<Vec<_>>());
        let mut out = Distribution::new(vocab_len);

        let mut greedy = Warper::new(&SamplingPlan { temperature: 0.0, ..plan() }, vocab_len);
        group.bench_function(BenchmarkId::new("best", vocab_len), |bench| {
            bench.iter(|| greedy.best(black_box(&logits), &history, None));
        });
        let plans = [
            ("temperature", plan()),
            ("top_k 40", SamplingPlan { top_k: 40, ..plan() }),
            ("top_k 40, top_p .9", SamplingPlan { top_k: 40, top_p: 0.9, ..plan() }),
            ("top_p .9", SamplingPlan { top_p: 0.9, ..plan() }),
            ("top_p .9, flat", SamplingPlan { temperature: 4.0, top_p: 0.9, ..plan() }),
            ("min_p .05", SamplingPlan { min_p: 0.05, ..plan() }),
            ("top_k 40, penalty", SamplingPlan { top_k: 40, repetition_penalty: 1.1, ..plan() }),
        ];
        for (name, plan) in plans {
            let mut warper = Warper::new(&plan, vocab_len);
            group.bench_function(BenchmarkId::new(format!("warp {name}"), vocab_len), |bench| {
                bench.iter(|| warper.warp(black_box(&logits), &history, None, &mut out));
            });
        }

        let (mut p, mut q) = (Distribution::new(vocab_len), Distribution::new(vocab_len));
        let mut warper = Warper::new(&plan(), vocab_len);
        warper.warp(&logits, &history, None, &mut p).unwrap();
        warper.warp(&row(vocab_len, 2), &history, None, &mut q).unwrap();
        let residual = Residual { target: &p, draft: Draft::Sampled(&q), relaxation: Relaxation::Exact };
        group.bench_function(BenchmarkId::new("residual mass, dense", vocab_len), |bench| {
            bench.iter(|| black_box(&residual).mass());
        });
        group.bench_function(BenchmarkId::new("sample, dense", vocab_len), |bench| {
            bench.iter(|| black_box(&p).sample(0.999));
        });
        group.bench_function(BenchmarkId::new("pick, dense", vocab_len), |bench| {
            bench.iter(|| black_box(&p).pick(Random::new(3).noise(9)));
        });
        group.finish();
    }
}

criterion_group!(benches, sampling);
criterion_main!(benches);
