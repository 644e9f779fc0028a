//! Proves that a provider computes what it should: the same tokens must give the same rows however they are passed.
//!
//! A draft is checked in one pass after a cached prefix, a path that plain generation never takes. There are kernels that
//! get it wrong, and only the text would tell. Seen with WebGPU's `GroupQueryAttention` where a subgroup has 4 lanes: every
//! pass of more than one token in 1.27, passes of 32 tokens and more in 1.30.

use super::feeds::NARROW_WIDTH_MAX;
use super::graph::OnnxGraph;
use super::model::OnnxModel;
use crate::{Model, Result, TokenId};

/// Tokens that are compared one by one with short passes.
const SHORT: usize = 6;
/// Of these, tokens that stand before a rollback.
const KEPT: usize = 2;
/// Tokens of a pass that takes the kernels for prompts.
const WIDE: usize = 40;
/// Largest difference between two computations of a row, as a share of the row's spread. Half precision stays far below,
/// activations of 8 bits in one of the two below; a wrong mask is beyond.
const DIFFERENCE_MAX: f32 = 0.05;

/// What a provider that may be used computes right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Passes of every width.
    EveryPass,
    /// Passes as wide as a round's; prompts have to go in those too.
    ShortPassesOnly,
}

/// Compares short passes with single tokens, and a wide pass with short ones.
///
/// # Errors
/// The reason to refuse the provider, or an error of a pass.
pub(super) fn check(graph: &OnnxGraph) -> Result<Outcome, super::session::Refusal> {
    let model = &mut graph.model_of(WIDE)?;
    let wide = model.context_len_max();
    let tokens: Vec<TokenId> = (0..wide).map(|i| ((i * 7919 + 11) % model.vocab_len()) as TokenId).collect();
    let vocab_len = model.vocab_len();
    if wide < SHORT {
        return Ok(Outcome::EveryPass);
    }
    let singly = rows(model, &tokens[..SHORT], 1)?;
    for kept in [0, KEPT] {
        model.truncate(kept)?;
        let at_once = rows(model, &tokens[kept..SHORT], SHORT)?;
        let off = difference(&singly, &at_once, vocab_len);
        if off > DIFFERENCE_MAX {
            let width = SHORT - kept;
            return Err(format!(
                "a pass of {width} tokens after {kept} differs from single tokens by {:.0} % of the logits' spread",
                off * 100.0
            )
            .into());
        }
    }
    model.truncate(0)?;
    let short = rows(model, &tokens, NARROW_WIDTH_MAX)?;
    model.truncate(0)?;
    let off = difference(&short, &rows(model, &tokens, wide)?, vocab_len);
    if off > DIFFERENCE_MAX {
        log::warn!("prompts go in short passes: one of {wide} tokens is off by {:.0} % of the spread", off * 100.0);
        return Ok(Outcome::ShortPassesOnly);
    }
    Ok(Outcome::EveryPass)
}

/// Rows of `tokens` in passes of at most `width`; the last row of each where a graph gives no more.
fn rows(model: &mut OnnxModel, tokens: &[TokenId], width: usize) -> Result<Vec<f32>> {
    let mut rows = Vec::new();
    for chunk in tokens.chunks(width) {
        let logits = model.score(chunk)?;
        (0..logits.rows()).for_each(|row| rows.extend_from_slice(logits.row(row)));
    }
    Ok(rows)
}

/// Largest difference of the last rows that both have.
fn difference(a: &[f32], b: &[f32], vocab_len: usize) -> f32 {
    let pairs = a.rchunks(vocab_len).zip(b.rchunks(vocab_len));
    pairs.map(|(a, b)| row_difference(a, b)).fold(0.0, f32::max)
}

/// Root mean square of the differences over the standard deviation of `a`; infinite if either has a NaN. Logits that
/// are masked in both do not count.
fn row_difference(a: &[f32], b: &[f32]) -> f32 {
    let counted =
        || a.iter().zip(b).filter(|(a, b)| a != b || a.is_finite()).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let count = counted().count().max(1) as f64;
    let mean = counted().map(|(a, _)| a).sum::<f64>() / count;
    let variance = counted().map(|(a, _)| (a - mean).powi(2)).sum::<f64>();
    let error = counted().map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let share = if error == 0.0 { 0.0 } else { (error / variance).sqrt() };
    if share.is_nan() { f32::INFINITY } else { share as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_a_share_of_the_spread_of_each_row() {
        // Deviations of 5 and of 1 on either side of the mean.
        let a = [0.0, 10.0, 1.0, 3.0];
        assert_eq!(difference(&a, &a, 2), 0.0);
        assert_eq!(difference(&a, &[1.0, 11.0, 1.0, 3.0], 2), 0.2);
        assert_eq!(difference(&a, &[1.0, 11.0, 1.5, 3.5], 2), 0.5);
        assert_eq!(difference(&a, &[1.5, 3.5], 2), 0.5, "only the last row is there to compare");
    }

    #[test]
    fn masked_logits_agree_and_nan_never_does() {
        let masked = [f32::NEG_INFINITY, 1.0, 3.0];
        assert_eq!(difference(&masked, &masked, 3), 0.0);
        assert_eq!(difference(&masked, &[f32::NEG_INFINITY, 1.5, 3.5], 3), 0.5);
        assert_eq!(difference(&masked, &[0.0, 1.0, 3.0], 3), f32::INFINITY);
        assert_eq!(difference(&[0.0, 1.0], &[0.0, f32::NAN], 2), f32::INFINITY);
        assert_eq!(difference(&[1.0, 1.0], &[1.0, 1.1], 2), f32::INFINITY, "a row without spread must be met exactly");
    }
}
