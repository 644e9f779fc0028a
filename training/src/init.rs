//! A drafter for a target: from scratch in a share of its size, cut out of it, or with a trimmed head.

mod cut;
mod size;
mod trim;

use std::path::Path;

use burn::tensor::Device;

pub use cut::CutSettings;
pub use trim::{count_tokens, trim};

use crate::import::hugging_face;
use crate::model::Llama;
use crate::{Result, folder};

/// How a drafter begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// Random weights; the shape is chosen to take `percent` of the target's parameters, embedding included.
    Scratch {
        /// Above 0, at most 100.
        percent: f64,
        /// Layers; more are narrower.
        layers: usize,
        /// Of the weights.
        seed: u64,
    },
    /// Layers of the target, in its width or a narrower one.
    Cut(CutSettings),
}

/// A drafter with the target's vocabulary and end tokens.
///
/// # Errors
/// `Setting` if no shape is that small, or the cut does not fit the target.
pub fn init(target: &Llama, method: &Method, device: &Device) -> Result<Llama> {
    match method {
        Method::Scratch { percent, layers, seed } => {
            Llama::random(size::shape(target.config(), *percent, *layers)?, *seed, device)
        }
        Method::Cut(settings) => cut::cut(target, settings, device),
    }
}

/// Writes the drafter with the target's tokenizer to `out`, whole or not at all.
///
/// # Errors
/// `Io`, or `Setting` if `out` is the target's folder or holds other things.
pub fn save(drafter: &Llama, target: &Path, out: &Path) -> Result<()> {
    let tokenizer = target.join("tokenizer.json");
    folder::check_apart(out, target)?;
    folder::replace(out, |folder| {
        hugging_face::save(folder, drafter, None)?;
        if tokenizer.exists() {
            hugging_face::copy_tokenizer(&tokenizer, folder)?;
        }
        Ok(())
    })
}
