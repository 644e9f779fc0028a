//! Runs passes until they cost the same twice: then clocks, caches and the runtime's own buffers have settled.

use drafthorse::{CostProfile, DRAFT_LEN_MAX, Engine};

use crate::Result;
use crate::report::Costs;

/// Sweeps until two agree, at most.
const SWEEPS_MAX: usize = 6;

/// Largest difference between two sweeps that agree, at any width that a draft of up to four tokens needs.
const TOLERANCE: f64 = 0.05;

/// Widths that must agree, and so decide.
const WIDTHS_DECISIVE: usize = 5;

/// Measures the cost curve again and again until it is stable.
///
/// # Errors
/// Those of the models.
pub(crate) fn costs(engine: &Engine, keep_going: &mut dyn FnMut(usize) -> Result<()>) -> Result<Costs> {
    // A pass has a row for the anchor besides those of the draft.
    let widths: Vec<usize> = (1..=DRAFT_LEN_MAX + 1).collect();
    let mut last: Option<CostProfile> = None;
    let mut change = f64::INFINITY;
    let mut sweeps = 0;
    let profile = loop {
        keep_going(sweeps)?;
        let profile = engine.measure_costs(&widths)?;
        sweeps += 1;
        if let Some(last) = &last {
            change = difference(last, &profile);
        }
        if change <= TOLERANCE || sweeps == SWEEPS_MAX {
            break profile;
        }
        last = Some(profile);
    };
    Ok(Costs {
        target_ms: widths.iter().map(|&rows| profile.target_ms(rows)).collect(),
        drafter_ms: profile.drafter_ms(),
        sweeps,
        change,
        stable: change <= TOLERANCE,
    })
}

/// Largest relative difference of the decisive widths.
fn difference(before: &CostProfile, after: &CostProfile) -> f64 {
    (1..=WIDTHS_DECISIVE).map(|rows| (after.target_ms(rows) / before.target_ms(rows) - 1.0).abs()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_that_changed_most_decides() {
        let profile = |ms: f64| CostProfile::new(vec![(1, 10.0), (4, ms), (5, ms)], None);
        assert!((difference(&profile(12.0), &profile(15.0)) - 0.25).abs() < 1e-9);
        assert_eq!(difference(&profile(12.0), &profile(12.0)), 0.0);
    }
}
