//! The losses in f64 and plain loops: what the tensor versions are tested against, itself tested by differencing.

use super::{Loss, Sigma};

/// Value and gradient of a loss over a batch of positions.
pub(super) struct Expected {
    /// The loss at each position.
    pub(super) values: Vec<f64>,
    /// The gradient on the drafter's logits of `Σ_t weight_t · value_t / Σ_t weight_t`, a row per position.
    pub(super) gradients: Vec<Vec<f64>>,
    /// Σ min(p, q) at each position.
    pub(super) acceptances: Vec<f64>,
}

/// A position: the target's logits over the vocabulary, the drafter's over the kept ids, and its weight.
#[derive(Clone)]
pub(super) struct Position {
    pub(super) target: Vec<f64>,
    pub(super) drafter: Vec<f64>,
    pub(super) weight: f64,
}

/// What stopgrad holds constant at a position.
#[derive(Clone)]
struct Frozen {
    advantages: Vec<f64>,
    lambda: f64,
}

fn softmax(logits: &[f64], temperature: f64) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = logits.iter().map(|z| ((z - max) / temperature).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|e| e / sum).collect()
}

/// Σ a log(a/b) with 0 log 0 = 0.
fn kl(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| if a == 0.0 { 0.0 } else { a * (a / b).ln() }).sum()
}

fn overlap(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| p.min(*q)).sum()
}

fn normalised(p: &[f64]) -> Vec<f64> {
    let sum: f64 = p.iter().sum();
    p.iter().map(|p| p / sum).collect()
}

fn rewarded(p: &[f64], q: &[f64]) -> Vec<f64> {
    p.iter().zip(q).map(|(p, q)| if p > q { 1.0 } else { 0.0 }).collect()
}

/// The chance that a token drawn from q is rewarded.
fn reward_mean(p: &[f64], q: &[f64]) -> f64 {
    rewarded(p, q).iter().zip(q).map(|(r, q)| r * q).sum()
}

fn target_at(position: &Position, kept: Option<&[usize]>, temperature: f64) -> Vec<f64> {
    let p = softmax(&position.target, temperature);
    kept.map_or_else(|| p.clone(), |kept| kept.iter().map(|&id| p[id]).collect())
}

fn freeze(loss: Loss, p: &[f64], q: &[f64], batch_sigma: f64) -> Frozen {
    let mean = reward_mean(p, q);
    let sigma = match loss {
        Loss::TvdPlusPlus(Sigma::Batch) => batch_sigma,
        _ => (mean * (1.0 - mean)).sqrt(),
    };
    let advantage = |r: &f64| if sigma > 0.0 { (r - mean) / sigma } else { 0.0 };
    let decay = if let Loss::LkLambda { decay } = loss { decay } else { 0.0 };
    Frozen { advantages: rewarded(p, q).iter().map(advantage).collect(), lambda: (-decay * overlap(p, q)).exp() }
}

fn value(loss: Loss, p: &[f64], q: &[f64], frozen: &Frozen) -> f64 {
    // Mass of p outside a trimmed head, which q cannot reach.
    let outside = 1.0 - p.iter().sum::<f64>();
    match loss {
        Loss::ForwardKl => kl(&normalised(p), q),
        Loss::ReverseKl => kl(q, p),
        Loss::Jsd { beta } => {
            let m: Vec<f64> = p.iter().zip(q).map(|(p, q)| beta * p + (1.0 - beta) * q).collect();
            let unreachable = outside.max(0.0) * (1.0 / beta).ln();
            beta * (kl(p, &m) + unreachable) + (1.0 - beta) * kl(q, &m)
        }
        Loss::Tvd => 1.0 - overlap(p, q),
        Loss::TvdPlusPlus(_) => -frozen.advantages.iter().zip(q).map(|(a, q)| a * q).sum::<f64>(),
        Loss::LkAlpha => -overlap(p, q).ln(),
        Loss::LkLambda { .. } => frozen.lambda * kl(&normalised(p), q) + (1.0 - frozen.lambda) * (1.0 - overlap(p, q)),
    }
}

/// The derivative of the value with respect to each q, which the softmax then projects.
fn slope(loss: Loss, p: &[f64], q: &[f64], frozen: &Frozen) -> Vec<f64> {
    let tvd = |p: f64, q: f64| match q.partial_cmp(&p) {
        Some(std::cmp::Ordering::Less) => -1.0,
        Some(std::cmp::Ordering::Equal) => -0.5,
        _ => 0.0,
    };
    let renormalised = normalised(p);
    let reachable = overlap(p, q);
    (0..q.len())
        .map(|v| match loss {
            Loss::ForwardKl => -renormalised[v] / q[v],
            Loss::ReverseKl => (q[v] / p[v]).ln() + 1.0,
            Loss::Jsd { beta } => (1.0 - beta) * (q[v] / (beta * p[v] + (1.0 - beta) * q[v])).ln(),
            Loss::Tvd => tvd(p[v], q[v]),
            Loss::TvdPlusPlus(_) => -frozen.advantages[v],
            Loss::LkAlpha => tvd(p[v], q[v]) / reachable,
            Loss::LkLambda { .. } => frozen.lambda * -renormalised[v] / q[v] + (1.0 - frozen.lambda) * tvd(p[v], q[v]),
        })
        .collect()
}

