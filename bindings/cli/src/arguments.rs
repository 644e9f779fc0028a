//! The command line: what can be asked.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use drafthorse_pack::OpenOptions;

use crate::failure;

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
    /// Print a completion script for a shell.
    Completions {
        /// The shell to complete for.
        shell: Shell,
    },
}

/// Which models to open.
#[derive(Args, Debug)]
pub(crate) struct Models {
    /// A pack, an onnxruntime-genai folder, or a Hugging Face folder with ONNX files.
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) pack: PathBuf,

    /// Which of a Hugging Face folder's `onnx/model*.onnx`: fp32, fp16, q4, int8, ...
    #[arg(long, value_name = "NAME")]
    pub(crate) variant: Option<String>,

    /// Folder or ONNX file of the drafter, in place of the pack's own.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) drafter: Option<PathBuf>,

    /// As --variant, for the drafter's folder.
    #[arg(long, value_name = "NAME", requires = "drafter")]
    pub(crate) drafter_variant: Option<String>,

    /// Another folder that links and `..` inside the pack may lead into; may be repeated.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) allow_root: Vec<PathBuf>,
}

impl Models {
    /// The same, in the pack crate's words.
    pub(crate) fn open_options(&self) -> OpenOptions {
        OpenOptions {
            variant: self.variant.clone(),
            drafter: self.drafter.clone(),
            drafter_variant: self.drafter_variant.clone(),
            allowed_roots: self.allow_root.clone(),
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct Inspect {
    #[command(flatten)]
    pub(crate) models: Models,
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The pack.
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) pack: PathBuf,
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
