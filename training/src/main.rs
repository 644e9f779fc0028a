//! The `drafthorse-train` command: one subcommand per step of a drafter's way.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use drafthorse_training::{backend, distill, evaluate, export, import, pretrain, recipe, tokenizer};

/// Trains targets, distils drafters from them and exports both as packs.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where tensors live: flex (CPU), wgpu, cuda:N, tch, tch-cuda:N.
    #[arg(long, global = true, default_value = "flex")]
    device: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a byte-level BPE tokenizer on a recipe's corpora.
    Tokenizer {
        /// A pretraining recipe; its corpora are used.
        #[arg(long)]
        recipe: PathBuf,
        /// Folder that the corpora's paths are relative to.
        #[arg(long)]
        data: PathBuf,
        /// Tokens in the vocabulary, 257 or more.
        #[arg(long)]
        vocab: usize,
        /// The tokenizer.json to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Read a Hugging Face folder or a llama2.c file and write it as a folder that the other steps take.
    Import {
        /// The folder or file.
        #[arg(long)]
        from: PathBuf,
        /// A llama2.c file's tokenizer.bin, or another tokenizer.json.
        #[arg(long)]
        tokenizer: Option<PathBuf>,
        /// The folder to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Train a model on text; goes on from the run's checkpoint if there is one.
    Pretrain(RecipeArguments),
    /// Write target and drafter as a pack, after comparing exported with trained logits.
    Export(RecipeArguments),
    /// Distil a drafter from its target; goes on from the run's checkpoint if there is one.
    Distill(RecipeArguments),
    /// Measure drafters against their target on held-out prompts.
    Evaluate(RecipeArguments),
}

#[derive(clap::Args)]
struct RecipeArguments {
    /// The experiment's TOML file.
    #[arg(long)]
    recipe: PathBuf,
    /// Folder that the corpora's paths are relative to.
    #[arg(long)]
    data: PathBuf,
    /// The run's folder (run.toml, metrics.jsonl, checkpoint/), or the pack's.
    #[arg(long)]
    out: PathBuf,
    /// Overrides of the recipe, as train.steps=100.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = backend::device(&arguments.device)?;
    match arguments.command {
        Command::Tokenizer { recipe: path, data, vocab, out } => {
            let recipe: pretrain::PretrainRecipe = recipe::load(&path, &[])?;
            tokenizer::train(&recipe.corpus, &data, vocab, &out)?;
        }
        Command::Import { from, tokenizer, out } => import::import(&from, tokenizer.as_deref(), &out, &device)?,
        Command::Pretrain(RecipeArguments { recipe: path, data, out, overrides }) => {
            let recipe = recipe::load(&path, &overrides)?;
            let outcome = pretrain::pretrain(&recipe, &data, &out, &device)?;
            for (corpus, loss) in outcome.validation {
                println!("{corpus}: {loss:.4} nats per token");
            }
            println!("weights in {}", outcome.checkpoint.display());
        }
        Command::Export(RecipeArguments { recipe: path, data, out, overrides }) => {
            let recipe = recipe::load(&path, &overrides)?;
            let outcome = export::export(&recipe, &data, &out, &device)?;
            for row in outcome.parity {
                let same = 100.0 * row.argmax_agreement;
                println!(
                    "{} {:?}: rms {:.5}, worst {:.4}, same likeliest token {same:.1} %",
                    row.model, row.precision, row.rms, row.worst
                );
            }
            println!("{} bytes in {}", outcome.bytes, out.display());
        }
        Command::Distill(RecipeArguments { recipe: path, data, out, overrides }) => {
            let recipe = recipe::load(&path, &overrides)?;
            let outcome = distill::distill(&recipe, &data, &out, &device)?;
            for (before, after) in outcome.before.iter().zip(&outcome.after) {
                println!("{}", distill::pair::comparison(before, after));
            }
            println!("weights in {}", outcome.best.display());
        }
        Command::Evaluate(RecipeArguments { recipe: path, data, out, overrides }) => {
            let recipe = recipe::load(&path, &overrides)?;
            evaluate::evaluate(&recipe, &data, &out, &device)?;
            println!("{}", std::fs::read_to_string(out.join("evaluation.md"))?);
        }
    }
    Ok(())
}
