//! Ranges of activations on real text, and the smoothing that makes them easier to quantise.

use crate::reference::{Site, hidden_states_observed};
use crate::weights::{Linear, Weights};
use crate::{DecoderConfig, Error, Result};

/// Largest magnitude that each projection reads.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationRanges {
    /// One entry per layer: inputs of query/key/value, output, gate/up and down.
    pub layers: Vec<[f32; 4]>,
    /// Input of the head.
    pub head: f32,
}

impl ActivationRanges {
    /// Range at `site`; `None` if there is no such layer.
    #[must_use]
    pub fn of(&self, layer: usize, site: Site) -> Option<f32> {
        match site {
            Site::Head => Some(self.head),
            _ => self.layers.get(layer).map(|ranges| ranges[place(site)]),
        }
    }
}

/// Place of a site in the arrays of a layer; the head counts as the first site of a layer of its own.
fn place(site: Site) -> usize {
    match site {
        Site::Attention | Site::Head => 0,
        Site::Output => 1,
        Site::FeedForward => 2,
        Site::Down => 3,
    }
}

/// Runs the model over `texts` and moves the spread of its activations into its weights.
///
/// Returns weights of the same function and the ranges that they see. Channel `c` of a projection's input is divided
/// by `s = max|x|^smoothing / max|w|^(1 - smoothing)` and the projection's column multiplied by it, as in SmoothQuant
/// (Xiao et al., 2023); every divisor goes into the weights before: a norm, the value projection, the up projection.
/// `smoothing` 0.5 is usual, and `None` leaves the weights alone. The head's input is never smoothed, for the head may
/// be the embedding.
///
/// # Errors
/// `Config` or `Shape` if weights and configuration do not fit; `Option` if `texts` holds no token, a token outside the
/// vocabulary or a text longer than the context.
pub fn calibrate(
    config: &DecoderConfig,
    weights: &Weights,
    texts: &[Vec<u32>],
    smoothing: Option<f32>,
) -> Result<(Weights, ActivationRanges)> {
    weights.check(config)?;
    check_texts(config, texts)?;
    let mut channels = ChannelMaxima::observe(config, weights, texts);
    let mut weights = weights.clone();
    if let Some(strength) = smoothing {
        for (index, maxima) in channels.layers.iter_mut().take(config.layer_count).enumerate() {
            smooth_layer(config, &mut weights, index, maxima, strength);
        }
    }
    let max = |channels: &Vec<f32>| channels.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let head = max(&channels.layers[config.layer_count][0]);
    let layers = channels.layers[..config.layer_count].iter().map(|sites| sites.each_ref().map(max)).collect();
    Ok((weights, ActivationRanges { layers, head }))
}

fn check_texts(config: &DecoderConfig, texts: &[Vec<u32>]) -> Result<()> {
    let fail = |reason: String| Err(Error::Option { option: "calibration texts", reason });
    if texts.iter().all(Vec::is_empty) {
        return fail("there is no token to calibrate on".into());
    }
    for (index, text) in texts.iter().enumerate() {
        if text.len() > config.context_len_max {
            return fail(format!(
                "text {index} has {} tokens, the context holds {}",
                text.len(),
                config.context_len_max
            ));
        }
        if let Some(token) = text.iter().find(|&&token| token as usize >= config.vocab_len) {
            return fail(format!("text {index} holds token {token}, the vocabulary has {}", config.vocab_len));
        }
    }
    Ok(())
}

/// Largest magnitude per channel: `[site]` of each layer, then of the head.
struct ChannelMaxima {
    layers: Vec<[Vec<f32>; 4]>,
}

impl ChannelMaxima {
    fn observe(config: &DecoderConfig, weights: &Weights, texts: &[Vec<u32>]) -> Self {
        let widths = [config.hidden_len, config.query_len(), config.hidden_len, config.ffn_len];
        let mut layers = vec![widths.map(|width| vec![0.0f32; width]); config.layer_count + 1];
        for text in texts.iter().filter(|text| !text.is_empty()) {
            hidden_states_observed(config, weights, text, &mut |layer, site, rows| {
                let maxima = &mut layers[layer][place(site)];
                for row in rows.chunks_exact(maxima.len()) {
                    maxima.iter_mut().zip(row).for_each(|(max, value)| *max = max.max(value.abs()));
                }
            });
        }
        Self { layers }
    }
}

