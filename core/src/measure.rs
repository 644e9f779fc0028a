//! Measures what a forward pass costs, once per pack, provider and machine.

use std::time::{Duration, Instant};

use crate::latency::millis;
use crate::{CostProfile, DRAFT_LEN_MAX, Model, Result, TokenId};

/// Rows of the target's passes that are timed at an opening, the most telling first, as time may end: all of those that
/// short drafts need, since costs rise in steps where kernels work on several rows at once. The costs between are
/// interpolated.
pub(crate) const WIDTHS: [usize; 10] = [1, 2, 4, 8, 3, 6, 5, 7, 12, 16];

/// Rows of the widest pass that is timed: the longest draft and the anchor.
const WIDTH_MAX: usize = DRAFT_LEN_MAX + 1;

/// Tokens in the cache while measuring: a conversation under way.
const CONTEXT_LEN: usize = 64;

/// Passes of the drafter before a pass of the target, as a round drafts. The first of them finds the processor's caches
/// cold and takes longer than those that follow it; a round has both.
const DRAFT_RUN: usize = 4;

/// Size of the caches that are measured with: half of it is filled.
pub(crate) const CACHE_LEN: usize = 2 * CONTEXT_LEN;

/// Ratio of the median to the quickest pass beyond which a measurement is not kept.
const SPREAD_MAX: f64 = 1.5;

/// Passes per width, and the time over all widths after which fewer will do.
const PASSES: usize = 16;
const PASSES_MIN: usize = 3;
const TIME_MAX: Duration = Duration::from_millis(1500);

/// Times rounds: passes of `drafter` over one token, then a pass of `target` over each of `widths` rows, one without drafts.
/// Rounds of one width come in a row, as in a text: what a pass takes depends on those before it (narrow passes after
/// wide ones need ten of their kind to be as quick as they can, by what is left in the processor's caches). Unless
/// `every` width is asked for, those for which no time is left are left out, so that opening a big model does not take
/// long. Both models' caches are empty afterwards. Says too whether the machine was calm enough to believe it.
///
/// # Errors
/// Errors of the models.
pub(crate) fn costs(
    target: &mut dyn Model,
    mut drafter: Option<&mut dyn Model>,
    widths: &[usize],
    every: bool,
) -> Result<(CostProfile, bool)> {
    let room = drafter.as_ref().map_or(usize::MAX, |drafter| drafter.context_len_max()).min(target.context_len_max());
    let context = vec![1 as TokenId; CONTEXT_LEN.min(room / 2)];
    if !context.is_empty() {
        target.prefill(&context)?;
        if let Some(drafter) = &mut drafter {
            drafter.prefill(&context)?;
        }
    }
    let fits = |width: usize| {
        width == 1
            || (1..=WIDTH_MAX).contains(&width)
                && target.scores_every_row()
                && context.len() + width <= target.context_len_max()
    };
    let widths: Vec<usize> = widths.iter().copied().filter(|&width| fits(width)).collect();
    let mut target_ms = Vec::new();
    let mut drafter_ms = Vec::new();
    let mut calm = true;
    let begun = Instant::now();
    for &width in &widths {
        // From two on the others follow on a straight line.
        if !every && target_ms.len() >= 2 && begun.elapsed() > TIME_MAX {
            break;
        }
        let time_max = TIME_MAX / widths.len() as u32;
        let start = Instant::now();
        let mut times = Vec::new();
        while times.len() < PASSES_MIN || times.len() < PASSES && start.elapsed() < time_max {
            if let Some(drafter) = drafter.as_mut().filter(|_| width > 1 || widths.len() == 1) {
                drafter_ms.push(draft(*drafter, context.len())?);
            }
            times.push(timed(target, width, context.len())?);
        }
        // The first may make plans and buffers that later ones reuse.
        times.remove(0);
        calm &= is_calm(&mut times);
        target_ms.push((width, typical(&mut times)));
    }
    target.truncate(0)?;
    if let Some(drafter) = drafter {
        drafter.truncate(0)?;
    }
    let drafter_ms = (!drafter_ms.is_empty()).then(|| {
        calm &= is_calm(&mut drafter_ms);
        typical(&mut drafter_ms)
    });
    Ok((CostProfile::new(target_ms, drafter_ms), calm))
}

/// Milliseconds per pass of a draft by `drafter`.
fn draft(drafter: &mut dyn Model, context_len: usize) -> Result<f64> {
    let passes = DRAFT_RUN.min(drafter.context_len_max() - context_len);
    let start = Instant::now();
    for _ in 0..passes {
        drafter.score(&[1])?;
    }
    let time = start.elapsed();
    drafter.truncate(context_len)?;
    Ok(millis(time) / passes as f64)
}

/// Milliseconds of one pass over `width` tokens.
fn timed(model: &mut dyn Model, width: usize, context_len: usize) -> Result<f64> {
    let tokens = [1 as TokenId; WIDTH_MAX];
    let start = Instant::now();
    model.score(&tokens[..width])?;
    let time = start.elapsed();
    model.truncate(context_len)?;
    Ok(millis(time))
}

/// The lower quartile: what a pass takes when nothing else disturbs it.
fn typical(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 4]
}

/// True if half of the times are close to the quickest: what disturbs a machine does not disturb every pass alike.
fn is_calm(times: &mut [f64]) -> bool {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2] <= times[0] * SPREAD_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_measurement_is_told_from_a_calm_one() {
        assert!(is_calm(&mut [1.0, 1.1, 1.02, 9.0, 1.3]));
        assert!(!is_calm(&mut [1.0, 2.0, 1.8, 9.0, 1.3]));
    }
}
