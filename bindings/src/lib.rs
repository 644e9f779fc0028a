//! Drafthorse for Kotlin and Swift: the runtime's engine, sessions and generations as uniffi objects.
//!
//! This crate translates and does nothing else: an `if` about tokens belongs in the runtime. Every call blocks, may
//! come from any thread, and returns a panic as [`DrafthorseError::Panic`]. Events are pulled, so a caller that waits
//! stops the loop. Handles may be released twice, from any thread, while a call runs.

mod account;
#[cfg(not(target_os = "ios"))]
mod android;
mod benchmark;
mod direct;
mod engine;
mod engine_options;
mod error;
mod event;
mod generation;
mod generation_options;
mod guard;
mod number;
mod prompt;
mod report;
mod session;
mod settings;

pub use account::{Account, DraftLengthCount, Passthrough, Percentiles, PositionCount, StopReason, TimeSpent};
pub use benchmark::{BenchmarkDevice, DeviceReading, run_benchmark};
pub use engine::{ContextPolicy, Drafting, Engine, SessionOptions};
pub use engine_options::{DrafterMisfit, EngineOptions, Provider, ProviderChoice, Spinning};
pub use error::{DrafthorseError, Result};
pub use event::{GenerationEvent, Token};
pub use generation::{Generation, measure_border};
pub use generation_options::{Constraint, DraftLength, GenerationOptions, Lenience, TokenBias, Verification};
pub use guard::provoke_panic;
pub use prompt::{Message, Prompt};
pub use report::{CacheLayout, EngineReport, NodeCount, PassCost, Placement, Refusal};
pub use session::Session;
pub use settings::{set_cache_folder, set_runtime_library};

uniffi::setup_scaffolding!("drafthorse");
