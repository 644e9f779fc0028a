//! Trains targets, distils drafters from them and exports both as packs.
//!
//! The way of a drafter: `import` or `pretrain` a target → `init` a drafter → `pretrain` it → `generate` the target's
//! own text → `distill` → `evaluate` → `export`. One module per step; all tensor work is in `model` and `loss`.

pub mod acceptance;
pub mod backend;
pub mod distill;
pub mod error;
pub mod loss;
pub mod model;
pub mod optimizer;
pub mod random;

pub use error::{Error, Result};
