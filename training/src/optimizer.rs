//! AdamW over named tensors, with clipping; its state can be saved and restored exactly.

use std::collections::BTreeMap;

use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer as _};
use burn::tensor::{Device, Gradients as BurnGradients, Tensor};
use serde::{Deserialize, Serialize};

use crate::model::{HostTensor, Llama, host};
use crate::{Error, Result};

/// Gradients by tensor name.
pub type Gradients = BTreeMap<String, Tensor<2>>;

/// Settings of AdamW (Loshchilov and Hutter, arXiv 1711.05101).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWSettings {
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Share of a weight that is removed per unit of learning rate; norms and biases are spared.
    pub weight_decay: f32,
    /// Longest gradient over all tensors; longer ones are scaled down to it.
    pub clip_norm: f32,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.95, epsilon: 1e-8, weight_decay: 0.1, clip_norm: 1.0 }
    }
}

impl AdamWSettings {
    /// Checks every number's range.
    ///
    /// # Errors
    /// `Setting` with the first that is out of it.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [("optimizer.beta_1", self.beta_1), ("optimizer.beta_2", self.beta_2)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::setting(name, format!("{value}: from 0 to below 1")));
            }
        }
        for (name, value) in [("optimizer.epsilon", self.epsilon), ("optimizer.clip_norm", self.clip_norm)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::setting(name, format!("{value}: above 0")));
            }
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return Err(Error::setting("optimizer.weight_decay", format!("{}: 0 or above", self.weight_decay)));
        }
        Ok(())
    }
}

/// AdamW with its moments.
pub struct Optimizer {
    decayed: AdamW,
    spared: AdamW,
    clip_norm: f32,
    states: BTreeMap<String, AdamWState<2>>,
}

impl Optimizer {
    /// Without moments yet.
    pub fn new(settings: &AdamWSettings) -> Self {
        let adamw = |weight_decay| {
            AdamWConfig::new()
                .with_beta_1(settings.beta_1)
                .with_beta_2(settings.beta_2)
                .with_epsilon(settings.epsilon)
                .with_weight_decay(weight_decay)
                .build()
        };
        Self {
            decayed: adamw(settings.weight_decay),
            spared: adamw(0.0),
            clip_norm: settings.clip_norm,
            states: BTreeMap::new(),
        }
    }

    /// One step at `learning_rate`, after clipping by `norm` (see [`norm`]). Tensors without a gradient stay.
    ///
    /// A trainable model stays trainable.
    pub fn step(&mut self, model: Llama, mut gradients: Gradients, norm: f32, learning_rate: f64) -> Llama {
        let scale = if norm > self.clip_norm { self.clip_norm / norm } else { 1.0 };
        model.map(|name, tensor| {
            let Some(gradient) = gradients.remove(name) else { return tensor };
            let trainable = tensor.is_autodiff();
            let gradient = if scale < 1.0 { gradient.mul_scalar(scale) } else { gradient };
            let rule =
                if name.ends_with("norm.weight") || name.ends_with("bias") { &self.spared } else { &self.decayed };
            let (tensor, state) = rule.step(learning_rate, tensor.inner(), gradient, self.states.remove(name));
            if let Some(state) = state {
                self.states.insert(name.to_owned(), state);
            }
            if trainable { tensor.autodiff().require_grad() } else { tensor }
        })
    }

    /// The moments by name, and the number of steps taken.
    pub fn state(&self) -> (Vec<HostTensor>, usize) {
        let mut tensors = Vec::new();
        let mut steps = 0;
        for (name, AdamWState { momentum }) in &self.states {
            steps = momentum.time;
            for (kind, moment) in [("first", &momentum.moment_1), ("second", &momentum.moment_2)] {
                let (name, shape) = (format!("{kind}.{name}"), moment.dims());
                tensors.push(HostTensor { name, shape, values: host(moment.clone()) });
            }
        }
        (tensors, steps)
    }

