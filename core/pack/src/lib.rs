//! What lies on disk: packs, onnxruntime-genai folders, Hugging Face folders, ONNX files and digests.
//!
//! Shared by the runtime and by training; knows nothing of ONNX Runtime.

mod error;
pub mod onnx;
pub mod runtime_library;

pub use error::{Error, Result};
