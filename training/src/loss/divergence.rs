//! Value and gradient of a [`Loss`] for a chunk of positions, on tensors without autodiff.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};

use super::{Loss, Sigma};

/// Stands for log 0 where a padded column or an underflow would give −∞ and 0 · ∞ would be NaN.
const LOG_PROBABILITY_MIN: f32 = -1e4;

/// The target's tempered log-probabilities at the ids that the drafter can propose.
pub struct Teacher {
    /// `[positions, kept]`, of a softmax over the full vocabulary.
    log_p: Tensor<2>,
    trimmed: bool,
}

impl Teacher {
    /// Warps the target's `logits`, `[positions, vocab]`, by `temperature` and reads them at `kept`.
    ///
    /// `kept` holds the vocabulary id of each row of a trimmed head; without it the head is whole. The probabilities
    /// at kept ids keep their full-vocabulary values, so they sum to less than one: what lies outside counts as lost
    /// acceptance. Only forward KL renormalises them.
    pub fn new(logits: Tensor<2>, kept: Option<&Tensor<1, Int>>, temperature: f64) -> Self {
        let log_p = tempered(logits, temperature);
        match kept {
            Some(kept) => Self { log_p: log_p.select(1, kept.clone()), trimmed: true },
            None => Self { log_p, trimmed: false },
        }
    }

    /// Log-probabilities at the kept ids, `[positions, kept]`.
    pub fn log_probabilities(&self) -> Tensor<2> {
        self.log_p.clone()
    }

    /// Probabilities at the kept ids, `[positions, kept]`.
    pub fn probabilities(&self) -> Tensor<2> {
        self.log_p.clone().exp()
    }

    /// Log-probabilities renormalised over the kept ids, `[positions, kept]`.
    fn renormalised(&self) -> Tensor<2> {
        if self.trimmed { tempered(self.log_p.clone(), 1.0) } else { self.log_p.clone() }
    }
}

/// A chunk's losses before weighting.
pub struct Divergence {
    /// The loss at each position, `[positions]`.
    pub values: Tensor<1>,
    /// Its gradient on the drafter's untempered logits, `[positions, kept]`. For TVD++ with a batch σ, which is known
    /// only after the last chunk, it still has to be divided by that σ.
    pub gradient: Tensor<2>,
    /// Σ min(p, q), the chance that a drafted token is accepted, `[positions]`.
    pub acceptance: Tensor<1>,
    /// The chance that a token drawn from q has p > q, `[positions]`: the mean reward of TVD++.
    pub reward: Option<Tensor<1>>,
}

fn tempered(logits: Tensor<2>, temperature: f64) -> Tensor<2> {
    let logits = if temperature == 1.0 { logits } else { logits.div_scalar(temperature) };
    log_softmax(logits, 1).clamp_min(LOG_PROBABILITY_MIN)
}

fn row_sum(values: Tensor<2>) -> Tensor<2> {
    values.sum_dim(1)
}

/// Evaluates `loss` between `teacher` and the drafter's `logits`, `[positions, kept]`, warped by `temperature`.
///
/// Neither argument may carry autodiff: the gradient is returned, not recorded.
pub fn divergence(loss: Loss, teacher: &Teacher, logits: Tensor<2>, temperature: f64) -> Divergence {
    let log_q = tempered(logits, temperature);
    let q = log_q.clone().exp();
    let log_p = teacher.log_p.clone();
    let p = log_p.clone().exp();
    let acceptance = row_sum(p.clone().min_pair(q.clone()));
    let mut reward = None;
    let (values, gradient) = match loss {
        Loss::ForwardKl => forward_kl(teacher.renormalised(), log_q, q),
        Loss::ReverseKl => reverse_kl(log_p, log_q, q),
        Loss::Jsd { beta } => jensen_shannon(beta, teacher, p, log_q, q),
        Loss::Tvd => (one_minus(acceptance.clone()), tvd_gradient(p, q)),
        Loss::TvdPlusPlus(sigma) => {
            let (mean, gradient) = tvd_plus_plus(sigma, p, q);
            reward = Some(mean.squeeze_dim(1));
            // Σ q (r − μ) is zero at each position, whatever σ.
            (acceptance.zeros_like(), gradient)
        }
        Loss::LkAlpha => lk_alpha(log_p, log_q, p, q),
        Loss::LkLambda { decay } => {
            let lambda = acceptance.clone().mul_scalar(-decay).exp();
            let (kl, kl_gradient) = forward_kl(teacher.renormalised(), log_q, q.clone());
            let rest = one_minus(lambda.clone());
            let value = lambda.clone() * kl + rest.clone() * one_minus(acceptance.clone());
            (value, lambda * kl_gradient + rest * tvd_gradient(p, q))
        }
    };
    Divergence {
        values: values.squeeze_dim(1),
        gradient: if temperature == 1.0 { gradient } else { gradient.div_scalar(temperature) },
        acceptance: acceptance.squeeze_dim(1),
        reward,
    }
}

fn one_minus(values: Tensor<2>) -> Tensor<2> {
    values.neg().add_scalar(1.0)
}

