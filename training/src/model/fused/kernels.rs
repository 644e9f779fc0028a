//! The kernels: plain loops over rows, written so that the compiler vectorises them.

use std::sync::Arc;

use super::op::{Array, Kernel, Saved};

/// See [`super::rms_norm`]. Saves the inverse root mean square of each row.
#[derive(Clone, Debug)]
pub(super) struct RmsNorm {
    pub(super) eps: f32,
}

impl Kernel<2> for RmsNorm {
    fn forward(&self, [x, weight]: &[Array; 2]) -> (Array, Vec<f32>) {
        let len = x.columns();
        let mut output = Vec::with_capacity(x.values().len());
        let mut inverses = Vec::with_capacity(x.values().len() / len);
        for row in x.values().chunks_exact(len) {
            let inverse = 1.0 / (sum_of_products(row, row) / len as f32 + self.eps).sqrt();
            output.extend(row.iter().zip(weight.values()).map(|(x, w)| x * inverse * w));
            inverses.push(inverse);
        }
        (Array::new(output, x.shape.clone()), inverses)
    }

    /// With y = x·i·w, i = (mean x² + ε)^−½: ∂x = i·(w·g) − x·i³/len·Σ w·g·x, ∂w = Σ_rows g·x·i.
    fn backward(&self, saved: &Saved<2>, gradient: &Array) -> [Array; 2] {
        let [x, weight] = &saved.inputs;
        let len = x.columns();
        let mut on_x = Vec::with_capacity(x.values().len());
        let mut on_weight = vec![0.0; len];
        let mut scaled = vec![0.0; len];
        let rows = x.values().chunks_exact(len).zip(gradient.values().chunks_exact(len)).zip(&saved.extra);
        for ((row, gradient), &inverse) in rows {
            for ((scaled, g), w) in scaled.iter_mut().zip(gradient).zip(weight.values()) {
                *scaled = g * w;
            }
            let pull = sum_of_products(&scaled, row) * inverse * inverse * inverse / len as f32;
            on_x.extend(scaled.iter().zip(row).map(|(scaled, x)| scaled * inverse - x * pull));
            for ((sum, g), x) in on_weight.iter_mut().zip(gradient).zip(row) {
                *sum += g * x * inverse;
            }
        }
        [Array::new(on_x, x.shape.clone()), Array::new(on_weight, weight.shape.clone())]
    }
}

/// See [`super::swiglu`].
#[derive(Clone, Debug)]
pub(super) struct SwiGlu;

impl Kernel<2> for SwiGlu {
    fn forward(&self, [gate, up]: &[Array; 2]) -> (Array, Vec<f32>) {
        let output = gate.values().iter().zip(up.values()).map(|(&g, u)| g * sigmoid(g) * u).collect();
        (Array::new(output, gate.shape.clone()), Vec::new())
    }

    /// With s = σ(gate): ∂up = g·gate·s, ∂gate = g·up·s·(1 + gate·(1 − s)).
    fn backward(&self, saved: &Saved<2>, gradient: &Array) -> [Array; 2] {
        let [gate, up] = &saved.inputs;
        let sigmoids: Vec<f32> = gate.values().iter().map(|&g| sigmoid(g)).collect();
        let each = || gate.values().iter().zip(up.values()).zip(gradient.values()).zip(&sigmoids);
        let on_gate = each().map(|(((gate, up), g), s)| g * up * s * (1.0 + gate * (1.0 - s))).collect();
        let on_up = each().map(|(((gate, _), g), s)| g * gate * s).collect();
        [Array::new(on_gate, gate.shape.clone()), Array::new(on_up, up.shape.clone())]
    }
}

/// See [`super::causal_softmax`].
#[derive(Clone, Debug)]
pub(super) struct CausalSoftmax;

impl Kernel<1> for CausalSoftmax {
    fn forward(&self, [scores]: &[Array; 1]) -> (Array, Vec<f32>) {
        let seq = scores.columns();
        let mut output = Vec::with_capacity(scores.values().len());
        for (index, row) in scores.values().chunks_exact(seq).enumerate() {
            let seen = &row[..=index % seq];
            let max = seen.iter().fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
            let start = output.len();
            output.extend(seen.iter().map(|x| exp(x - max)));
            let inverse = 1.0 / sum(&output[start..]);
            output[start..].iter_mut().for_each(|x| *x *= inverse);
            output.resize(start + seq, 0.0);
        }
        (Array::new(output, scores.shape.clone()), Vec::new())
    }

