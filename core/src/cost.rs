//! What a forward pass costs, and the speed that follows from it.

use serde::{Deserialize, Serialize};

/// Measured times of forward passes, as measured once per pack, provider and device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Measured", into = "Measured")]
pub struct CostProfile {
    /// (rows, ms), both rising; never empty.
    target_ms: Vec<(usize, f64)>,
    drafter_ms: Option<f64>,
}

/// What is kept on disk.
#[derive(Clone, Serialize, Deserialize)]
struct Measured {
    target_ms: Vec<(usize, f64)>,
    drafter_ms: Option<f64>,
}

impl From<Measured> for CostProfile {
    fn from(measured: Measured) -> Self {
        Self::new(measured.target_ms, measured.drafter_ms)
    }
}

impl From<CostProfile> for Measured {
    fn from(profile: CostProfile) -> Self {
        Self { target_ms: profile.target_ms, drafter_ms: profile.drafter_ms }
    }
}

impl CostProfile {
    /// A profile from the times of target passes, `(rows, ms)` in any order, and of the drafter's pass over one row.
    ///
    /// A wider pass is never faster, and what disturbs a measurement only makes it longer: where a narrower pass seems slower,
    /// it is lowered to the wider one's. What is not a positive number is left out; without any target time a pass is taken
    /// to last 1 ms per row.
    pub fn new(mut target_ms: Vec<(usize, f64)>, drafter_ms: Option<f64>) -> Self {
        let is_time = |ms: f64| ms.is_finite() && ms > 0.0;
        target_ms.retain(|&(rows, ms)| rows > 0 && is_time(ms));
        target_ms.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        target_ms.dedup_by_key(|&mut (rows, _)| rows);
        let mut quickest = f64::INFINITY;
        for (_, ms) in target_ms.iter_mut().rev() {
            quickest = quickest.min(*ms);
            *ms = quickest;
        }
        if target_ms.is_empty() {
            target_ms.push((1, 1.0));
        }
        Self { target_ms, drafter_ms: drafter_ms.filter(|&ms| is_time(ms)) }
    }

    /// Milliseconds of a target pass over `rows` rows: between measured widths on a straight line, past the widest on
    /// the last line, and in proportion to the rows where only one width was measured.
    pub fn target_ms(&self, rows: usize) -> f64 {
        let after = self.target_ms.partition_point(|&(width, _)| width < rows);
        match (after.checked_sub(1).map(|i| self.target_ms[i]), self.target_ms.get(after)) {
            (_, Some(&(width, ms))) if width == rows => ms,
            (Some(low), Some(&high)) => line(low, high, rows),
            // Narrower than anything measured: no faster than that, as far as is known.
            (None, Some(&(_, ms))) => ms,
            (Some(last), None) => match self.target_ms.len() {
                1 => last.1 * rows as f64 / last.0 as f64,
                len => line(self.target_ms[len - 2], last, rows),
            },
            (None, None) => unreachable!("a profile has at least one width"),
        }
    }

    /// Milliseconds of the drafter's pass over one row, if there is a drafter.
    pub fn drafter_ms(&self) -> Option<f64> {
        self.drafter_ms
    }

    /// v(rows): a target pass over `rows` rows, in passes over one row.
    pub fn verify_cost(&self, rows: usize) -> f64 {
        self.target_ms(rows) / self.target_ms(1)
    }

    /// c: a drafter's pass in target passes over one row; 0 without a drafter that runs a model.
    pub fn draft_cost(&self) -> f64 {
        self.drafter_ms.unwrap_or(0.0) / self.target_ms(1)
    }
}

fn line(low: (usize, f64), high: (usize, f64), rows: usize) -> f64 {
    low.1 + (high.1 - low.1) * (rows - low.0) as f64 / (high.0 - low.0) as f64
}

/// E = (1 − α^(γ+1)) / (1 − α): tokens per target pass where every drafted token is accepted with chance `acceptance`
/// (Leviathan et al., arXiv 2211.17192, equation 1).
pub fn block_efficiency(acceptance: f64, draft_len: usize) -> f64 {
    (0..=draft_len as i32).map(|i| acceptance.powi(i)).sum()
}