fn smooth_layer(
    config: &DecoderConfig,
    weights: &mut Weights,
    index: usize,
    maxima: &mut [Vec<f32>; 4],
    strength: f32,
) {
    let layer = &mut weights.layers[index];
    let factors = |maxima: &[f32], readers: &[&Linear]| {
        let columns = column_maxima(readers, maxima.len());
        maxima.iter().zip(columns).map(|(&input, column)| factor(input, column, strength)).collect::<Vec<_>>()
    };
    let attention = factors(&maxima[0], &[&layer.query, &layer.key, &layer.value]);
    divide_norm(&mut layer.attention_norm, &attention, config.norm_offset);
    [&mut layer.query, &mut layer.key, &mut layer.value].into_iter().for_each(|part| part.scale_columns(&attention));

    // Query heads that share a value head share its factors.
    let mut shared_maxima = vec![0.0f32; config.kv_len()];
    let mut shared_columns = vec![0.0f32; config.kv_len()];
    let columns = column_maxima(&[&layer.output], config.query_len());
    let value_channel = |channel: usize| {
        let group = config.head_count / config.kv_head_count;
        channel / config.head_len / group * config.head_len + channel % config.head_len
    };
    for channel in 0..config.query_len() {
        let value = value_channel(channel);
        shared_maxima[value] = shared_maxima[value].max(maxima[1][channel]);
        shared_columns[value] = shared_columns[value].max(columns[channel]);
    }
    let value: Vec<f32> =
        shared_maxima.iter().zip(&shared_columns).map(|(&input, &column)| factor(input, column, strength)).collect();
    let output: Vec<f32> = (0..config.query_len()).map(|channel| value[value_channel(channel)]).collect();
    layer.value.divide_rows(&value, config.hidden_len);
    layer.output.scale_columns(&output);

    let feed_forward = factors(&maxima[2], &[&layer.gate, &layer.up]);
    divide_norm(&mut layer.ffn_norm, &feed_forward, config.norm_offset);
    [&mut layer.gate, &mut layer.up].into_iter().for_each(|part| part.scale_columns(&feed_forward));

    let down = factors(&maxima[3], &[&layer.down]);
    layer.up.divide_rows(&down, config.hidden_len);
    layer.down.scale_columns(&down);

    for (maxima, factors) in maxima.iter_mut().zip([attention, output, feed_forward, down]) {
        maxima.iter_mut().zip(factors).for_each(|(max, factor)| *max /= factor);
    }
}

fn factor(input: f32, column: f32, strength: f32) -> f32 {
    let factor = input.powf(strength) / column.powf(1.0 - strength);
    if factor.is_finite() && factor > 1e-5 { factor } else { 1.0 }
}

/// Largest magnitude in each column of several projections of one input.
fn column_maxima(readers: &[&Linear], columns: usize) -> Vec<f32> {
    let mut maxima = vec![0.0f32; columns];
    for row in readers.iter().flat_map(|reader| reader.weight.chunks_exact(columns)) {
        maxima.iter_mut().zip(row).for_each(|(max, weight)| *max = max.max(weight.abs()));
    }
    maxima
}

fn divide_norm(norm: &mut [f32], factors: &[f32], offset: f32) {
    norm.iter_mut().zip(factors).for_each(|(weight, factor)| *weight = (*weight + offset) / factor - offset);
}

impl Linear {
    fn scale_columns(&mut self, factors: &[f32]) {
        for row in self.weight.chunks_exact_mut(factors.len()) {
            row.iter_mut().zip(factors).for_each(|(weight, factor)| *weight *= factor);
        }
    }

    fn divide_rows(&mut self, factors: &[f32], in_len: usize) {
        for (row, factor) in self.weight.chunks_exact_mut(in_len).zip(factors) {
            row.iter_mut().for_each(|weight| *weight /= factor);
        }
        if let Some(bias) = &mut self.bias {
            bias.iter_mut().zip(factors).for_each(|(bias, factor)| *bias /= factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Extras;
    use crate::reference::logits;

    #[test]
    fn smoothing_keeps_the_function_and_narrows_the_ranges() {
        let config = DecoderConfig { kv_head_count: 2, norm_offset: 1.0, ..DecoderConfig::llama(50, 32, 48, 2, 4) };
        let extras = Extras { biases: true, tied: true, ..Extras::default() };
        let mut weights = Weights::random(&config, extras, 3.0, 5).unwrap();
        weights.layers[0].attention_norm[3] += 20.0;
        let text: Vec<u32> = (0..30).map(|index| index * 7 % 50).collect();
        let (_, rough) = calibrate(&config, &weights, std::slice::from_ref(&text), None).unwrap();
        let (smooth, ranges) = calibrate(&config, &weights, std::slice::from_ref(&text), Some(0.5)).unwrap();
        let (before, after) = (logits(&config, &weights, &text), logits(&config, &smooth, &text));
        let difference = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-3, "{difference}");
        assert!(ranges.layers[0][0] < rough.layers[0][0] / 3.0, "{ranges:?} {rough:?}");
        let (_, again) = calibrate(&config, &smooth, &[text], None).unwrap();
        let pairs = again.layers.iter().flatten().zip(ranges.layers.iter().flatten());
        assert!(pairs.into_iter().all(|(a, b)| (a / b - 1.0).abs() < 1e-3), "{again:?} {ranges:?}");
    }

    #[test]
    fn refuses_texts_that_the_model_cannot_read() {
        let config = DecoderConfig { context_len_max: 8, ..DecoderConfig::llama(50, 32, 48, 1, 4) };
        let weights = Weights::random(&config, Extras::default(), 3.0, 5).unwrap();
        for texts in [vec![], vec![vec![]], vec![vec![50]], vec![vec![1; 9]]] {
            assert!(matches!(calibrate(&config, &weights, &texts, None), Err(Error::Option { .. })), "{texts:?}");
        }
    }
}
