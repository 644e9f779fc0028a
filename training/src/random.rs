//! Random numbers that depend on a seed and a name only, on every backend alike.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of random numbers keyed by a seed and two counters, so that any step can be replayed alone.
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of (`seed`, `a`, `b`): for example run seed, step and row.
    pub fn new(seed: u64, a: u64, b: u64) -> Self {
        let mut key = [0u8; 32];
        for (slot, value) in key.chunks_exact_mut(8).zip([seed, a, b, 0x6472_6166_7468_6f72]) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..len`; 0 if `len` is 0.
    pub fn below(&mut self, len: usize) -> usize {
        ((self.uniform() * len as f64) as usize).min(len.saturating_sub(1))
    }

    /// Standard normal, by Box and Muller's method.
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.uniform()).cos()) as f32
    }

    /// Index drawn in proportion to `weights`, which are not negative; 0 if none is positive.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.uniform() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_replays_and_differs_by_key() {
        let draw = |a, b| Stream::new(1, a, b).uniform();
        assert_eq!(draw(2, 3), draw(2, 3));
        assert_ne!(draw(2, 3), draw(3, 2));
    }

    #[test]
    fn normal_has_mean_zero_and_variance_one() {
        let mut stream = Stream::new(7, 0, 0);
        let draws: Vec<f64> = (0..20_000).map(|_| f64::from(stream.normal())).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }

    #[test]
    fn weighted_follows_the_weights() {
        let mut stream = Stream::new(7, 1, 0);
        let hits = (0..10_000).filter(|_| stream.weighted(&[1.0, 0.0, 3.0]) == 2).count();
        assert!((7_200..7_800).contains(&hits), "{hits}");
    }
}