/// α with E(α, γ) = `block_efficiency`, by halving: the formula's own notion of acceptance. 1 from γ + 1 on, 0 up to 1.
pub fn acceptance_for(block_efficiency: f64, draft_len: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if self::block_efficiency(middle, draft_len) < block_efficiency {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// S = E / (c·γ + v(γ+1) + overhead): how many times faster than plain decoding, with every cost in plain steps.
pub fn speedup(acceptance: f64, draft_len: usize, draft_cost: f64, verify_cost: f64, overhead: f64) -> f64 {
    block_efficiency(acceptance, draft_len) / (draft_cost * draft_len as f64 + verify_cost + overhead)
}

/// MBSU = τ / (c·γ + 1): the speed-up where memory traffic is all that costs, c the ratio of parameters
/// (arXiv 2403.00858).
pub fn memory_bound_speedup(tokens_per_target_call: f64, draft_len: usize, parameter_ratio: f64) -> f64 {
    tokens_per_target_call / (parameter_ratio * draft_len as f64 + 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_between_and_beyond_the_measured_widths() {
        let profile = CostProfile::new(vec![(8, 20.0), (1, 10.0), (4, 12.0), (2, 9.0)], Some(2.5));
        // Two rows cannot be faster than one.
        let times = [1, 2, 3, 4, 6, 8, 10].map(|rows| profile.target_ms(rows));
        assert_eq!(times, [9.0, 9.0, 10.5, 12.0, 16.0, 20.0, 24.0]);
        assert_eq!((profile.verify_cost(8), profile.draft_cost()), (20.0 / 9.0, 2.5 / 9.0));
    }

    #[test]
    fn a_width_that_the_machine_held_up_does_not_make_others_dear() {
        let profile = CostProfile::new(vec![(1, 1.0), (2, 3.0), (4, 1.2), (8, 1.5)], None);
        assert_eq!([1, 2, 4, 8].map(|rows| profile.verify_cost(rows)), [1.0, 1.2, 1.2, 1.5]);
    }

    #[test]
    fn little_is_enough_and_nonsense_is_left_out() {
        assert_eq!(CostProfile::new(vec![(2, 4.0)], None).target_ms(5), 10.0);
        let profile = CostProfile::new(vec![(1, f64::NAN), (0, 3.0), (4, -1.0)], Some(f64::INFINITY));
        assert_eq!((profile.target_ms(3), profile.drafter_ms()), (3.0, None));
    }

    #[test]
    fn a_profile_survives_json() {
        let profile = CostProfile::new(vec![(1, 10.0), (4, 12.0)], Some(2.5));
        let json = serde_json::to_string(&profile).unwrap();
        assert_eq!(serde_json::from_str::<CostProfile>(&json).unwrap(), profile);
        let falling = r#"{"target_ms":[[1,5.0],[2,3.0]],"drafter_ms":null}"#;
        assert_eq!(serde_json::from_str::<CostProfile>(falling).unwrap().target_ms(1), 3.0);
    }

    #[test]
    fn the_formulas() {
        assert!((block_efficiency(0.8, 3) - (1.0 - 0.8_f64.powi(4)) / 0.2).abs() < 1e-12);
        assert_eq!((block_efficiency(1.0, 5), block_efficiency(0.0, 5)), (6.0, 1.0));
        assert!((acceptance_for(block_efficiency(0.37, 4), 4) - 0.37).abs() < 1e-12);
        assert!(acceptance_for(9.0, 4) > 1.0 - 1e-12 && acceptance_for(1.0, 4) < 1e-12);
        assert!((speedup(0.8, 8, 0.05, 1.0, 0.0) - 3.09).abs() < 0.005);
        assert!((memory_bound_speedup(2.0, 3, 0.0164) - 1.906).abs() < 0.001);
    }

    proptest! {
        #[test]
        fn a_wider_pass_is_never_faster(
            points in prop::collection::vec((0_usize..40, -1.0_f64..50.0), 0..8), rows in 1_usize..60,
        ) {
            let profile = CostProfile::new(points, None);
            prop_assert!(profile.target_ms(rows) > 0.0);
            prop_assert!(profile.target_ms(rows + 1) >= profile.target_ms(rows));
        }
    }
}
