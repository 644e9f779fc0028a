//! Flags that say which folder to read.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use drafthorse_pack::OpenOptions;

/// Which folder to read.
#[derive(Args, Debug)]
pub(crate) struct FolderArguments {
    /// A pack, an onnxruntime-genai folder, or a Hugging Face folder with ONNX files.
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) pack: PathBuf,

    /// Which of a Hugging Face folder's `onnx/model*.onnx`: fp32, fp16, q4, int8, ...
    #[arg(long, value_name = "NAME", help_heading = "Models")]
    variant: Option<String>,

    /// Folder or ONNX file of the drafter, in place of the pack's own.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = "Models")]
    drafter: Option<PathBuf>,

    /// As --variant, for the drafter's folder.
    #[arg(long, value_name = "NAME", requires = "drafter", help_heading = "Models")]
    drafter_variant: Option<String>,

    /// Another folder that links and `..` inside the pack may lead into; may be repeated.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Models")]
    allow_root: Vec<PathBuf>,
}

impl FolderArguments {
    /// The same, in the pack crate's words.
    pub(crate) fn options(&self) -> OpenOptions {
        OpenOptions {
            variant: self.variant.clone(),
            drafter: self.drafter.clone(),
            drafter_variant: self.drafter_variant.clone(),
            allowed_roots: self.allow_root.clone(),
        }
    }
}
