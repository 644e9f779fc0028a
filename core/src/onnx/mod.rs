//! Models that ONNX Runtime computes: the only place that knows `ort`.
//!
//! `environment` loads the library; `session` builds and proves a session on one of the `providers`; `signature` and
//! `placement` say what came of it; `kv_cache` keeps what a model has seen; `model` is what the loop works with.
#![allow(unsafe_code, reason = "the runtime is a C library; each block says why it is sound")]

mod buffer;
mod compiled;
mod environment;
mod feeds;
mod interrupt;
mod kv_cache;
mod logits;
mod model;
mod options;
mod placement;
mod providers;
mod raw;
mod session;
mod signature;

pub use model::OnnxModel;
pub use options::{
    CacheLayout, CompiledCache, ModelOptions, NameHints, PlacementReport, Provider, ProviderChoice, Spinning,
};
