//! Random numbers addressed by seed, position, purpose and index, so that a replay with the same rounds draws the same ones.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a number is drawn for. Numbers of different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Sampling a token from the drafter.
    Draft,
    /// Keeping or rejecting a proposed token.
    Accept,
    /// Sampling the correction or the bonus.
    Next,
    /// Gumbel noise shared by drafter and target.
    Noise,
}

/// A source of random numbers without state: the same address gives the same number.
///
/// Except for [`Random::noise`], address by the **anchor's** position and the offset within the round, not by the
/// drafted token's own position: block verification looks at the numbers of rejected positions, so drawing them
/// again in the next round would bias it. A round always emits a token, so no two rounds share an anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random {
    seed: u64,
}

impl Random {
    /// A source for one generation.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A uniform number in [0, 1) with 53 random bits.
    pub fn uniform(&self, position: usize, purpose: Purpose, index: usize) -> f64 {
        unit(self.bits(position, purpose, index))
    }

    /// The noise of one position for every token, as [`Noise`] gives it.
    pub fn noise(&self, position: usize) -> Noise {
        Noise { key: self.bits(position, Purpose::Noise, 0) }
    }

    /// ChaCha8 with the seed as key, the position as stream, purpose and index as place in the stream.
    fn bits(&self, position: usize, purpose: Purpose, index: usize) -> u64 {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        let mut stream = ChaCha8Rng::from_seed(key);
        stream.set_stream(position as u64);
        stream.set_word_pos(((purpose as u128) << 32) + 2 * index as u128);
        stream.next_u64()
    }
}

/// Independent noise for every token at one position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noise {
    key: u64,
}

impl Noise {
    /// A uniform number in (0, 1), the token's own: SplitMix64 (Steele et al., 2014) seeded with the position's key.
    pub fn uniform(&self, token: u32) -> f64 {
        let mut z = self.key.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(token) + 1));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        unit(z ^ (z >> 31)) + f64::EPSILON / 4.0
    }

    /// Standard Gumbel noise −ln(−ln u); argmax of ln p + noise is a sample of p.
    pub fn gumbel(&self, token: u32) -> f64 {
        -(-self.uniform(token).ln()).ln()
    }
}

fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (f64::EPSILON / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_always_gives_the_same_number_and_neighbours_differ() {
        let random = Random::new(7);
        let first = random.uniform(3, Purpose::Draft, 1);
        assert_eq!(first, Random::new(7).uniform(3, Purpose::Draft, 1));
        for other in [
            Random::new(8).uniform(3, Purpose::Draft, 1),
            random.uniform(4, Purpose::Draft, 1),
            random.uniform(3, Purpose::Accept, 1),
            random.uniform(3, Purpose::Draft, 2),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn uniforms_fill_the_unit_interval_evenly() {
        let random = Random::new(1);
        let noise = random.noise(0);
        let mut bins = [[0_u32; 20]; 3];
        for i in 0..20_000 {
            bins[0][(random.uniform(i, Purpose::Accept, 0) * 20.0) as usize] += 1;
            bins[1][(random.uniform(0, Purpose::Accept, i) * 20.0) as usize] += 1;
            bins[2][(noise.uniform(i as u32) * 20.0) as usize] += 1;
        }
        for bin in bins {
            let chi2: f64 = bin.iter().map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0).sum();
            assert!(chi2 < 50.0, "chi-square {chi2} with 19 degrees of freedom");
        }
    }

    #[test]
    fn noise_has_the_mean_and_variance_of_a_gumbel() {
        let (mut sum, mut squares) = (0.0, 0.0);
        let count = 100_000;
        for i in 0..count {
            let g = Random::new(5).noise(i / 1000).gumbel((i % 1000) as u32);
            sum += g;
            squares += g * g;
        }
        let mean = sum / count as f64;
        let variance = squares / count as f64 - mean * mean;
        assert!((mean - 0.5772).abs() < 0.02, "mean {mean}");
        assert!((variance - 1.6449).abs() < 0.05, "variance {variance}");
    }
}
