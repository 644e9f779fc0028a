//! One distillation step, over and over, for `torch_reference.py` to time beside the same step in PyTorch.
//!
//! Weights are random: only the cost means something. Both models and the batch are written to `--out`, so that the
//! other side computes the same step. Then each line of standard input is a number of steps to take; the answer is a
//! line of JSON with seconds, tokens, the last loss and the peak of resident memory.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use drafthorse_training::backward::Held;
use drafthorse_training::distill::batch::{Batch, Example};
use drafthorse_training::distill::step::{Objective, gradients};
use drafthorse_training::import::hugging_face;
use drafthorse_training::loss::Loss;
use drafthorse_training::model::{Llama, ModelConfig, Precision};
use drafthorse_training::optimizer::{AdamWSettings, Optimizer};
use drafthorse_training::schedule::Schedule;
use drafthorse_training::{backend, folder};
use serde_json::json;

/// The workload; the shapes are the demo pair's.
#[derive(Parser)]
struct Arguments {
    /// flex (CPU), wgpu, cuda:N, tch, tch-cuda:N.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Folder for `target/`, `drafter/` and `batch.json`.
    #[arg(long)]
    out: PathBuf,
    /// Texts per step.
    #[arg(long, default_value_t = 16)]
    rows: usize,
    /// Tokens of a prompt, without a loss.
    #[arg(long, default_value_t = 16)]
    prompt_len: usize,
    /// Tokens of a completion, with a loss.
    #[arg(long, default_value_t = 112)]
    completion_len: usize,
    /// Hidden width of the target; the drafter's is a third of it.
    #[arg(long, default_value_t = 192)]
    hidden_len: usize,
    /// Layers of the target.
    #[arg(long, default_value_t = 8)]
    layers: usize,
    /// Tokens of the vocabulary.
    #[arg(long, default_value_t = 1024)]
    vocab_len: usize,
    /// Positions whose logits exist at once.
    #[arg(long, default_value_t = 512)]
    chunk_rows: usize,
    /// Computes each layer of the drafter again on the way back.
    #[arg(long)]
    recompute_layers: bool,
    /// Layers of the drafter.
    #[arg(long, default_value_t = 1)]
    drafter_layers: usize,
    /// Computes matrix products in bf16.
    #[arg(long)]
    bf16: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn config(arguments: &Arguments, hidden_len: usize, layers: usize) -> ModelConfig {
    ModelConfig {
        vocab_len: arguments.vocab_len,
        hidden_len,
        layers,
        heads: hidden_len / 32,
        kv_heads: hidden_len / 32,
        head_len: 32,
        ffn_len: hidden_len * 8 / 3,
        context_len: arguments.prompt_len + arguments.completion_len,
        ..ModelConfig::tiny()
    }
}

/// Peak of resident memory in bytes, where the system tells.
fn resident_bytes_max() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = backend::device(&arguments.device)?;
    let target = Llama::random(config(&arguments, arguments.hidden_len, arguments.layers), 1, &device)?;
    let mut drafter =
        Llama::random(config(&arguments, arguments.hidden_len / 3, arguments.drafter_layers), 2, &device)?.trainable();
    let token = |row: usize, at: usize| ((row * 7919 + at * 104_729) % arguments.vocab_len) as u32;
    let examples: Vec<Example> = (0..arguments.rows)
        .map(|row| {
            let tokens = |from: usize, len: usize| (from..from + len).map(|at| token(row, at)).collect();
            Example::new(tokens(0, arguments.prompt_len), tokens(arguments.prompt_len, arguments.completion_len))
        })
        .collect();
    let rows: Vec<&Example> = examples.iter().collect();
    let batch = Batch::new(&rows, usize::MAX, &device).context("no completion token")?;
    std::fs::create_dir_all(&arguments.out)?;
    for (name, model) in [("target", &target), ("drafter", &drafter)] {
        folder::replace(&arguments.out.join(name), |folder| hugging_face::save(folder, model, None))?;
    }
    folder::write_file(&arguments.out.join("batch.json"), json!(examples).to_string().as_bytes())?;

    let held = Held { chunk_rows: arguments.chunk_rows, recompute_layers: arguments.recompute_layers };
    let precision = if arguments.bf16 { Precision::Bf16 } else { Precision::F32 };
    precision.check(&device)?;
    let objective = Objective { loss: Loss::ForwardKl, temperature: 1.0, held, precision };
    let schedule = Schedule { peak: 1e-3, floor: 1.0, warmup_steps: 0, steps: usize::MAX };
    let mut optimizer = Optimizer::new(&AdamWSettings::default());
    let mut taken = 0;
    println!("{}", json!({ "ready": true }));
    for line in std::io::stdin().lock().lines() {
        let steps: usize = line?.trim().parse().context("each line is a number of steps")?;
        let (start, mut loss) = (Instant::now(), f64::NAN);
        for _ in 0..steps {
            let (found, measured) = gradients(&target, &drafter, &batch, objective);
            loss = measured.loss;
            (drafter, _) = schedule.apply(&mut optimizer, drafter, found, loss as f32, [taken, 0])?;
            taken += 1;
        }
        let tokens = steps * arguments.rows * (arguments.prompt_len + arguments.completion_len);
        let seconds = start.elapsed().as_secs_f64();
        let memory = resident_bytes_max();
        println!("{}", json!({ "seconds": seconds, "tokens": tokens, "loss": loss, "resident_bytes_max": memory }));
        std::io::stdout().flush()?;
    }
    Ok(())
}
