//! Complete folders with tiny random models, for tests: made anew in a temporary folder by each test that needs one.
//!
//! The weights are random; the models know nothing. `tests/fixtures/README.md` lists shapes and seeds.

use std::fs;
use std::path::Path;

use crate::error::at;
use crate::folder::{self, Model, SpecialTokens};
use crate::options::{FloatType, GraphOptions, Layout, Precision, WeightFormat};
use crate::random::Extras;
use crate::tokenizer_fixture;
use crate::weights::Weights;
use crate::{DecoderConfig, InflatedSize, Result, inflate};

/// Seed of [`RandomPair::small`].
pub const SEED: u64 = 20_261_121;
/// How much the target's layers beyond the drafter's move its residual stream, against layers of full weight.
const LATER_LAYERS_GAIN: f32 = 0.35;

/// A random target and a drafter that guesses it often and not always: the drafter is the target without its last
/// layers, which are weak.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomPair {
    /// Shape of the target.
    pub target_config: DecoderConfig,
    /// Its weights.
    pub target: Weights,
    /// Shape of the drafter.
    pub drafter_config: DecoderConfig,
    /// Its weights.
    pub drafter: Weights,
}

impl RandomPair {
    /// Vocabulary 300, width 64, two layers in the target and one in the drafter, context 256.
    ///
    /// # Errors
    /// None in practice; the configuration is checked as any other.
    pub fn small() -> Result<Self> {
        let config = DecoderConfig {
            kv_head_count: 2,
            context_len_max: 256,
            ..DecoderConfig::llama(tokenizer_fixture::VOCAB_LEN, 64, 128, 2, 4)
        };
        Self::new(config, 1, SEED)
    }

    /// A target of 110M-parameter work per token and a drafter of 4.3M: vocabulary 32,000, context 2,048.
    ///
    /// The target is a random model of width 128 and two layers, inflated to the shape of a 134M one (width 768, twelve
    /// layers): it costs what such a model costs, and the drafter guesses it as in [`Self::small`]. Takes 1.1 GB while
    /// it is made.
    ///
    /// # Errors
    /// None in practice; the configuration is checked as any other.
    pub fn large() -> Result<Self> {
        let config = DecoderConfig { head_len: 64, ..DecoderConfig::llama(32_000, 128, 384, 2, 2) };
        let mut pair = Self::new(config, 1, SEED)?;
        let size = InflatedSize { hidden_len: 768, ffn_len: 2048, kv_head_count: 12, layer_count: 12 };
        (pair.target_config, pair.target) = inflate(&pair.target_config, &pair.target, size)?;
        Ok(pair)
    }

    /// A pair of `config` whose drafter has the first `drafter_layer_count` layers.
    ///
    /// # Errors
    /// `Config` if `config` describes no model.
    pub fn new(config: DecoderConfig, drafter_layer_count: usize, seed: u64) -> Result<Self> {
        let mut target = Weights::random(&config, Extras::default(), 3.0, seed)?;
        for layer in target.layers.iter_mut().skip(drafter_layer_count) {
            let projections = [&mut layer.output, &mut layer.down];
            projections.into_iter().flat_map(|part| &mut part.weight).for_each(|weight| *weight *= LATER_LAYERS_GAIN);
        }
        let mut drafter = target.clone();
        drafter.layers.truncate(drafter_layer_count);
        let drafter_config = DecoderConfig { layer_count: drafter.layers.len(), ..config.clone() };
        Ok(Self { target_config: config, target, drafter_config, drafter })
    }

    /// Writes an onnxruntime-genai folder with `model.onnx`, `drafter.onnx`, tokenizer and configuration.
    ///
    /// # Errors
    /// `Io` if a file cannot be written, `Option` if the options do not fit.
    pub fn write_genai(&self, folder: &Path, options: &GraphOptions) -> Result<()> {
        fs::create_dir_all(folder).map_err(at(folder))?;
        let target = Model { config: &self.target_config, weights: &self.target, options };
        let drafter = Model { config: &self.drafter_config, weights: &self.drafter, options };
        folder::write_genai(folder, target, Some((drafter, 4)), &special_tokens())?;
        tokenizer_fixture::write(folder, self.target_config.vocab_len)
    }

    /// Writes the target alone as a Hugging Face folder with one `onnx/model{suffix}.onnx` per variant.
    ///
    /// # Errors
    /// `Io` if a file cannot be written, `Option` if the options do not fit.
    pub fn write_hugging_face(&self, folder: &Path, variants: &[(&str, GraphOptions)]) -> Result<()> {
        fs::create_dir_all(folder).map_err(at(folder))?;
        folder::write_hugging_face(folder, &self.target_config, &self.target, variants, &special_tokens())?;
        tokenizer_fixture::write(folder, self.target_config.vocab_len)
    }
}

/// Ends and fills texts of the fixtures.
#[must_use]
pub fn special_tokens() -> SpecialTokens {
    SpecialTokens { bos: None, eos: vec![tokenizer_fixture::END_OF_TEXT], pad: None }
}

/// Every layout with its name in folder names.
pub const LAYOUTS: [(&str, Layout); 2] =
    [("shared", Layout::Shared), ("growing", Layout::Growing { position_ids: true })];

/// Every precision with its name in folder names.
pub const PRECISIONS: [(&str, Precision); 5] = [
    ("fp32", Precision::FP32),
    ("fp16", Precision::FP16),
    ("int8", Precision::INT8),
    ("int4", Precision::INT4),
    ("int8x8", Precision::INT8X8),
];

/// Variants of the Hugging Face folder: file suffix and options.
#[must_use]
pub fn hugging_face_variants() -> Vec<(&'static str, GraphOptions)> {
    let growing = |precision| GraphOptions::new(Layout::Growing { position_ids: true }, precision);
    let int4 = WeightFormat::Int4 { block: 32 };
    vec![
        ("", growing(Precision::FP32)),
        ("_fp16", growing(Precision::FP16)),
        ("_int8", growing(Precision::INT8)),
        ("_q4", growing(Precision::INT4)),
        ("_q4f16", growing(Precision::uniform(int4, FloatType::F16))),
    ]
}

/// Writes every fixture below `out`: `genai-{layout}-{precision}` and `hugging-face`.
///
/// # Errors
/// `Io` if a file cannot be written.
pub fn write_all(out: &Path) -> Result<()> {
    let pair = RandomPair::small()?;
    for (layout_name, layout) in LAYOUTS {
        for (precision_name, precision) in PRECISIONS {
            let folder = out.join(format!("genai-{layout_name}-{precision_name}"));
            pair.write_genai(&folder, &GraphOptions::new(layout, precision))?;
        }
    }
    pair.write_hugging_face(&out.join("hugging-face"), &hugging_face_variants())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{argmax, greedy, logits};

    #[test]
    fn drafter_guesses_often_and_not_always() {
        let pair = RandomPair::small().unwrap();
        let (mut same, mut all) = (0, 0);
        for start in 0..8 {
            let text = greedy(&pair.target_config, &pair.target, &[start * 31 + 4], 40);
            let width = pair.target_config.vocab_len;
            let target = argmax(&logits(&pair.target_config, &pair.target, &text), width);
            let drafter = argmax(&logits(&pair.drafter_config, &pair.drafter, &text), width);
            same += target.iter().zip(&drafter).filter(|(a, b)| a == b).count();
            all += target.len();
        }
        let share = same as f64 / all as f64;
        assert!((0.6..0.95).contains(&share), "{share}");
    }
}
