//! The decoder written plainly in f32 without a cache: what every graph is tested against.

use crate::config::{Activation, DecoderConfig};
use crate::weights::{LayerWeights, Linear, Weights};

/// Logits `[tokens.len(), head_vocab_len]` of a sequence that starts with `tokens`; row `i` predicts token `i + 1`.
///
/// Reads weights as they are given: shapes must have passed [`Weights::check`].
///
/// # Panics
/// If a token lies outside the vocabulary.
#[must_use]
pub fn logits(config: &DecoderConfig, weights: &Weights, tokens: &[u32]) -> Vec<f32> {
    let hidden = hidden_states(config, weights, tokens);
    matmul(&hidden, weights.head(), config.hidden_len)
}

/// What the head reads, after the final norm: `[tokens.len(), hidden_len]`.
///
/// # Panics
/// If a token lies outside the vocabulary.
#[must_use]
pub fn hidden_states(config: &DecoderConfig, weights: &Weights, tokens: &[u32]) -> Vec<f32> {
    hidden_states_observed(config, weights, tokens, &mut |_, _, _| {})
}

/// A projection of a layer that reads an input of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// Query, key and value.
    Attention,
    /// Attention's output projection.
    Output,
    /// Gate and up.
    FeedForward,
    /// Down.
    Down,
    /// The head; its layer is the number of layers.
    Head,
}

/// [`hidden_states`], showing what each projection reads: `observe(layer, site, rows)`.
///
/// # Panics
/// If a token lies outside the vocabulary.
pub fn hidden_states_observed(
    config: &DecoderConfig,
    weights: &Weights,
    tokens: &[u32],
    observe: &mut dyn FnMut(usize, Site, &[f32]),
) -> Vec<f32> {
    let width = config.hidden_len;
    let rows = tokens.iter().flat_map(|&token| &weights.embedding[token as usize * width..][..width]);
    let mut hidden: Vec<f32> = rows.map(|value| value * config.embedding_scale).collect();
    for (index, layer) in weights.layers.iter().enumerate() {
        let normed = norm(config, &hidden, &layer.attention_norm);
        observe(index, Site::Attention, &normed);
        let mixed = attention(config, layer, &normed);
        observe(index, Site::Output, &mixed);
        add(&mut hidden, &linear(&layer.output, &mixed, config.query_len()));
        let normed = norm(config, &hidden, &layer.ffn_norm);
        observe(index, Site::FeedForward, &normed);
        let gated = gated(config, layer, &normed);
        observe(index, Site::Down, &gated);
        add(&mut hidden, &linear(&layer.down, &gated, config.ffn_len));
    }
    let normed = norm(config, &hidden, &weights.final_norm);
    observe(weights.layers.len(), Site::Head, &normed);
    normed
}

/// Token with the largest logit of each row of `[rows, width]`; the first of equals.
#[must_use]
pub fn argmax(logits: &[f32], width: usize) -> Vec<u32> {
    let best = |row: &[f32]| (0..width).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0) as u32;
    logits.chunks_exact(width).map(best).collect()
}

/// The prompt and `count` greedy tokens after it.
///
/// # Panics
/// If the prompt is empty or a token lies outside the vocabulary.
#[must_use]
pub fn greedy(config: &DecoderConfig, weights: &Weights, prompt: &[u32], count: usize) -> Vec<u32> {
    assert!(!prompt.is_empty(), "a prompt has at least one token");
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        let hidden = hidden_states(config, weights, &tokens);
        let last = matmul(&hidden[hidden.len() - config.hidden_len..], weights.head(), config.hidden_len);
        tokens.extend(argmax(&last, config.head_vocab_len));
    }
    tokens
}

fn attention(config: &DecoderConfig, layer: &LayerWeights, x: &[f32]) -> Vec<f32> {
    let (head_len, hidden) = (config.head_len, config.hidden_len);
    let rows = x.len() / hidden;
    let mut query = linear(&layer.query, x, hidden);
    let mut key = linear(&layer.key, x, hidden);
    let value = linear(&layer.value, x, hidden);
    for (heads, norm_weight) in [(&mut query, &layer.query_norm), (&mut key, &layer.key_norm)] {
        if let Some(weight) = norm_weight {
            *heads = norm(config, heads, weight);
        }
        let width = heads.len() / rows;
        for (position, row) in heads.chunks_exact_mut(width).enumerate() {
            row.chunks_exact_mut(head_len).for_each(|head| rotate(config, head, position));
        }
    }
    let group = config.head_count / config.kv_head_count;
    let mut mixed = vec![0.0; rows * config.query_len()];
    for row in 0..rows {
        for head in 0..config.head_count {
            let start = (row * config.head_count + head) * head_len;
            let kv = |position: usize| (position * config.kv_head_count + head / group) * head_len;
            let query = &query[start..start + head_len];
            let score = |position| dot(query, &key[kv(position)..][..head_len]) * config.attention_scale();
            let shares = softmax((0..=row).map(score).collect());
            for (position, share) in shares.into_iter().enumerate() {
                let out = &mut mixed[start..start + head_len];
                out.iter_mut().zip(&value[kv(position)..]).for_each(|(out, value)| *out += share * value);
            }
        }
    }
    mixed
}

fn rotate(config: &DecoderConfig, head: &mut [f32], position: usize) {
    let half = head.len() / 2;
    for (pair, frequency) in config.rope.frequencies(config.head_len).into_iter().enumerate() {
        let (sin, cos) = (position as f64 * f64::from(frequency)).sin_cos();
        let (sin, cos) = (sin as f32, cos as f32);
        let (a, b) = if config.rope.interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + half) };
        (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[b] * cos + head[a] * sin);
    }
}

fn gated(config: &DecoderConfig, layer: &LayerWeights, x: &[f32]) -> Vec<f32> {
    let gate = linear(&layer.gate, x, config.hidden_len);
    let up = linear(&layer.up, x, config.hidden_len);
    gate.into_iter().zip(up).map(|(gate, up)| activation(config.activation, gate) * up).collect()
}

fn activation(kind: Activation, x: f32) -> f32 {
    match kind {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
    }
}

/// RMS norm of each row as wide as `weight`.
fn norm(config: &DecoderConfig, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let row = |row: &[f32]| {
        let factor = 1.0 / (dot(row, row) / row.len() as f32 + config.norm_epsilon).sqrt();
        row.iter().zip(weight).map(|(x, w)| x * factor * (w + config.norm_offset)).collect::<Vec<_>>()
    };
    x.chunks_exact(weight.len()).flat_map(row).collect()
}

fn softmax(mut scores: Vec<f32>) -> Vec<f32> {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|score| *score = (*score - max).exp());
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
    scores
}

fn linear(projection: &Linear, x: &[f32], in_len: usize) -> Vec<f32> {
    let mut y = matmul(x, &projection.weight, in_len);
    if let Some(bias) = &projection.bias {
        y.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias));
    }
    y
}

/// `[rows, out]` from `x` `[rows, in]` and `weight` `[out, in]`.
fn matmul(x: &[f32], weight: &[f32], in_len: usize) -> Vec<f32> {
    x.chunks_exact(in_len).flat_map(|row| weight.chunks_exact(in_len).map(move |column| dot(row, column))).collect()
}

fn add(to: &mut [f32], addend: &[f32]) {
    to.iter_mut().zip(addend).for_each(|(to, addend)| *to += addend);
}

/// Sum of products in eight running sums, so that the compiler may use vectors.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}
