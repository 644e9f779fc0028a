//! Losses through the output head, a chunk of positions at a time.
//!
//! The logits of a batch are its largest tensor by far: `batch × length × vocabulary`, once for each model and again
//! for each step of an autodiff tape. Here a chunk's logits live only while the chunk is worked on. What remains is
//! the gradient on the drafter's hidden states and on its head, from which [`HeadLoss::surrogate`] makes a scalar
//! with exactly these derivatives for the rest of the backward pass.

use burn::tensor::{Int, Tensor, TensorData};

use super::divergence::{Teacher, divergence};
use super::{Loss, Sigma};

/// What a drafter's head loss needs to know.
#[derive(Clone, Debug)]
pub struct HeadSettings {
    /// The loss.
    pub loss: Loss,
    /// Divides both models' logits before the softmax.
    pub temperature: f64,
    /// Vocabulary ids of the drafter's head rows where the head is trimmed.
    pub kept: Option<Tensor<1, Int>>,
    /// Positions whose logits exist at once.
    pub chunk_len: usize,
}

/// Loss, acceptance and gradients of a set of positions.
pub struct HeadLoss {
    /// Weighted mean loss.
    pub loss: f64,
    /// Weighted mean of Σ min(p, q), in the same weights.
    pub acceptance: f64,
    /// Gradient of the mean loss on the hidden states, `[positions, hidden]`.
    pub hidden_gradient: Tensor<2>,
    /// Gradient of the mean loss on the head, `[kept, hidden]`.
    pub head_gradient: Tensor<2>,
}

impl HeadLoss {
    /// A scalar whose derivatives on `hidden`, `[positions, hidden]`, and `head`, `[kept, hidden]`, are this loss's.
    ///
    /// Its value means nothing; report [`HeadLoss::loss`].
    pub fn surrogate(&self, hidden: Tensor<2>, head: Tensor<2>) -> Tensor<1> {
        (hidden * self.hidden_gradient.clone()).sum() + (head * self.head_gradient.clone()).sum()
    }
}

/// Evaluates the loss of `hidden`, `[positions, hidden]`, through `head`, `[kept, hidden]`, against the target.
///
/// `target_logits` gives the target's `[chunk, vocab]` logits of a range of positions; it is asked for each range
/// once, in order. `weights`, one per position, weigh the mean; zero leaves a position out. Neither tensor may carry
/// autodiff.
///
/// # Panics
/// If `weights` does not have one entry per position, or if their sum is not positive.
pub fn head_loss(
    settings: &HeadSettings,
    hidden: Tensor<2>,
    head: Tensor<2>,
    weights: &[f32],
    mut target_logits: impl FnMut(std::ops::Range<usize>) -> Tensor<2>,
) -> HeadLoss {
    let [position_count, hidden_len] = hidden.dims();
    assert_eq!(weights.len(), position_count, "one weight per position");
    let weight_sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    assert!(weight_sum > 0.0, "at least one position must be weighted");
    let device = hidden.device();
    let mut sums = Sums::default();
    let mut hidden_gradients = Vec::new();
    let mut head_gradient = Tensor::zeros(head.dims(), &device);
    let columns = head.clone().transpose();
    for start in (0..position_count).step_by(settings.chunk_len.max(1)) {
        let range = start..(start + settings.chunk_len.max(1)).min(position_count);
        let chunk = hidden.clone().slice([range.clone(), 0..hidden_len]);
        let teacher = Teacher::new(target_logits(range.clone()), settings.kept.as_ref(), settings.temperature);
        let found = divergence(settings.loss, &teacher, chunk.clone().matmul(columns.clone()), settings.temperature);
        let weights = &weights[range];
        sums.add(weights, found.values, found.acceptance, found.reward);
        let scale: Vec<f32> = weights.iter().map(|weight| weight / weight_sum as f32).collect();
        let scale = Tensor::<2>::from_data(TensorData::new(scale, [weights.len(), 1]), &device);
        let gradient = found.gradient * scale;
        hidden_gradients.push(gradient.clone().matmul(head.clone()));
        head_gradient = head_gradient + gradient.transpose().matmul(chunk);
    }
    let mut hidden_gradient = Tensor::cat(hidden_gradients, 0);
    if settings.loss == Loss::TvdPlusPlus(Sigma::Batch) {
        let mean = sums.reward / weight_sum;
        let sigma = (mean * (1.0 - mean)).max(1e-12).sqrt();
        hidden_gradient = hidden_gradient.div_scalar(sigma);
        head_gradient = head_gradient.div_scalar(sigma);
    }
    HeadLoss { loss: sums.loss / weight_sum, acceptance: sums.acceptance / weight_sum, hidden_gradient, head_gradient }
}

/// Weighted sums over the positions so far, in f64 so that chunking does not show.
#[derive(Default)]
struct Sums {
    loss: f64,
    acceptance: f64,
    reward: f64,
}

impl Sums {
    fn add(&mut self, weights: &[f32], loss: Tensor<1>, acceptance: Tensor<1>, reward: Option<Tensor<1>>) {
        self.loss += weighted(weights, loss);
        self.acceptance += weighted(weights, acceptance);
        self.reward += reward.map_or(0.0, |reward| weighted(weights, reward));
    }
}

