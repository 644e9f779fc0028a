//! Models that ONNX Runtime computes: the only place that knows `ort`.
//!
//! `environment` loads the library; `open` tries one of the `providers` after the other: `session` builds, `signature`
//! and `placement` say what came of it, `proof` compares its passes. `graph` keeps the result; a `model` is a cache over
//! it, as the loop works with it; `feeds` and `kv_cache` are its inputs.
#![allow(unsafe_code, reason = "the runtime is a C library; each block says why it is sound")]

mod buffer;
mod compiled;
mod environment;
mod feeds;
mod graph;
mod interrupt;
mod kv_cache;
#[cfg(target_os = "ios")]
mod linked;
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
pub use graph::OnnxGraph;
pub use model::OnnxModel;
pub use options::{
    CacheLayout, CompiledCache, ModelOptions, NameHints, PlacementReport, Provider, ProviderChoice, Spinning,
};
#[doc(hidden)]
pub use session::BareSession;
