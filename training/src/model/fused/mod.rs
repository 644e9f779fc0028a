//! Operations that the CPU backend runs in one pass each, with their gradients written by hand.
//!
//! Composed of elementwise tensor operations, normalisation, softmax and the gated unit take three quarters of a CPU
//! training step. Each function here has a kernel over plain slices for the `flex` backend, with or without autodiff,
//! and falls back to the composed form on every other backend.

mod kernels;
mod op;

use std::sync::Arc;

use burn::tensor::{Tensor, activation};

use kernels::{CausalSoftmax, RmsNorm, Rotate, SwiGlu};

/// Divides each row of `x` `[rows, len]` by its root mean square and multiplies by `weight` `[1, len]`.
pub(super) fn rms_norm(x: Tensor<2>, weight: Tensor<2>, eps: f64) -> Tensor<2> {
    let inputs = op::inputs([x.clone().into_dispatch(), weight.clone().into_dispatch()]);
    match inputs {
        Some(inputs) => op::apply(RmsNorm { eps: eps as f32 }, inputs),
        None => composed::rms_norm(x, weight, eps),
    }
}

/// SiLU of `gate` times `up`, both `[rows, len]`.
pub(super) fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    match op::inputs([gate.clone().into_dispatch(), up.clone().into_dispatch()]) {
        Some(inputs) => op::apply(SwiGlu, inputs),
        None => composed::swiglu(gate, up),
    }
}

/// Softmax of `scores` `[batch, heads, group * seq, seq]` over the columns that row `r % seq` may see.
pub(super) fn causal_softmax(scores: Tensor<4>) -> Tensor<4> {
    match op::inputs([scores.clone().into_dispatch()]) {
        Some(inputs) => op::apply(CausalSoftmax, inputs),
        None => composed::causal_softmax(scores),
    }
}

/// Cosines and sines of consecutive positions, `[seq, head_len / 2]` each.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    pub(super) cos: Tensor<2>,
    pub(super) sin: Tensor<2>,
    /// The same in host memory, for the kernel.
    pub(super) host: Arc<(Vec<f32>, Vec<f32>)>,
}

impl Rotation {
    /// Splits `x` `[batch * seq, heads * head_len]` into heads and rotates them: `[batch, heads, seq, head_len]`.
    ///
    /// The first half of a head pairs with the second.
    pub(super) fn apply(&self, x: Tensor<2>, heads: usize) -> Tensor<4> {
        match op::inputs([x.clone().into_dispatch()]) {
            Some(inputs) => op::apply(Rotate { tables: self.host.clone(), seq: self.cos.dims()[0], heads }, inputs),
            None => composed::rotate(x, heads, self.cos.clone(), self.sin.clone()),
        }
    }
}

/// The same operations out of tensor operations, for backends without kernels here.
mod composed {
    use super::{Tensor, activation};
    use burn::tensor::Bool;

    pub(super) fn rms_norm(x: Tensor<2>, weight: Tensor<2>, eps: f64) -> Tensor<2> {
        let inverse = x.clone().square().mean_dim(1).add_scalar(eps).sqrt().recip();
        x * inverse * weight
    }

    pub(super) fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
        activation::silu(gate) * up
    }

    pub(super) fn causal_softmax(scores: Tensor<4>) -> Tensor<4> {
        let [batch, heads, rows, seq] = scores.dims();
        // Made on the device, and for one query head alone: every layer asks, and texts may be long.
        let shape = [1, 1, seq, seq];
        let hidden = Tensor::<4, Bool>::tril_mask(shape, 0, &scores.device());
        let mask = Tensor::zeros(shape, &scores.device()).mask_fill(hidden, super::super::forward::MASKED);
        let weights = activation::softmax(scores.reshape([batch, heads * rows / seq, seq, seq]) + mask, 3);
        weights.reshape([batch, heads, rows, seq])
    }

    pub(super) fn rotate(x: Tensor<2>, heads: usize, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<4> {
        let ([rows, width], [seq, half]) = (x.dims(), cos.dims());
        let x = x.reshape([rows / seq, seq, heads, width / heads]).swap_dims(1, 2);
        let cos: Tensor<4> = cos.reshape([1, 1, seq, half]);
        let sin: Tensor<4> = sin.reshape([1, 1, seq, half]);
        let (first, second) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
        let low = first.clone() * cos.clone() - second.clone() * sin.clone();
        Tensor::cat(vec![low, second * cos + first * sin], 3)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::super::weights::host;
    use super::*;
    use crate::random::Stream;

    fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
        let mut stream = Stream::new(seed, 1, 1);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| 2.0 * stream.normal()).collect();
        Tensor::<D>::from_data(TensorData::new(values, shape), &Device::flex()).autodiff().require_grad()
    }

    /// Outputs and gradients of both forms, under a loss that weighs every output differently.
    fn compare<const D: usize>(inputs: &[Tensor<2>], forms: [&dyn Fn() -> Tensor<D>; 2]) {
        let [found, expected] = forms.map(|form| {
            let output = form();
            let weights = random(output.dims(), 99).inner();
            let gradients = (output.clone() * weights).sum().backward();
            let of_inputs: Vec<_> = inputs.iter().map(|x| host(x.grad(&gradients).expect("a gradient"))).collect();
            (host(output), of_inputs)
        });
        let close = |x: &[f32], y: &[f32]| {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| (x - y).abs() <= 2e-5 * (1.0 + y.abs()))
        };
        assert!(close(&found.0, &expected.0), "values");
        for (found, expected) in found.1.iter().zip(&expected.1) {
            assert!(close(found, expected), "gradients {found:?} {expected:?}");
        }
    }

    #[test]
    fn kernels_equal_composed_operations_with_gradients() {
        let (x, w) = (random([6, 10], 1), random([1, 10], 2));
        compare(
            &[x.clone(), w.clone()],
            [&|| rms_norm(x.clone(), w.clone(), 1e-5), &|| composed::rms_norm(x.clone(), w.clone(), 1e-5)],
        );
        let y = random([6, 10], 3);
        compare(
            &[x.clone(), y.clone()],
            [&|| swiglu(x.clone(), y.clone()), &|| composed::swiglu(x.clone(), y.clone())],
        );
        let scores = random([2 * 3 * 8, 4], 4);
        let shaped = || scores.clone().reshape([2, 3, 8, 4]);
        compare(std::slice::from_ref(&scores), [&|| causal_softmax(shaped()), &|| composed::causal_softmax(shaped())]);
        let tables = (random([5, 2], 5).inner(), random([5, 2], 6).inner());
        let arc = Arc::new((host(tables.0.clone()), host(tables.1.clone())));
        let rotation = Rotation { cos: tables.0, sin: tables.1, host: arc };
        let x = random([10, 12], 7);
        compare(
            std::slice::from_ref(&x),
            [&|| rotation.apply(x.clone(), 3), &|| {
                composed::rotate(x.clone(), 3, rotation.cos.clone(), rotation.sin.clone())
            }],
        );
    }

    #[test]
    fn kernels_take_views() {
        let x = random([10, 6], 1).inner();
        let view = x.clone().transpose();
        let copied = Tensor::<2>::from_data(view.to_data(), &Device::flex());
        assert_eq!(host(swiglu(view.clone(), view)), host(swiglu(copied.clone(), copied)));
    }
}
