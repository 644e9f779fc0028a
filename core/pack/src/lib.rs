//! What lies on disk: packs, onnxruntime-genai folders, Hugging Face folders, ONNX files and digests.
//!
//! Shared by the runtime and by training; knows nothing of ONNX Runtime. `open` is the way in; `header` reads an ONNX
//! file without its weights, `onnx` reads and writes one whole.

mod assemble;
mod digest;
mod error;
mod file_states;
mod folder;
mod genai;
mod genai_session;
mod genai_write;
pub mod header;
mod hugging_face;
mod json;
mod manifest;
mod model_files;
pub mod onnx;
mod open;
#[cfg(test)]
mod properties;
mod root;
pub mod runtime_library;
mod settings;
mod tokenizer;
mod variants;
mod vocabulary;
mod wire;

pub use assemble::{AssembleOptions, assemble, sibling, write_manifest, write_whole};
pub use digest::{ChangedFile, OnProgress, Progress, Report, digest_file, hexadecimal, model_digest, verify};
pub use error::{Error, Result};
pub use folder::{DrafterSource, Folder, FolderKind};
pub use header::Header;
pub use manifest::{
    Acceptance, Card, DataSet, DrafterRecord, FORMAT_VERSION, FileDigest, Lineage, MANIFEST_FILE, Manifest,
};
pub use model_files::{ExternalFile, ModelFiles};
pub use open::{OpenOptions, open};
pub use settings::{
    DRAFT_TOKENS_MAX, IoNames, ProviderChoice, SearchDefaults, SessionSettings, Shape, SpeculativeSettings, layer_name,
};
pub use tokenizer::{AddedToken, ChatTemplate, TokenizerConfig, TokenizerFiles};
pub use vocabulary::{IdMap, Vocabulary, compare_vocabularies};
