//! Builds decoder ONNX graphs: one builder for exports, test fixtures and inflated benchmark targets.
//!
//! A [`DecoderConfig`] and [`Weights`] (plain f32 arrays) become a `.onnx` file through [`write_model`]; [`folder`] puts
//! the files around it that onnxruntime-genai, Hugging Face tools and our own runtime read. [`mod@reference`] is the
//! same function written plainly, which every graph is tested against.

mod attention;
mod calibrate;
mod config;
mod decoder;
mod error;
mod heads;
mod inflate;
mod int8x8;
mod linear;
mod options;
mod quantize;
mod rope;
mod tokenizer_fixture;
mod weights;
mod writer;

pub mod fixtures;
pub mod folder;
pub mod random;
pub mod reference;
pub mod rewrite;

pub use calibrate::{ActivationRanges, calibrate};
pub use config::{Activation, DecoderConfig, Family, Rope, RopeScaling};
pub use decoder::{ModelSummary, write_model};
pub use error::{Error, Result};
pub use inflate::{InflatedSize, inflate};
pub use options::{ActivationScale, ExternalData, FloatType, GraphOptions, Layout, LogitRows, Precision, WeightFormat};
pub use quantize::{BlockQuantized, RowQuantized, quantize_blocks, quantize_rows};
pub use weights::{LayerWeights, Linear, Weights};
