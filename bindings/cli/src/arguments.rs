//! The command line: what can be asked.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::failure;
use crate::folder_arguments::FolderArguments;

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
    /// Show what a folder holds: layout, types, sizes, cache bytes per token, providers, lineage.
    Inspect(Inspect),
    /// Check every digest of a pack.
    Verify(Verify),
    /// Assemble a pack from a target and a drafter.
    Pack(Pack),
    /// Print a completion script for a shell.
    Completions {
        /// The shell to complete for.
        shell: Shell,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Inspect {
    #[command(flatten)]
    pub(crate) folder: FolderArguments,
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