fn batch_sigma(positions: &[Position], kept: Option<&[usize]>, temperature: f64) -> f64 {
    let total: f64 = positions.iter().map(|position| position.weight).sum();
    let mean: f64 = positions
        .iter()
        .map(|position| {
            let p = target_at(position, kept, temperature);
            position.weight * reward_mean(&p, &softmax(&position.drafter, temperature))
        })
        .sum::<f64>()
        / total;
    (mean * (1.0 - mean)).sqrt()
}

/// Evaluates `loss` over `positions`.
pub(super) fn expected(loss: Loss, positions: &[Position], kept: Option<&[usize]>, temperature: f64) -> Expected {
    let total: f64 = positions.iter().map(|position| position.weight).sum();
    let sigma = batch_sigma(positions, kept, temperature);
    let mut result = Expected { values: vec![], gradients: vec![], acceptances: vec![] };
    for position in positions {
        let p = target_at(position, kept, temperature);
        let q = softmax(&position.drafter, temperature);
        let frozen = freeze(loss, &p, &q, sigma);
        let slope = slope(loss, &p, &q, &frozen);
        let mean: f64 = slope.iter().zip(&q).filter(|(_, q)| **q > 0.0).map(|(s, q)| s * q).sum();
        let project = |(s, q): (&f64, &f64)| {
            if *q == 0.0 { 0.0 } else { q * (s - mean) / temperature * position.weight / total }
        };
        result.values.push(value(loss, &p, &q, &frozen));
        result.gradients.push(slope.iter().zip(&q).map(project).collect());
        result.acceptances.push(overlap(&p, &q));
    }
    result
}

/// The same gradients by central differences, everything under stopgrad held at its value.
fn differenced(loss: Loss, positions: &[Position], kept: Option<&[usize]>, temperature: f64) -> Vec<Vec<f64>> {
    const STEP: f64 = 1e-6;
    let total: f64 = positions.iter().map(|position| position.weight).sum();
    let sigma = batch_sigma(positions, kept, temperature);
    let row = |position: &Position| {
        let p = target_at(position, kept, temperature);
        let frozen = freeze(loss, &p, &softmax(&position.drafter, temperature), sigma);
        let at = |v: usize, step: f64| {
            let mut moved = position.drafter.clone();
            moved[v] += step;
            value(loss, &p, &softmax(&moved, temperature), &frozen)
        };
        let derivative = |v| (at(v, STEP) - at(v, -STEP)) / (2.0 * STEP) * position.weight / total;
        (0..position.drafter.len()).map(derivative).collect()
    };
    positions.iter().map(row).collect()
}

/// Logits that look drawn at random: the same at every run.
pub(super) fn positions(count: usize, vocab_len: usize, kept_len: usize) -> Vec<Position> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1_u32 << 31) * 6.0 - 3.0
    };
    (0..count)
        .map(|t| Position {
            target: (0..vocab_len).map(|_| draw()).collect(),
            drafter: (0..kept_len).map(|_| draw()).collect(),
            weight: if t % 5 == 4 { 0.0 } else { 1.0 },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_differences_agree(kept: Option<&[usize]>, kept_len: usize) {
        let positions = positions(7, 9, kept_len);
        for loss in Loss::ALL.into_iter().chain([Loss::Jsd { beta: 0.1 }, Loss::Jsd { beta: 0.9 }]) {
            for temperature in [0.5, 1.0, 2.0] {
                let exact = expected(loss, &positions, kept, temperature).gradients;
                let numeric = differenced(loss, &positions, kept, temperature);
                for (exact, numeric) in exact.iter().flatten().zip(numeric.iter().flatten()) {
                    assert!((exact - numeric).abs() < 1e-7, "{loss} at T {temperature}: {exact} against {numeric}");
                }
            }
        }
    }

    #[test]
    fn gradients_equal_numeric_differences() {
        assert_differences_agree(None, 9);
    }

    #[test]
    fn gradients_of_a_trimmed_head_equal_numeric_differences() {
        assert_differences_agree(Some(&[0, 3, 4, 8]), 4);
    }

    #[test]
    fn tvd_plus_plus_is_not_the_likelihood_weighted_form() {
        let positions = positions(3, 6, 6);
        let tvd = expected(Loss::Tvd, &positions, None, 1.0).gradients;
        let scaled = expected(Loss::TvdPlusPlus(Sigma::Batch), &positions, None, 1.0).gradients;
        let sigma = batch_sigma(&positions, None, 1.0);
        for (tvd, scaled) in tvd.iter().flatten().zip(scaled.iter().flatten()) {
            assert!((tvd - scaled * sigma).abs() < 1e-12, "a shared sigma only rescales TVD: {tvd} {scaled}");
        }
    }
}
