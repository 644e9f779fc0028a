//! Random weights: for shapes, speed and tests, never a model that knows anything.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::weights::{LayerWeights, Linear, Weights};
use crate::{DecoderConfig, Result};

/// Numbers that depend on the seed alone, on every machine.
pub struct Random(ChaCha8Rng);

impl Random {
    /// Starts the sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Uniform with mean 0 and the given standard deviation.
    pub fn value(&mut self, deviation: f32) -> f32 {
        let unit = (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32;
        (2.0 * unit - 1.0) * deviation * 3f32.sqrt()
    }

    /// `len` values of [`Self::value`].
    pub fn values(&mut self, len: usize, deviation: f32) -> Vec<f32> {
        (0..len).map(|_| self.value(deviation)).collect()
    }

    fn linear(&mut self, out_len: usize, in_len: usize, bias: bool) -> Linear {
        let weight = self.values(out_len * in_len, 1.0 / (in_len as f32).sqrt());
        Linear { weight, bias: bias.then(|| self.values(out_len, 0.1)) }
    }

    fn norm(&mut self, len: usize, offset: f32) -> Vec<f32> {
        self.values(len, 0.1).into_iter().map(|value| 1.0 - offset + value).collect()
    }
}

/// What random weights have besides the projections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Biases on query, key and value.
    pub biases: bool,
    /// Norms on query and key heads.
    pub head_norms: bool,
    /// The head is the embedding.
    pub tied: bool,
}

impl Weights {
    /// Random weights of unit gain per projection; `logit_deviation` is roughly the spread of the logits.
    ///
    /// # Errors
    /// `Config` if the configuration describes no model.
    pub fn random(config: &DecoderConfig, extras: Extras, logit_deviation: f32, seed: u64) -> Result<Self> {
        config.check()?;
        let random = &mut Random::new(seed);
        let hidden = config.hidden_len;
        let head_deviation = logit_deviation / (hidden as f32).sqrt();
        let tied_deviation = if extras.tied { head_deviation } else { 1.0 };
        let embedding = random.values(config.vocab_len * hidden, tied_deviation);
        let layers = (0..config.layer_count).map(|_| LayerWeights::random(config, extras, random)).collect();
        let final_norm = random.norm(hidden, config.norm_offset);
        let head = (!extras.tied).then(|| random.values(config.head_vocab_len * hidden, head_deviation));
        Ok(Self { embedding, layers, final_norm, head })
    }
}

impl LayerWeights {
    fn random(config: &DecoderConfig, extras: Extras, random: &mut Random) -> Self {
        let (hidden, ffn, offset) = (config.hidden_len, config.ffn_len, config.norm_offset);
        Self {
            attention_norm: random.norm(hidden, offset),
            query: random.linear(config.query_len(), hidden, extras.biases),
            key: random.linear(config.kv_len(), hidden, extras.biases),
            value: random.linear(config.kv_len(), hidden, extras.biases),
            output: random.linear(hidden, config.query_len(), false),
            query_norm: extras.head_norms.then(|| random.norm(config.head_len, offset)),
            key_norm: extras.head_norms.then(|| random.norm(config.head_len, offset)),
            ffn_norm: random.norm(hidden, offset),
            gate: random.linear(ffn, hidden, false),
            up: random.linear(ffn, hidden, false),
            down: random.linear(hidden, ffn, false),
        }
    }
}
