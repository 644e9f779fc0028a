//! The `drafthorse-train` command: one subcommand per step of a drafter's way.

use std::path::PathBuf;

use anyhow::Result;
use burn::tensor::Device;
use clap::{Parser, Subcommand};
use drafthorse_training::{
    backend, dataset, demo, distill, evaluate, export, generate, import, init, pretrain, recipe, tokenizer,
};

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
    /// Train, distil, evaluate and export a tiny pair on made-up texts: the whole way in minutes on a CPU.
    Demo {
        /// Folder for data, runs, evaluation and pack.
        #[arg(long, default_value = "runs/tiny")]
        out: PathBuf,
    },
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
    /// Make a drafter for a target: from scratch, cut out of it, or with a trimmed head.
    Init(InitArguments),
    /// Let a model answer prompts and keep the answers as a Parquet data set; a shard that is there is kept.
    Generate {
        #[command(flatten)]
        recipe: RecipeArguments,
        /// Part of the data set to make, as 0/4.
        #[arg(long, default_value = "0/1")]
        shard: generate::Shard,
    },
    /// Join the shards of one data set after checking that they belong together.
    Merge {
        /// The shards.
        #[arg(required = true)]
        shards: Vec<PathBuf>,
        /// The Parquet file to write.
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
struct InitArguments {
    /// Folder of the target; with --trim, of the drafter whose head is trimmed.
    #[arg(long)]
    target: PathBuf,
    /// Folder to write the drafter to.
    #[arg(long)]
    out: PathBuf,
    /// From scratch, in this share of the target's parameters.
    #[arg(long, group = "method")]
    percent: Option<f64>,
    /// Cut: layers of the target by number, as 0,7.
    #[arg(long, group = "method", value_delimiter = ',')]
    cut: Vec<usize>,
    /// Trim: tokens that the head keeps, the most frequent ones of --texts.
    #[arg(long, group = "method", requires = "texts")]
    trim: Option<usize>,
    /// From scratch: layers.
    #[arg(long, default_value_t = 1, conflicts_with_all = ["cut", "trim"])]
    layers: usize,
    /// From scratch: seed of the weights.
    #[arg(long, default_value_t = 1, conflicts_with_all = ["cut", "trim"])]
    seed: u64,
    /// Cut: width of the residual stream.
    #[arg(long, conflicts_with_all = ["percent", "trim"])]
    hidden: Option<usize>,
    /// Cut: width of the feed-forward part.
    #[arg(long, conflicts_with_all = ["percent", "trim"])]
    ffn: Option<usize>,
    /// Cut: key and value heads.
    #[arg(long, conflicts_with_all = ["percent", "trim"])]
    kv_heads: Option<usize>,
    /// Trim: answers of the target, as `generate` writes them.
    #[arg(long, conflicts_with_all = ["percent", "cut"])]
    texts: Option<PathBuf>,
}

impl InitArguments {
    fn run(self, device: &Device) -> Result<()> {
        let target = import::hugging_face::load(&self.target, device)?;
        let drafter = match (self.percent, self.trim, self.texts) {
            (Some(percent), _, _) => {
                let method = init::Method::Scratch { percent, layers: self.layers, seed: self.seed };
                init::init(&target, &method, device)?
            }
            (None, Some(kept), Some(texts)) => {
                let (answers, provenance) = dataset::read(&texts)?;
                if self.target.join("tokenizer.json").exists() {
                    dataset::check_tokens(&texts, &provenance, &self.target)?;
                }
                let completions = answers.iter().map(|answer| answer.completion.as_slice());
                let counts = init::count_tokens(completions, target.config().vocab_len);
                let (drafter, covered) = init::trim(&target, &counts, kept, device)?;
                println!("the head can draft {:.2} % of the target's tokens", 100.0 * covered);
                drafter
            }
            _ if !self.cut.is_empty() => {
                let (layers, hidden_len, ffn_len) = (self.cut, self.hidden, self.ffn);
                let cut = init::CutSettings { layers, hidden_len, ffn_len, kv_heads: self.kv_heads };
                init::init(&target, &init::Method::Cut(cut), device)?
            }
            _ => anyhow::bail!("one of --percent, --cut or --trim says how the drafter begins"),
        };
        init::save(&drafter, &self.target, &self.out)?;
        let (own, of) = (drafter.config().parameters(), target.config().parameters());
        println!("{own} parameters, {:.2} % of {of}, in {}", 100.0 * own as f64 / of as f64, self.out.display());
        Ok(())
    }
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
        Command::Demo { out } => {
            let outcome = demo::demo(&out, 1, &device)?;
            for line in outcome.comparison {
                println!("{line}");
            }
            println!("\n{}", std::fs::read_to_string(&outcome.table)?);
            println!("{} bytes in {}", outcome.export.bytes, outcome.pack.display());
        }
        Command::Tokenizer { recipe: path, data, vocab, out } => {
            let recipe: pretrain::PretrainRecipe = recipe::load(&path, &[])?;
            tokenizer::train(&recipe.corpus, &data, vocab, &out)?;
        }
        Command::Import { from, tokenizer, out } => import::import(&from, tokenizer.as_deref(), &out, &device)?,
        Command::Init(arguments) => arguments.run(&device)?,
        Command::Generate { recipe: RecipeArguments { recipe: path, data, out, overrides }, shard } => {
            let recipe = recipe::load(&path, &overrides)?;
            let count = generate::generate(&recipe, &data, shard, &out, &device)?;
            println!("{count} new answers in {}", out.display());
        }
        Command::Merge { shards, out } => println!("{} answers in {}", generate::merge(&shards, &out)?, out.display()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_refuses_what_belongs_to_another_way_to_begin() {
        let parses = |options: &str| {
            let line = format!("drafthorse-train init --target t --out d {options}");
            Arguments::try_parse_from(line.split(' ')).is_ok()
        };
        for fine in ["--percent 6 --layers 2 --seed 3", "--cut 0,7 --hidden 64 --ffn 8", "--trim 9 --texts a.parquet"] {
            assert!(parses(fine), "{fine}");
        }
        for ignored in
            ["--percent 6 --ffn 8", "--percent 6 --texts a", "--cut 0 --seed 3", "--trim 9 --texts a --hidden 8"]
        {
            assert!(!parses(ignored), "{ignored}");
        }
    }
}