    /// Restores what `state` gave.
    pub fn restore(&mut self, tensors: Vec<HostTensor>, steps: usize, device: &Device) {
        let mut moments: BTreeMap<String, Tensor<2>> =
            tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor.to_device(device))).collect();
        let names: Vec<String> =
            moments.keys().filter_map(|name| name.strip_prefix("first.")).map(str::to_owned).collect();
        for name in names {
            let first = moments.remove(&format!("first.{name}"));
            let second = moments.remove(&format!("second.{name}"));
            if let (Some(moment_1), Some(moment_2)) = (first, second) {
                let momentum = AdaptiveMomentumState { time: steps, moment_1, moment_2, max_moment_2: None };
                self.states.insert(name, AdamWState { momentum });
            }
        }
    }
}

/// Gradients of `model`'s tensors out of a backward pass, without autodiff.
pub fn gradients(model: &Llama, mut from: BurnGradients) -> Gradients {
    model
        .tensors()
        .into_iter()
        .filter_map(|(name, tensor)| tensor.grad_remove(&mut from).map(|gradient| (name, gradient)))
        .collect()
}

/// Adds `more` to `sum`.
pub fn accumulate(sum: &mut Gradients, more: Gradients) {
    for (name, gradient) in more {
        let gradient = match sum.remove(&name) {
            Some(before) => before + gradient,
            None => gradient,
        };
        sum.insert(name, gradient);
    }
}

/// Euclidean length over all tensors.
pub fn norm(gradients: &Gradients) -> f32 {
    let squares: Vec<Tensor<1>> = gradients.values().map(|gradient| gradient.clone().square().sum()).collect();
    if squares.is_empty() { 0.0 } else { Tensor::cat(squares, 0).sum().sqrt().into_scalar::<f32>() }
}

/// Linear warm-up, then half a cosine down to `floor` times the peak.
///
/// `step` counts from 0; the first step already learns.
pub fn learning_rate(peak: f64, floor: f64, warmup_steps: usize, steps: usize, step: usize) -> f64 {
    if step < warmup_steps {
        return peak * (step + 1) as f64 / warmup_steps as f64;
    }
    let span = steps.saturating_sub(warmup_steps).max(1) as f64;
    let done = ((step - warmup_steps) as f64 / span).min(1.0);
    peak * (floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelConfig, token_tensor};

    #[test]
    fn the_learning_rate_rises_then_falls_to_the_floor() {
        let rate = |step| learning_rate(1.0, 0.1, 10, 110, step);
        assert!((rate(0) - 0.1).abs() < 1e-12 && (rate(9) - 1.0).abs() < 1e-12);
        assert!((rate(60) - 0.55).abs() < 1e-9 && (rate(110) - 0.1).abs() < 1e-12 && (rate(500) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn the_first_step_moves_every_weight_by_the_learning_rate() {
        let settings = AdamWSettings { weight_decay: 0.0, clip_norm: 1e9, ..AdamWSettings::default() };
        let model = Llama::random(ModelConfig::tiny(), 1, &Device::flex()).unwrap().trainable();
        let before = model.values();
        let loss = model.forward(token_tensor(&[[1u32, 2, 3]], &model.device())).square().sum();
        let gradients = gradients(&model, loss.backward());
        let length = norm(&gradients);
        let signs: BTreeMap<_, _> = gradients.iter().map(|(n, g)| (n.clone(), host(g.clone()))).collect();
        let after = Optimizer::new(&settings).step(model, gradients, length, 0.01).values();
        for (before, after) in before.iter().zip(&after) {
            let name = &before.name;
            for ((x, y), g) in before.values.iter().zip(&after.values).zip(&signs[name]) {
                // Bias correction makes the first step g / |g|.
                let expected = if g.abs() > 1e-4 { -0.01 * g.signum() } else { continue };
                assert!((y - x - expected).abs() < 1e-4, "{name}: {x} {y} {g}");
            }
        }
    }
}
