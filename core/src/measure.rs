//! Measures what a forward pass costs, once per pack, provider and machine.

use std::time::{Duration, Instant};

use crate::{CostProfile, Model, Result, TokenId};

/// Rows of the target's passes that are timed at an opening; the costs between are interpolated.
pub(crate) const WIDTHS: [usize; 5] = [1, 2, 4, 8, 16];

/// Rows of the widest pass that is timed.
const WIDTH_MAX: usize = 16;

/// Tokens in the cache while measuring: a conversation under way.
const CONTEXT_LEN: usize = 64;

/// Passes of the drafter that are timed in one go, as a round drafts: the first after the target's pass finds the
/// processor's caches cold and takes up to three times as long as those that follow it.
const DRAFT_RUN: usize = 4;

/// Size of the caches that are measured with: half of it is filled.
pub(crate) const CACHE_LEN: usize = 2 * CONTEXT_LEN;

/// Ratio of the median to the quickest pass beyond which a measurement is not kept.
const SPREAD_MAX: f64 = 1.5;

/// Passes per width, and the time after which fewer will do.
const PASSES: usize = 9;
const TIME_MAX: Duration = Duration::from_millis(1500);

/// Times passes of `target` over each of `widths` rows, and runs of passes of `drafter` over one token, in turns, so that a
/// disturbance meets all of them. Both caches are empty afterwards. Says too whether the machine was calm enough to believe it.
///
/// # Errors
/// Errors of the models.
pub(crate) fn costs(
    target: &mut dyn Model,
    mut drafter: Option<&mut dyn Model>,
    widths: &[usize],
) -> Result<(CostProfile, bool)> {
    let context = vec![1 as TokenId; CONTEXT_LEN.min(target.context_len_max() / 2)];
    target.prefill(&context)?;
    if let Some(drafter) = &mut drafter {
        drafter.prefill(&context)?;
    }
    let fits = |width: usize| {
        width == 1
            || (1..=WIDTH_MAX).contains(&width)
                && target.scores_every_row()
                && context.len() + width <= target.context_len_max()
    };
    let widths: Vec<usize> = widths.iter().copied().filter(|&width| fits(width)).collect();
    let room = drafter.as_ref().map_or(0, |drafter| drafter.context_len_max().saturating_sub(context.len()));
    let draft_run = DRAFT_RUN.min(room).max(1);
    let mut target_ms = vec![Vec::new(); widths.len()];
    let mut drafter_ms = Vec::new();
    let start = Instant::now();
    for pass in 0..=PASSES {
        for (times, &width) in target_ms.iter_mut().zip(&widths) {
            let time = timed(target, (1, width), context.len())?;
            // The first pass of a width may make plans and buffers that later ones reuse.
            if pass > 0 || start.elapsed() > TIME_MAX {
                times.push(time);
            }
        }
        if let Some(drafter) = &mut drafter {
            drafter_ms.push(timed(*drafter, (draft_run, 1), context.len())? / draft_run as f64);
        }
        if start.elapsed() > TIME_MAX && target_ms.iter().all(|times| !times.is_empty()) {
            break;
        }
    }
    target.truncate(0)?;
    if let Some(drafter) = drafter {
        drafter.truncate(0)?;
    }
    let calm = target_ms.iter_mut().all(|times| is_calm(times));
    let target_ms = widths.iter().zip(&mut target_ms).map(|(&width, times)| (width, typical(times))).collect();
    Ok((CostProfile::new(target_ms, (!drafter_ms.is_empty()).then(|| typical(&mut drafter_ms))), calm))
}

/// Milliseconds of `passes` passes in a row, each over `width` tokens.
fn timed(model: &mut dyn Model, (passes, width): (usize, usize), context_len: usize) -> Result<f64> {
    let tokens = [1 as TokenId; WIDTH_MAX];
    let start = Instant::now();
    for _ in 0..passes {
        model.score(&tokens[..width])?;
    }
    let time = start.elapsed();
    model.truncate(context_len)?;
    Ok(time.as_secs_f64() * 1e3)
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
