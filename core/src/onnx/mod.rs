//! Models that ONNX Runtime computes: the only place that knows `ort`.
//!
//! `environment` loads the library; `open` tries one of the `providers` after the other: `session` builds, `signature`
//! and `placement` say what came of it, `proof` compares its passes. `model` is what the loop works with; `feeds` and
//! `kv_cache` are its inputs.
#![allow(unsafe_code, reason = "the runtime is a C library; each block says why it is sound")]

mod buffer;
mod compiled;
mod environment;
mod feeds;
mod interrupt;
mod kv_cache;
mod logits;
mod model;
mod open;
mod options;
mod placement;
mod proof;
mod providers;
mod raw;
mod session;
mod signature;

pub(crate) use environment::build_info;
pub use model::OnnxModel;
pub use options::{
    CacheLayout, CompiledCache, ModelOptions, NameHints, PlacementReport, Provider, ProviderChoice, Spinning,
};
