//! Answers in a batch over a KV cache against the naive loop, which runs the whole text anew for every token: tokens
//! per second of both, in turns in one run.
//!
//! Weights are random and answers of full length, of the demo target's shape: only the cost means something.

use std::time::Instant;

use anyhow::{Result, ensure};
use burn::tensor::Device;
use drafthorse_training::distill::rollout::{Limits, Request, Sampling, rollout};
use drafthorse_training::model::{Llama, ModelConfig, token_tensor};

const PROMPTS: usize = 32;
const PROMPT_LEN: usize = 16;
const COMPLETION_LEN: usize = 96;
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    let shape = ModelConfig {
        vocab_len: 1024,
        hidden_len: 192,
        layers: 8,
        heads: 6,
        kv_heads: 2,
        head_len: 32,
        ffn_len: 512,
        context_len: 512,
        eos_tokens: vec![],
        ..ModelConfig::tiny()
    };
    let model = Llama::random(shape, 1, &Device::flex())?.map(|_, tensor| tensor.mul_scalar(4.0));
    let prompts: Vec<Vec<u32>> =
        (0..PROMPTS).map(|row| (0..PROMPT_LEN).map(|at| ((row * 31 + at * 7) % 1024) as u32).collect()).collect();
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let (batched, batched_rate) = timed(|| batched(&model, &prompts))?;
        // A few rows are enough: the naive loop's cost per token does not depend on their number.
        let (naive, naive_rate) = timed(|| Ok(prompts[..2].iter().map(|prompt| naive(&model, prompt)).collect()))?;
        ensure!(batched[..2] == naive[..], "the two loops answer differently");
        println!(
            "{batched_rate:.0} tokens/s batched over a cache, {naive_rate:.0} naive: {:.1}",
            batched_rate / naive_rate
        );
        ratios.push(batched_rate / naive_rate);
    }
    ratios.sort_by(f64::total_cmp);
    println!("{:.1} times as many, median; {:.1} to {:.1}", ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1]);
    Ok(())
}

/// Answers and tokens per second.
fn timed(answer: impl FnOnce() -> Result<Vec<Vec<u32>>>) -> Result<(Vec<Vec<u32>>, f64)> {
    let began = Instant::now();
    let answers = answer()?;
    let tokens: usize = answers.iter().map(Vec::len).sum();
    Ok((answers, tokens as f64 / began.elapsed().as_secs_f64()))
}

fn batched(model: &Llama, prompts: &[Vec<u32>]) -> Result<Vec<Vec<u32>>> {
    let sampling = Sampling { temperature: 0.0, top_p: 1.0 };
    let requests: Vec<Request<'_>> =
        prompts.iter().enumerate().map(|(key, prompt)| Request { prompt, sampling, key: key as u64 }).collect();
    let limits = Limits { completion_len_max: COMPLETION_LEN, batch_rows: PROMPTS };
    Ok(rollout(model, &requests, limits, 1)?)
}

fn naive(model: &Llama, prompt: &[u32]) -> Vec<u32> {
    let mut text = prompt.to_vec();
    for _ in 0..COMPLETION_LEN {
        let logits = model.forward(token_tensor(&[&text], &model.device()));
        let logits: Vec<f32> = logits.try_into_vec_as().expect("logits are floats");
        let row = &logits[logits.len() - model.config().vocab_len..];
        let best = (0..row.len()).fold(0, |best, index| if row[index] > row[best] { index } else { best });
        text.push(best as u32);
    }
    text.split_off(prompt.len())
}
