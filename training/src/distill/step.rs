//! One distillation step: the target judges, the drafter learns.

use burn::tensor::{Int, Tensor, TensorData};

use super::batch::Batch;
use crate::loss::Loss;
use crate::loss::head::{HeadSettings, head_loss};
use crate::model::Llama;
use crate::optimizer::{self, Gradients};

/// What a step gives besides gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Mean loss over the batch's completion positions.
    pub loss: f64,
    /// Mean Σ min(p, q) over them, at the loss's temperature.
    pub acceptance: f64,
    /// Their number.
    pub positions: usize,
}

/// Vocabulary ids of the drafter's head rows, if its head is trimmed.
pub fn kept_ids(drafter: &Llama) -> Option<Tensor<1, Int>> {
    let tokens = drafter.config().head_tokens.as_ref()?;
    let ids: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
    Some(Tensor::from_data(TensorData::new(ids, [tokens.len()]), &drafter.device()))
}

/// The output head, `[head_rows, hidden_len]`: the embedding where both are tied.
fn head(model: &Llama) -> Tensor<2> {
    let name = if model.config().tied_head { "model.embed_tokens.weight" } else { "lm_head.weight" };
    let tensors = model.tensors();
    tensors.into_iter().find(|(found, _)| found == name).expect("every model has this tensor").1
}

/// The gradient of `loss` on the drafter's weights over `batch`, and what was measured on the way.
///
/// `drafter` is trainable, `target` frozen. Both read the same tokens; no gradient reaches the target or the tokens.
pub fn gradients(target: &Llama, drafter: &Llama, batch: &Batch, settings: &HeadSettings) -> (Gradients, Measured) {
    let hidden = drafter.hidden(batch.tokens.clone()).select(0, batch.places.clone());
    let judged = target.hidden(batch.tokens.clone()).select(0, batch.places.clone());
    let [positions, _] = judged.dims();
    let judged_len = target.config().hidden_len;
    let head = head(drafter);
    let weights = vec![1.0; positions];
    let found = head_loss(settings, hidden.clone().inner(), head.clone().inner(), &weights, |range| {
        target.logits(judged.clone().slice([range, 0..judged_len]))
    });
    let backward = found.surrogate(hidden, head).backward();
    let measured = Measured { loss: found.loss, acceptance: found.acceptance, positions };
    (optimizer::gradients(drafter, backward), measured)
}

/// Settings of the head loss for `drafter`.
pub fn head_settings(drafter: &Llama, loss: Loss, temperature: f64, chunk_len: usize) -> HeadSettings {
    HeadSettings { loss, temperature, kept: kept_ids(drafter), chunk_len }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::batch::Example;
    use super::*;
    use crate::model::ModelConfig;
    use crate::optimizer::{AdamWSettings, Optimizer};

    fn example(first: u32) -> Example {
        Example { prompt: vec![first, first + 1], completion: (0..8).map(|t| (first * 7 + t * t) % 32).collect() }
    }

    fn pair(drafter: ModelConfig) -> (Llama, Llama) {
        let target = Llama::random(ModelConfig::tiny(), 1, &Device::flex()).unwrap();
        let target = target.map(|_, tensor| tensor.mul_scalar(3.0));
        (target, Llama::random(drafter, 2, &Device::flex()).unwrap().trainable())
    }

    /// Loss and acceptance before the first and after the last of `steps` on one batch.
    fn overfit(loss: Loss, drafter: ModelConfig, steps: usize) -> (Measured, Measured) {
        let (target, mut drafter) = pair(drafter);
        let examples = [example(1), example(5), example(9)];
        let batch = Batch::new(&examples.each_ref(), 32, &Device::flex()).unwrap();
        let settings = head_settings(&drafter, loss, 1.0, 7);
        let mut optimizer = Optimizer::new(&AdamWSettings { weight_decay: 0.0, ..AdamWSettings::default() });
        let mut first = None;
        for _ in 0..steps {
            let (gradients, measured) = gradients(&target, &drafter, &batch, &settings);
            first.get_or_insert(measured);
            let norm = optimizer::norm(&gradients);
            drafter = optimizer.step(drafter, gradients, norm, 5e-3);
        }
        let (_, last) = gradients(&target, &drafter, &batch, &settings);
        (first.unwrap(), last)
    }

    #[test]
    fn every_loss_overfits_a_batch_to_high_acceptance() {
        for loss in Loss::ALL {
            let (first, last) = overfit(loss, ModelConfig::tiny(), 150);
            assert!(last.acceptance > 0.9 && first.acceptance < 0.8, "{loss}: {first:?} {last:?}");
            assert_eq!(last.positions, 24);
        }
    }

    #[test]
    fn a_trimmed_drafter_learns_up_to_the_mass_that_its_tokens_have() {
        let kept: Vec<u32> = (0..32).filter(|token| token % 4 != 3).collect();
        let config = ModelConfig { tied_head: false, head_tokens: Some(kept), ..ModelConfig::tiny() };
        for loss in [Loss::ForwardKl, Loss::TvdPlusPlus(crate::loss::Sigma::Position), Loss::LkAlpha] {
            let (first, last) = overfit(loss, config.clone(), 150);
            assert!(last.acceptance > first.acceptance + 0.1, "{loss}: {first:?} {last:?}");
        }
    }
}
