//! How often each duration occurred, in steps of a few per cent.

use serde::{Deserialize, Serialize};

/// Each bin is wider than the one before by this factor.
const STEP: f64 = 1.05;

/// Counts of milliseconds in bins of 5 %: bin `index` holds what lies from 1.05^index to 1.05^(index+1) ms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct Histogram {
    /// (index, count), by rising index; bins without a count are left out.
    pub bins: Vec<(i32, u64)>,
}

impl Histogram {
    /// Of milliseconds that count as often as their weight says. What is not a positive number is left out.
    pub fn of(weighted: &[(f64, u64)]) -> Self {
        let mut bins = std::collections::BTreeMap::new();
        for &(ms, count) in weighted.iter().filter(|(ms, count)| ms.is_finite() && *ms > 0.0 && *count > 0) {
            *bins.entry((ms.ln() / STEP.ln()).floor() as i32).or_insert(0) += count;
        }
        Self { bins: bins.into_iter().collect() }
    }

    /// Where bin `index` begins, in milliseconds.
    pub fn start_ms(index: i32) -> f64 {
        STEP.powi(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_lies_in_its_bin() {
        let histogram = Histogram::of(&[(7.3, 4), (7.31, 1), (0.002, 2), (f64::NAN, 3), (0.0, 1)]);
        let bin = |ms: f64| {
            histogram.bins.iter().find(|b| Histogram::start_ms(b.0) <= ms && ms < Histogram::start_ms(b.0 + 1))
        };
        assert_eq!((bin(7.3).unwrap().1, bin(0.002).unwrap().1), (5, 2));
        assert_eq!(histogram.bins.iter().map(|bin| bin.1).sum::<u64>(), 7);
    }
}
