//! The Llama-family decoder: its shape, its weights, its forward pass with and without a KV cache.
//!
//! # For losses and distillation
//! - The drafter to train: `let drafter = drafter.trainable();` puts its weights on the autodiff device and asks for
//!   gradients; `drafter.forward(tokens)` then gives `[batch, seq, head_rows]` f32 logits that carry gradients.
//!   `head_rows` is the vocabulary unless the head is trimmed (`config.head_tokens` maps rows to target ids).
//! - The target: `target.frozen()` (what `checkpoint::load_model` returns) has no autodiff; the same `forward` gives
//!   plain logits of the same shape. Tensors without autodiff are constants in operations with ones that have it.
//! - Tokens are `Tensor<2, Int>` `[batch, seq]`, see [`token_tensor`]; row `t` of the logits predicts token `t + 1`.
//!   Causal attention: padding at the end of a row does not reach earlier rows, so right-pad and mask the loss.
//! - `loss.backward()` gives burn's `Gradients`; [`crate::optimizer::gradients`] collects them by tensor name and
//!   [`crate::optimizer::Optimizer::step`] applies them (clipping, AdamW).
//! - To bound memory, run `hidden` once and `logits` on chunks of rows.

mod cache;
mod config;
mod forward;
mod fused;
mod hugging_face;
mod precision;
mod weights;

pub use cache::Cache;
pub use config::{ModelConfig, RopeScaling};
pub use forward::token_tensor;
pub use precision::Precision;
pub(crate) use weights::host;
pub use weights::{HostTensor, Layer, Llama};