fn forward_kl(log_p: Tensor<2>, log_q: Tensor<2>, q: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let p = log_p.clone().exp();
    let value = row_sum(p.clone() * (log_p - log_q));
    (value, q - p)
}

fn reverse_kl(log_p: Tensor<2>, log_q: Tensor<2>, q: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let ratio = log_q - log_p;
    let value = row_sum(q.clone() * ratio.clone());
    let gradient = q * (ratio - value.clone());
    (value, gradient)
}

fn jensen_shannon(
    beta: f64,
    teacher: &Teacher,
    p: Tensor<2>,
    log_q: Tensor<2>,
    q: Tensor<2>,
) -> (Tensor<2>, Tensor<2>) {
    let mixture = p.clone().mul_scalar(beta) + q.clone().mul_scalar(1.0 - beta);
    // Where both are zero the ratios are multiplied by zero; the floor only keeps them finite.
    let log_m = mixture.log().clamp_min(LOG_PROBABILITY_MIN);
    let from_q = log_q - log_m.clone();
    let kl_q = row_sum(q.clone() * from_q.clone());
    let mut kl_p = row_sum(p.clone() * (teacher.log_p.clone() - log_m));
    if teacher.trimmed {
        // Outside the kept ids m = βp, which adds p log(1/β).
        kl_p = kl_p + one_minus(row_sum(p)).clamp_min(0.0).mul_scalar(-beta.ln());
    }
    let value = kl_p.mul_scalar(beta) + kl_q.clone().mul_scalar(1.0 - beta);
    let gradient = q * (from_q - kl_q).mul_scalar(1.0 - beta);
    (value, gradient)
}

/// One where q < p, a half where they are equal, zero where q > p: minus the slope of min(p, q)'s complement.
fn lagging(p: Tensor<2>, q: Tensor<2>) -> Tensor<2> {
    (p - q).sign().mul_scalar(0.5).add_scalar(0.5)
}

/// Written as q (Q − w) because ½ q (s − E[s]) cancels to nothing where acceptance is small.
fn tvd_gradient(p: Tensor<2>, q: Tensor<2>) -> Tensor<2> {
    let lagging = lagging(p, q.clone());
    let mean = row_sum(q.clone() * lagging.clone());
    q * (mean - lagging)
}

/// The mean rewards `[positions, 1]` and the gradient, divided by each position's σ but not by the batch's.
fn tvd_plus_plus(sigma: Sigma, p: Tensor<2>, q: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let rewards = p.greater(q.clone()).float();
    let mean = row_sum(q.clone() * rewards.clone());
    let gradient = q * (mean.clone() - rewards);
    match sigma {
        Sigma::Batch => (mean, gradient),
        Sigma::Position => {
            let deviation = (mean.clone() * one_minus(mean.clone())).clamp_min(1e-12).sqrt();
            (mean, gradient / deviation)
        }
    }
}

