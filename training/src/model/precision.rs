//! In which numbers a model's matrix products are computed while it is trained.

use burn::tensor::{DType, Device, FloatDType, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Numbers of matrix products. Weights, moments, norms, softmax, losses and the sums between are f32 either way, so that
/// small updates are not lost (mixed precision after Micikevicius et al., arXiv 1710.03740).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// Factors are rounded to bfloat16 and products come back as f32; so do those of the gradients.
    Bf16,
}

impl Precision {
    /// Checks that `device` computes in these numbers.
    ///
    /// # Errors
    /// `Setting` for bf16 on the CPU backend `flex`, which converts it to f32 and back, and on devices without it.
    pub fn check(self, device: &Device) -> Result<()> {
        let reason = match self {
            Self::F32 => return Ok(()),
            Self::Bf16 if *device == Device::flex() => {
                "bf16: the CPU backend flex has only f32 products; use f32, or a --device that has bf16"
            }
            Self::Bf16 if !device.supports_dtype(DType::BF16) => "bf16: this device has none; use f32",
            Self::Bf16 => return Ok(()),
        };
        Err(Error::setting("train.precision", reason))
    }

    /// `x` `[rows, in]` times the transpose of `weight` `[out, in]`.
    pub(crate) fn linear(self, x: Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
        self.product(x, weight.clone().transpose())
    }

    /// The matrix product of two f32 tensors, as f32.
    pub(crate) fn product<const D: usize>(self, left: Tensor<D>, right: Tensor<D>) -> Tensor<D> {
        match self {
            Self::F32 => left.matmul(right),
            Self::Bf16 => left.cast(FloatDType::BF16).matmul(right.cast(FloatDType::BF16)).cast(FloatDType::F32),
        }
    }
}
