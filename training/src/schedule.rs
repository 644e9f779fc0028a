//! One step of training, the same for every loss: refuse what is not a number, then move at the rate of the schedule.

use crate::model::Llama;
use crate::optimizer::{Gradients, Optimizer, learning_rate, norm};
use crate::{Error, Result};

/// Learning rate over a run: a linear rise, then half a cosine; see [`learning_rate`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Highest rate.
    pub peak: f64,
    /// Last rate as a share of the peak.
    pub floor: f64,
    /// Steps of the rise.
    pub warmup_steps: usize,
    /// Steps of the run.
    pub steps: usize,
}

/// What a step was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stepped {
    /// Length of the gradient before clipping.
    pub gradient_norm: f32,
    /// Learning rate.
    pub rate: f64,
}

impl Schedule {
    /// Takes step `step` of the run with `optimizer`.
    ///
    /// # Errors
    /// `NotFinite`, naming `step` and the step of the last checkpoint, if `loss` or the gradient is not a number;
    /// nothing was changed then that is on disk.
    pub fn apply(
        &self,
        optimizer: &mut Optimizer,
        model: Llama,
        gradients: Gradients,
        loss: f32,
        [step, checkpoint_step]: [usize; 2],
    ) -> Result<(Llama, Stepped)> {
        let gradient_norm = norm(&gradients);
        for (quantity, value) in [("loss", loss), ("gradient norm", gradient_norm)] {
            if !value.is_finite() {
                return Err(Error::NotFinite { quantity, value, step, checkpoint_step });
            }
        }
        let rate = learning_rate(self.peak, self.floor, self.warmup_steps, self.steps, step);
        Ok((optimizer.step(model, gradients, gradient_norm, rate), Stepped { gradient_norm, rate }))
    }
}