/// In logs throughout: min(p, q) may underflow at every id and the ratio to its sum is still wanted.
fn lk_alpha(log_p: Tensor<2>, log_q: Tensor<2>, p: Tensor<2>, q: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let lagging = lagging(log_p.clone(), log_q.clone());
    drop(p);
    let log_min = log_p.min_pair(log_q);
    let max = log_min.clone().max_dim(1);
    let log_alpha = row_sum((log_min.clone() - max.clone()).exp()).log() + max;
    let share = (log_min - log_alpha.clone()).exp() * lagging;
    let gradient = q * row_sum(share.clone()) - share;
    (log_alpha.neg(), gradient)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::super::reference::{Expected, Position, expected, positions};
    use super::*;

    fn tensor(rows: impl Iterator<Item = Vec<f64>>) -> Tensor<2> {
        let rows: Vec<Vec<f64>> = rows.collect();
        let shape = [rows.len(), rows[0].len()];
        let flat: Vec<f32> = rows.concat().iter().map(|&z| z as f32).collect();
        Tensor::from_data(TensorData::new(flat, shape), &Device::default())
    }

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor.try_into_vec_as::<f32>().unwrap().into_iter().map(f64::from).collect()
    }

    fn evaluate(loss: Loss, positions: &[Position], kept: Option<&[usize]>, temperature: f64) -> Divergence {
        let ids = kept.map(|kept| {
            let ids: Vec<i64> = kept.iter().map(|&id| id as i64).collect();
            Tensor::<1, Int>::from_data(TensorData::from(ids.as_slice()), &Device::default())
        });
        let target = tensor(positions.iter().map(|position| position.target.clone()));
        let drafter = tensor(positions.iter().map(|position| position.drafter.clone()));
        divergence(loss, &Teacher::new(target, ids.as_ref(), temperature), drafter, temperature)
    }

    fn assert_close(name: &str, found: &[f64], wanted: &[f64], tolerance: f64) {
        assert_eq!(found.len(), wanted.len(), "{name}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() <= tolerance * wanted.abs().max(1.0), "{name}: {found} against {wanted}");
        }
    }

    fn assert_equals_reference(positions: &[Position], kept: Option<&[usize]>, temperature: f64) {
        let positions: Vec<Position> =
            positions.iter().map(|position| Position { weight: 1.0, ..position.clone() }).collect();
        for loss in Loss::ALL.into_iter().chain([Loss::Jsd { beta: 0.1 }]) {
            let found = evaluate(loss, &positions, kept, temperature);
            let Expected { values, gradients, acceptances } = expected(loss, &positions, kept, temperature);
            let count = positions.len() as f64;
            // The reference's gradients are of the mean; a batch sigma is applied by the caller.
            let mut scale = count;
            if loss == Loss::TvdPlusPlus(Sigma::Batch) {
                let mean = numbers(found.reward.clone().unwrap()).iter().sum::<f64>() / count;
                scale *= (mean * (1.0 - mean)).sqrt();
            } else {
                assert_close(&format!("{loss} value"), &numbers(found.values), &values, 2e-6);
            }
            let gradients: Vec<f64> = gradients.concat().iter().map(|g| g * scale).collect();
            assert_close(&format!("{loss} gradient"), &numbers(found.gradient), &gradients, 2e-6);
            assert_close(&format!("{loss} acceptance"), &numbers(found.acceptance), &acceptances, 1e-6);
        }
    }

    #[test]
    fn values_and_gradients_equal_the_f64_reference() {
        for temperature in [0.5, 1.0, 2.0] {
            assert_equals_reference(&positions(11, 37, 37), None, temperature);
        }
    }

    #[test]
    fn a_trimmed_head_equals_the_f64_reference() {
        let kept: Vec<usize> = (0..37).step_by(3).collect();
        for temperature in [0.5, 1.0, 2.0] {
            assert_equals_reference(&positions(11, 37, kept.len()), Some(&kept), temperature);
        }
    }

    #[test]
    fn equal_distributions_have_no_loss_and_no_gradient() {
        let mut same = positions(4, 16, 16);
        for position in &mut same {
            position.drafter.clone_from(&position.target);
        }
        for loss in Loss::ALL {
            let found = evaluate(loss, &same, None, 1.0);
            assert_close(&format!("{loss} value"), &numbers(found.values), &[0.0; 4], 1e-6);
            assert_close(&format!("{loss} gradient"), &numbers(found.gradient), &[0.0; 64], 1e-6);
            assert_close(&format!("{loss} acceptance"), &numbers(found.acceptance), &[1.0; 4], 1e-6);
        }
    }

    fn spiked(at: usize, height: f64) -> Vec<f64> {
        (0..8).map(|id| if id == at { height } else { 0.0 }).collect()
    }

    #[test]
    fn disjoint_distributions_give_the_limits() {
        let apart = [Position { target: spiked(1, 40.0), drafter: spiked(5, 40.0), weight: 1.0 }];
        let at = |loss| numbers(evaluate(loss, &apart, None, 1.0).values)[0];
        assert_close("tvd", &[at(Loss::Tvd)], &[1.0], 1e-6);
        assert_close("jsd", &[at(Loss::Jsd { beta: 0.5 })], &[2.0_f64.ln()], 1e-6);
        assert_close("kl", &[at(Loss::ForwardKl)], &[40.0], 1e-6);
        assert_close("rkl", &[at(Loss::ReverseKl)], &[40.0], 1e-6);
        assert_close("lk-alpha", &[at(Loss::LkAlpha)], &[40.0 - 8.0_f64.ln()], 1e-6);
        assert_equals_reference(&apart, None, 1.0);
    }

    #[test]
    fn one_hot_targets_beyond_f32_range_stay_finite() {
        let apart = [
            Position { target: spiked(1, 500.0), drafter: spiked(5, 500.0), weight: 1.0 },
            Position { target: spiked(1, 3e4), drafter: spiked(1, 3e4), weight: 1.0 },
        ];
        for loss in Loss::ALL {
            let found = evaluate(loss, &apart, None, 1.0);
            let all = [numbers(found.values), numbers(found.gradient), numbers(found.acceptance)].concat();
            assert!(all.iter().all(|number| number.is_finite()), "{loss}: {all:?}");
        }
        // LK α keeps its gradient where TVD's has underflowed: the drafter is pulled towards the target's token.
        let gradient = numbers(evaluate(Loss::LkAlpha, &apart[..1], None, 1.0).gradient);
        assert!(gradient[1] < -0.1 && gradient[5] > 0.1, "{gradient:?}");
        assert!(numbers(evaluate(Loss::Tvd, &apart[..1], None, 1.0).gradient).iter().all(|g| g.abs() < 1e-30));
    }

    #[test]
    fn padded_columns_of_the_target_are_harmless() {
        let mut padded = positions(2, 6, 6);
        for position in &mut padded {
            position.target[5] = f64::NEG_INFINITY;
        }
        for loss in Loss::ALL {
            let found = evaluate(loss, &padded, None, 1.0);
            assert!(numbers(found.gradient).iter().all(|number| number.is_finite()), "{loss}");
        }
    }
}
