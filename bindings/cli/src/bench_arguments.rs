//! Flags of `drafthorse bench`, as the harness's plan. Ranges are checked there, not here.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use drafthorse_bench::{CoolDown, Decoding, Mode, Plan, ProviderPair};

/// What to measure, or what to do with reports.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) command: Option<BenchCommand>,

    #[command(flatten)]
    pub(crate) measure: Measure,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Show a report again, or write it in another form.
    Show {
        /// The report.
        #[arg(value_hint = ValueHint::FilePath)]
        report: PathBuf,

        #[command(flatten)]
        outputs: Outputs,
    },
    /// Compare two reports, or the engines within one.
    Compare {
        /// The report that is divided by.
        #[arg(value_hint = ValueHint::FilePath)]
        first: PathBuf,

        /// The other; without it, the engines of the first are compared.
        #[arg(value_hint = ValueHint::FilePath)]
        second: Option<PathBuf>,
    },
    /// Hold a report against limits; exit code 6 if one is broken.
    Gate {
        /// The report.
        #[arg(value_hint = ValueHint::FilePath)]
        report: PathBuf,

        /// TOML file of limits; docs/guide/bench.md has an example.
        #[arg(value_hint = ValueHint::FilePath)]
        limits: PathBuf,
    },
    /// Merge every report under a folder; bad files are named and left where they are.
    Collect {
        /// The folder.
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,

        /// Write cases.parquet and generations.parquet to this folder.
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        parquet: Option<PathBuf>,
    },
    /// Make a report of what another program timed; tests/peers writes such records.
    Assemble {
        /// The records.
        #[arg(value_hint = ValueHint::FilePath)]
        records: PathBuf,

        #[command(flatten)]
        outputs: Outputs,
    },
    /// Print the JSON Schema of reports.
    Schema,
}

/// What to measure.
#[derive(Args, Debug)]
pub(crate) struct Measure {
    /// A pack, or another folder that opens [default: the demo pack of the repository].
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) pack: Option<PathBuf>,

    /// Folder or ONNX file of the drafter, in place of the pack's own.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    drafter: Option<PathBuf>,

    /// How the target was inflated, if it was; the report repeats it.
    #[arg(long, value_name = "HOW")]
    inflated: Option<String>,

    /// Execution providers, measured one after the other; TARGET+DRAFTER where they differ, as in qnn,cpu,qnn+cpu.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    providers: Vec<String>,

    /// Threads within an operator [default: the pack's, then the runtime's; 1 for the demo pack].
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,

    /// Tokens that the context must hold [default: what models and budget allow].
    #[arg(long, value_name = "N")]
    context: Option<usize>,

    /// How tokens are chosen.
    #[arg(long, value_name = "NAMES", value_enum, value_delimiter = ',', default_values_t = [Choice::Greedy, Choice::Sampled])]
    decoding: Vec<Choice>,

    /// How tokens are drafted; plain is what the others are compared with.
    #[arg(long, value_name = "NAMES", value_enum, value_delimiter = ',', default_values_t = Draft::value_variants().to_vec())]
    modes: Vec<Draft>,

    /// JSONL file of prompts, also Spec-Bench's, MT-bench's or GSM8K's as they are [default: built-in ones].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    prompts: Option<PathBuf>,

    /// Most prompts, spread evenly over the file.
    #[arg(long, value_name = "N", default_value_t = Plan::default().prompts_max)]
    prompts_max: usize,

    /// Most tokens per answer.
    #[arg(long, short = 'n', value_name = "N", default_value_t = Plan::default().max_tokens)]
    max_tokens: usize,

    /// Tokens drafted per round where the number is fixed.
    #[arg(long, value_name = "N", default_value_t = Plan::default().draft_len)]
    draft_tokens: usize,

    /// Repetitions of everything.
    #[arg(long, value_name = "N", default_value_t = Plan::default().repetitions)]
    repetitions: usize,

    /// Seconds after which no further prompt is begun.
    #[arg(long, value_name = "S", default_value_t = Plan::default().budget_s)]
    budget: f64,

    /// Seconds to wait between prompts, besides waiting for a hot device to cool.
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    pause: f64,

    /// Seed of sampling and of the intervals.
    #[arg(long, value_name = "N", default_value_t = Plan::default().seed)]
    seed: u64,

    /// Your own name of this device, under which reports are grouped.
    #[arg(long, value_name = "NAME")]
    label: Option<String>,

    /// Keep every round's time in the report.
    #[arg(long)]
    keep_rounds: bool,

    /// Run the plan in this JSON file, as the apps do; flags that say what to measure are passed over.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) plan: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) outputs: Outputs,
}

/// Where a report goes, besides the terminal.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Outputs {
    /// Write the report as JSON [default: drafthorse-bench-TIME.json, with a page beside it].
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,

    /// Write the report as a page that opens offline.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) html: Option<PathBuf>,

    /// Write cases.parquet and generations.parquet to this folder.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Output")]
    pub(crate) parquet: Option<PathBuf>,

    /// Write the plot of speed by task as SVG.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) plot: Option<PathBuf>,
}

impl Outputs {
    /// True if no file was asked for.
    pub(crate) fn is_empty(&self) -> bool {
        [&self.output, &self.html, &self.parquet, &self.plot].iter().all(|path| path.is_none())
    }
}

/// As `Decoding`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Choice {
    /// The likeliest token.
    Greedy,
    /// At temperature 1, without loss.
    Sampled,
    /// At temperature 1, accepting more than the target would: **not lossless**.
    Lenient,
}

/// As `Mode`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Draft {
    /// The target alone.
    Plain,
    /// The drafter model, a fixed number of tokens.
    Drafter,
    /// Prompt lookup, a fixed number of tokens at most.
    Lookup,
    /// Both, a fixed number of tokens at most.
    Both,
    /// What there is, as many tokens as pay.
    Adaptive,
}

impl Measure {
    /// The same, in the harness's words, for `pack`.
    pub(crate) fn plan(&self, pack: PathBuf) -> Plan {
        let provider = |name: &String| match name.split_once('+') {
            Some((target, drafter)) => ProviderPair { target: target.into(), drafter: Some(drafter.into()) },
            None => ProviderPair { target: name.clone(), drafter: None },
        };
        let decoding = |choice: &Choice| match choice {
            Choice::Greedy => Decoding::Greedy,
            Choice::Sampled => Decoding::Sampled,
            Choice::Lenient => Decoding::Lenient,
        };
        let mode = |draft: &Draft| match draft {
            Draft::Plain => Mode::Plain,
            Draft::Drafter => Mode::Drafter,
            Draft::Lookup => Mode::Lookup,
            Draft::Both => Mode::Both,
            Draft::Adaptive => Mode::Adaptive,
        };
        Plan {
            pack,
            drafter: self.drafter.clone(),
            inflated: self.inflated.clone(),
            providers: self.providers.iter().map(provider).collect(),
            threads: self.threads,
            context_len: self.context,
            decodings: self.decoding.iter().map(decoding).collect(),
            modes: self.modes.iter().map(mode).collect(),
            prompts_file: self.prompts.clone(),
            prompts_max: self.prompts_max,
            max_tokens: self.max_tokens,
            draft_len: self.draft_tokens,
            repetitions: self.repetitions,
            budget_s: self.budget,
            seed: self.seed,
            cool_down: CoolDown { pause_s: self.pause, ..CoolDown::default() },
            device_label: self.label.clone(),
            keep_rounds: self.keep_rounds,
            ..Plan::default()
        }
    }
}