fn weighted(weights: &[f32], values: Tensor<1>) -> f64 {
    let values = values.into_data_as::<f32>();
    let values = values.as_slice::<f32>().expect("the data was converted to f32");
    weights.iter().zip(values).map(|(weight, value)| f64::from(*weight) * f64::from(*value)).sum()
}

#[cfg(test)]
mod tests {
    use burn::tensor::activation::{log_softmax, softmax};
    use burn::tensor::{Device, Distribution};

    use super::*;

    const POSITIONS: usize = 13;
    const HIDDEN: usize = 6;
    const VOCAB: usize = 21;

    fn random(rows: usize, columns: usize) -> Tensor<2> {
        Tensor::random([rows, columns], Distribution::Normal(0.0, 1.0), &Device::default())
    }

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.try_into_vec_as::<f32>().unwrap()
    }

    fn assert_close(name: &str, found: Tensor<2>, wanted: Tensor<2>) {
        for (found, wanted) in numbers(found).into_iter().zip(numbers(wanted)) {
            assert!((found - wanted).abs() < 2e-6, "{name}: {found} against {wanted}");
        }
    }

    fn settings(loss: Loss, chunk_len: usize) -> HeadSettings {
        HeadSettings { loss, temperature: 0.7, kept: None, chunk_len }
    }

    fn weights() -> Vec<f32> {
        (0..POSITIONS).map(|t| if t % 4 == 1 { 0.0 } else { 1.0 }).collect()
    }

    #[test]
    fn chunks_make_no_difference() {
        let (hidden, head, target) = (random(POSITIONS, HIDDEN), random(VOCAB, HIDDEN), random(POSITIONS, VOCAB));
        for loss in Loss::ALL {
            let run = |chunk_len| {
                head_loss(&settings(loss, chunk_len), hidden.clone(), head.clone(), &weights(), |range| {
                    target.clone().slice([range, 0..VOCAB])
                })
            };
            let whole = run(POSITIONS);
            for chunk_len in [1, 5, 100] {
                let parts = run(chunk_len);
                assert!((parts.loss - whole.loss).abs() < 1e-6, "{loss}: {} {}", parts.loss, whole.loss);
                assert!((parts.acceptance - whole.acceptance).abs() < 1e-6);
                assert_close("hidden", parts.hidden_gradient, whole.hidden_gradient.clone());
                assert_close("head", parts.head_gradient, whole.head_gradient.clone());
            }
        }
    }

    #[test]
    fn unweighted_positions_get_no_gradient_and_do_not_count() {
        let (hidden, head, target) = (random(POSITIONS, HIDDEN), random(VOCAB, HIDDEN), random(POSITIONS, VOCAB));
        let settings = settings(Loss::Tvd, 4);
        let run = |target: Tensor<2>| {
            head_loss(&settings, hidden.clone(), head.clone(), &weights(), |range| {
                target.clone().slice([range, 0..VOCAB])
            })
        };
        let before = run(target.clone());
        // Position 1 weighs nothing: another target there changes nothing.
        let after = run(target.slice_assign([1..2, 0..VOCAB], random(1, VOCAB)));
        assert_eq!(before.loss, after.loss);
        assert!(numbers(before.hidden_gradient.slice([1..2, 0..HIDDEN])).iter().all(|g| *g == 0.0));
    }

    #[test]
    fn the_surrogate_has_the_derivatives_that_autodiff_finds() {
        let (x, head, target) = (random(POSITIONS, HIDDEN), random(VOCAB, HIDDEN), random(POSITIONS, VOCAB));
        let inner = random(HIDDEN, HIDDEN);
        let weight_sum: f32 = weights().iter().sum();
        let tracked = || (inner.clone().autodiff().require_grad(), head.clone().autodiff().require_grad());

        let (layer, tied) = tracked();
        let hidden = x.clone().autodiff().matmul(layer.clone()).tanh();
        let log_q = log_softmax(hidden.matmul(tied.clone().transpose()).div_scalar(0.7), 1);
        let p = softmax(target.clone().div_scalar(0.7), 1).autodiff();
        let scale = Tensor::<2>::from_data(TensorData::new(weights(), [POSITIONS, 1]), &Device::default()).autodiff();
        let taped = (p * log_q * scale).sum().div_scalar(-weight_sum);
        let taped = taped.backward();

        let (layer_again, tied_again) = tracked();
        let hidden = x.autodiff().matmul(layer_again.clone()).tanh();
        let found = head_loss(&settings(Loss::ForwardKl, 5), hidden.clone().inner(), head, &weights(), |range| {
            target.clone().slice([range, 0..VOCAB])
        });
        let closed = found.surrogate(hidden, tied_again.clone()).backward();

        assert_close("layer", layer_again.grad(&closed).unwrap(), layer.grad(&taped).unwrap());
        assert_close("head", tied_again.grad(&closed).unwrap(), tied.grad(&taped).unwrap());
    }
}
