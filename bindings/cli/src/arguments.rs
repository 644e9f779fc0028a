//! The command line: what can be asked.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::bench_arguments::Bench;
use crate::failure;
use crate::generation_arguments::GenerationArguments;
use crate::model_arguments::ModelArguments;

/// Fast text generation on ONNX Runtime: a small drafter proposes tokens, the target checks them in one pass.
#[derive(Debug, Parser)]
#[command(name = "drafthorse", version, after_help = failure::EXIT_CODES, styles = crate::style::HELP, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Print JSON for machines: one object, or one per line where there are events.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Say what the library does; twice for more.
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Continue a prompt and stream the text.
    Generate(Generate),
    /// Talk over several turns; Ctrl-C ends the answer, Ctrl-D the conversation.
    Chat(Chat),
    /// Show what a folder holds: layout, types, sizes, cache bytes per token, providers, lineage.
    Inspect(Inspect),
    /// Check every digest of a pack.
    Verify(Verify),
    /// Assemble a pack from a target and a drafter.
    Pack(Pack),
    /// Run prompts with the target alone and with the pair, and compare speed and text.
    Demo(Demo),
    /// Measure latency on this device, and compare, gate or collect such reports.
    Bench(Box<Bench>),
    /// Print a completion script for a shell.
    Completions {
        /// The shell to complete for.
        shell: Shell,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Generate {
    #[command(flatten)]
    pub(crate) models: ModelArguments,

    /// The prompt; `-` or nothing reads it from standard input.
    pub(crate) prompt: Option<String>,

    /// Wrap the prompt as a user's message in the pack's chat template.
    #[arg(long)]
    pub(crate) chat_template: bool,

    /// System message; implies --chat-template.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,

    /// Generate N times from an empty session; for measuring.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) repeat: u16,

    #[command(flatten)]
    pub(crate) generation: GenerationArguments,

    #[command(flatten)]
    pub(crate) display: Display,
}

#[derive(Args, Debug)]
pub(crate) struct Chat {
    #[command(flatten)]
    pub(crate) models: ModelArguments,

    /// System message.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,

    #[command(flatten)]
    pub(crate) generation: GenerationArguments,

    #[command(flatten)]
    pub(crate) display: Display,
}

/// How text is shown to people.
#[derive(Args, Debug)]
pub(crate) struct Display {
    /// Show tokens that were drafted and accepted in another colour.
    #[arg(long)]
    pub(crate) show_draft: bool,

    /// Print only the text.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Inspect {
    #[command(flatten)]
    pub(crate) models: ModelArguments,

    /// Read the files only; do not open the models.
    #[arg(long)]
    pub(crate) files_only: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The pack.
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) pack: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Pack {
    /// Folder with the target and its tokenizer.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) target: PathBuf,

    /// Folder or ONNX file of the drafter.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) drafter: PathBuf,

    /// Folder to make.
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) output: PathBuf,

    /// Which of a Hugging Face folder's `onnx/model*.onnx` is the target: fp32, fp16, q4, int8, ...
    #[arg(long, value_name = "NAME")]
    pub(crate) target_variant: Option<String>,

    /// The same for the drafter.
    #[arg(long, value_name = "NAME")]
    pub(crate) drafter_variant: Option<String>,

    /// Another folder that links and `..` inside the folders may lead into; may be repeated.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) allow_root: Vec<PathBuf>,

    /// Replace a pack, or an empty folder, at the same place.
    #[arg(long)]
    pub(crate) overwrite: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Demo {
    #[command(flatten)]
    pub(crate) models: ModelArguments,

    /// Prompt; without one, three beginnings of stories.
    pub(crate) prompt: Option<String>,

    /// Most tokens per run.
    #[arg(long, default_value_t = 160, value_name = "N")]
    pub(crate) max_tokens: usize,

    /// Measured runs of each kind per prompt.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) runs: u16,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn json_may_stand_after_the_command() {
        let arguments = Arguments::try_parse_from(["drafthorse", "inspect", "pack", "--json"]).unwrap();
        assert!(arguments.json);
        assert!(matches!(arguments.command, Command::Inspect(_)));
    }
}
