//! Speculative decoding on ONNX Runtime: a drafter proposes tokens, the target checks them in one pass.
//!
//! One token's way: prompt → `text` → `drafter` proposes → `model` scores → `accept` → both caches truncate →
//! `stop` → `text` → the caller. Files import only from lower layers; `ARCHITECTURE.md` has the table.

// Layer 0: plain data.
mod error;
mod logits;
mod token;
// Layer 1: what was asked, and what needs no model.
mod acceptance_record;
mod chat;
mod cost;
mod cut;
mod distribution;
mod early_stop;
mod history;
mod latency;
mod memory;
mod options;
mod passthrough;
mod random;
mod residual;
mod sampling;
mod softmax;
mod stats;
mod text;
mod token_mask;
// Layer 2: the traits that the loop works with.
mod drafter;
mod model;
// Layer 3: one step of the token's way each.
mod accept;
mod cancel;
mod combined_drafter;
mod constraint;
mod draft_length;
mod model_drafter;
mod onnx;
mod prompt_lookup;
mod proposal;
#[doc(hidden)]
pub mod scripted;
mod sink;
mod stop;
mod verify;
// Layer 4: one round.
mod round;
// Layer 5: a conversation.
mod conversation;
mod generate;
mod session;
mod state;
// Layer 6: what a program opens.
mod engine;
mod kept;
mod loading;
mod measure;
mod opening;

pub use accept::{Acceptance, BlockStep, Rule, TargetRows, accept, is_nearly_best};
pub use cancel::CancelHandle;
pub use chat::{Chat, ChatTemplate, Content, LocalTime, Message};
pub use combined_drafter::CombinedDrafter;
pub use constraint::{Constraint, ConstraintCompiler};
pub use conversation::{ContextPolicy, Prompt};
pub use cost::{CostProfile, acceptance_for, block_efficiency, memory_bound_speedup, speedup};
pub use distribution::Distribution;
pub use draft_length::{DraftChoice, DraftLengthController, DraftedRound, LOSS_SHARE, RoundTime};
pub use drafter::{DraftSink, DraftSource, Drafter};
pub use early_stop::EarlyStop;
pub use engine::{Drafting, Engine, EngineReport, SessionOptions};
pub use error::{Error, Result};
pub use generate::{Chunk, Event, Generation, Token};
pub use history::History;
pub use latency::Percentiles;
pub use logits::{Logits, margin};
pub use memory::resident_bytes;
pub use model::{Interrupt, Model};
pub use model_drafter::ModelDrafter;
#[doc(hidden)]
pub use onnx::BareSession;
pub use onnx::{
    CacheLayout, CompiledCache, ModelOptions, NameHints, OnnxGraph, OnnxModel, PlacementReport, Provider,
    ProviderChoice, Spinning,
};
pub use opening::{DrafterMisfit, EngineOptions};
pub use options::{
    ConstraintSpec, DRAFT_LEN_MAX, DraftLength, GenerationOptions, GenerationPlan, Lenience, PlanContext, SamplingPlan,
    Verification,
};
pub use passthrough::Passthrough;
pub use prompt_lookup::{Match, NGRAM_RANGE, PromptLookup};
pub use proposal::Proposal;
pub use random::{Noise, Purpose, Random};
pub use residual::{Draft, Relaxation, Residual};
pub use sampling::Warper;
pub use session::Session;
pub use sink::ProposalSink;
pub use softmax::Unusable;
pub use stats::{Account, Known, NodeCounts, PositionCount, Recorder, RoundRecord, StopReason, TimeSpent};
pub use stop::{OutputText, Stop, StopHit, StopTexts};
pub use text::{SpecialTokens, TokenStream, Tokenizer};
pub use token::TokenId;
pub use token_mask::TokenMaskSource;
pub use verify::Verifier;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
