//! Trains targets, distils drafters from them and exports both as packs.
//!
//! The way of a drafter: `import` or `pretrain` a target → `init` a drafter → `pretrain` it → `generate` the target's
//! own text → `distill` → `evaluate` → `export`. One module per step; all tensor work is in `model`, `backward` and
//! `loss`.

pub mod acceptance;
pub mod backend;
pub mod backward;
pub mod chart;
pub mod corpus;
pub mod dataset;
pub mod demo;
pub mod distill;
pub mod error;
pub mod evaluate;
pub mod export;
pub mod folder;
pub mod generate;
pub mod import;
pub mod init;
pub mod loss;
pub mod model;
pub mod optimizer;
pub mod part;
pub mod pretrain;
pub mod random;
pub mod recipe;
pub mod run;
pub mod safetensors_file;
pub mod schedule;
pub mod tokenizer;

pub use error::{Error, Result};