    /// With y the softmax: ∂x = y·(g − Σ g·y).
    fn backward(&self, saved: &Saved<1>, gradient: &Array) -> [Array; 1] {
        let seq = gradient.columns();
        let mut on_scores = Vec::with_capacity(gradient.values().len());
        let rows = saved.output.values().chunks_exact(seq).zip(gradient.values().chunks_exact(seq));
        for (index, (output, gradient)) in rows.enumerate() {
            let len = index % seq + 1;
            let mean = sum_of_products(&output[..len], &gradient[..len]);
            on_scores.extend(output[..len].iter().zip(gradient).map(|(y, g)| y * (g - mean)));
            on_scores.resize((index + 1) * seq, 0.0);
        }
        [Array::new(on_scores, gradient.shape.clone())]
    }
}

/// See [`super::Rotation::apply`].
#[derive(Clone, Debug)]
pub(super) struct Rotate {
    pub(super) tables: Arc<(Vec<f32>, Vec<f32>)>,
    pub(super) seq: usize,
    pub(super) heads: usize,
}

impl Kernel<1> for Rotate {
    fn forward(&self, [x]: &[Array; 1]) -> (Array, Vec<f32>) {
        let head_len = x.columns() / self.heads;
        let mut output = vec![0.0; x.values().len()];
        self.each(x.values().len(), head_len, |packed, split, cos, sin| {
            let (from, to) = (&x.values()[packed..packed + head_len], &mut output[split..split + head_len]);
            rotate(from, to, cos, sin, 1.0);
        });
        let batch = x.values().len() / (self.seq * x.columns());
        (Array::new(output, vec![batch, self.heads, self.seq, head_len]), Vec::new())
    }

    /// The gradient turns back by the same angle.
    fn backward(&self, saved: &Saved<1>, gradient: &Array) -> [Array; 1] {
        let head_len = gradient.columns();
        let mut on_x = vec![0.0; gradient.values().len()];
        self.each(gradient.values().len(), head_len, |packed, split, cos, sin| {
            let (from, to) = (&gradient.values()[split..split + head_len], &mut on_x[packed..packed + head_len]);
            rotate(from, to, cos, sin, -1.0);
        });
        [Array::new(on_x, saved.inputs[0].shape.clone())]
    }
}

impl Rotate {
    /// Calls `visit` with each head's offset in `[batch, seq, heads, head_len]` and in `[batch, heads, seq, head_len]`,
    /// and its position's cosines and sines.
    fn each(&self, len: usize, head_len: usize, mut visit: impl FnMut(usize, usize, &[f32], &[f32])) {
        let half = head_len / 2;
        for packed in (0..len).step_by(head_len) {
            let index = packed / head_len;
            let (row, head) = (index / self.heads, index % self.heads);
            let (batch, position) = (row / self.seq, row % self.seq);
            let split = ((batch * self.heads + head) * self.seq + position) * head_len;
            let table = position * half..(position + 1) * half;
            visit(packed, split, &self.tables.0[table.clone()], &self.tables.1[table]);
        }
    }
}

#[inline(always)]
fn rotate(from: &[f32], to: &mut [f32], cos: &[f32], sin: &[f32], direction: f32) {
    let (first, second) = from.split_at(cos.len());
    let (low, high) = to.split_at_mut(cos.len());
    for i in 0..cos.len() {
        let sin = direction * sin[i];
        low[i] = first[i] * cos[i] - second[i] * sin;
        high[i] = second[i] * cos[i] + first[i] * sin;
    }
}

/// Sums in eight lanes: strict order would keep the compiler from vectorising.
fn sum_of_products(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (x_chunks, y_chunks) = (x.chunks_exact(8), y.chunks_exact(8));
    let rest: f32 = x_chunks.remainder().iter().zip(y_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in x_chunks.zip(y_chunks) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    rest + lanes.iter().sum::<f32>()
}

fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let chunks = x.chunks_exact(8);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for lane in 0..8 {
            lanes[lane] += chunk[lane];
        }
    }
    rest + lanes.iter().sum::<f32>()
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// eˣ to 2·10⁻⁷ relative, without branches or calls. Saturates outside [−87, 88]; NaN stays NaN.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it rounds to an integer
    let clamped = if x > 88.0 { 88.0 } else { x };
    let clamped = if clamped < -87.0 { -87.0 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    // ln 2 in two parts, so that the remainder keeps its low bits.
    let rest = clamped - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let mut series = 1.0 / 5040.0;
    for factor in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series * rest + factor;
    }
    let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    series * f32::from_bits(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_accurate_over_its_range() {
        for step in -8700..=8800 {
            let x = step as f32 / 100.0;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 3e-7, "{x}: {found} {expected}");
        }
        assert!(exp(f32::NAN).is_nan() && exp(-1e30) < 1e-37 && exp(1e30).is_finite());
    }
}
