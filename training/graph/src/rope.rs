//! Rotary position embedding: the tables, and the row order that makes adjacent pairs into halves.

use std::f32::consts::TAU;

use crate::config::{DecoderConfig, Rope, RopeScaling};

impl Rope {
    /// Angle per position of each of the `head_len / 2` pairs.
    ///
    /// Scaling follows the Llama 3.1 reference: with wavelength `λ = 2π/f`, blend
    /// `s = (L/λ − low) / (high − low)` and `f' = (1 − s)·f/factor + s·f` between the two limits.
    #[must_use]
    pub fn frequencies(&self, head_len: usize) -> Vec<f32> {
        let plain = (0..head_len / 2)
            .map(|pair| (1.0 / f64::from(self.theta).powf(2.0 * pair as f64 / head_len as f64)) as f32);
        plain.map(|frequency| self.scaling.apply(frequency)).collect()
    }
}

impl RopeScaling {
    fn apply(&self, frequency: f32) -> f32 {
        match *self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context_len } => {
                let turns = original_context_len as f32 * frequency / TAU;
                let blend = (turns - low_frequency_factor) / (high_frequency_factor - low_frequency_factor);
                let blend = blend.clamp(0.0, 1.0);
                (1.0 - blend) * frequency / factor + blend * frequency
            }
        }
    }
}

/// Cosines and sines, each `[context_len_max, head_len / 2]`.
pub(crate) type Tables = (Vec<f32>, Vec<f32>);

/// Tables of `frequencies`; pairs of the head beyond them do not turn.
pub(crate) fn tables(config: &DecoderConfig, frequencies: &[f32]) -> Tables {
    let pairs = || frequencies.iter().copied().chain(std::iter::repeat(0.0)).take(config.head_len / 2);
    let angles = || {
        (0..config.context_len_max)
            .flat_map(|position| pairs().map(move |frequency| position as f64 * f64::from(frequency)))
    };
    (angles().map(|angle| angle.cos() as f32).collect(), angles().map(|angle| angle.sin() as f32).collect())
}

/// Reorders the rows of `[heads · head_len, columns]` so that pairs `(2i, 2i+1)` of a head come to lie at
/// `(i, i + head_len/2)`.
///
/// Query and key rows are reordered alike, so their products, and with them the function, stay what they were.
pub(crate) fn pairs_to_halves(rows: &[f32], head_len: usize, columns: usize) -> Vec<f32> {
    let mut reordered = Vec::with_capacity(rows.len());
    for head in rows.chunks_exact(head_len * columns) {
        for parity in 0..2 {
            for pair in 0..head_len / 2 {
                let row = 2 * pair + parity;
                reordered.extend_from_slice(&head[row * columns..(row + 1) * columns]);
            }
        }
    }
    reordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_fall_from_one() {
        let rope = Rope { theta: 10_000.0, interleaved: false, scaling: RopeScaling::None };
        let frequencies = rope.frequencies(4);
        assert_eq!(frequencies[0], 1.0);
        assert!((frequencies[1] - 0.01).abs() < 1e-9);
    }

    #[test]
    fn llama3_keeps_high_and_divides_low() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_context_len: 8192,
        };
        assert_eq!(scaling.apply(1.0), 1.0);
        assert_eq!(scaling.apply(1e-6), 1e-6 / 8.0);
        let between = TAU * 2.0 / 8192.0;
        assert!(scaling.apply(between) < between && scaling.apply(between) > between / 8.0);
    }

    #[test]
    fn rows_of_a_head_are_sorted_by_parity() {
        let rows: Vec<f32> = (0..8).map(|row| row as f32).collect();
        assert_eq!(pairs_to_halves(&rows, 4, 1), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    }
}
