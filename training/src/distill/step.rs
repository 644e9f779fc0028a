//! One distillation step: the target judges, the drafter learns.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};

use super::batch::Batch;
use crate::backward::{Held, backward_at};
use crate::loss::divergence::{Teacher, divergence};
use crate::loss::{Loss, Sigma};
use crate::model::{Llama, Precision, host};
use crate::optimizer::Gradients;

/// What a step gives besides gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Mean loss over the batch's completion positions; of TVD++ the TVD.
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

/// What is minimised, and how much of it is held at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// The loss.
    pub loss: Loss,
    /// Divides both models' logits before the softmax.
    pub temperature: f64,
    /// Of the drafter's pass; the target's logits come in the same chunks.
    pub held: Held,
    /// Of both models' products.
    pub precision: Precision,
}

/// The gradient of the mean loss over `batch`'s positions on the drafter's weights, and what was measured on the way.
///
/// `target` is frozen. Both models read the same tokens; no gradient reaches the target or the tokens. Where the batch
/// brings the target's judgement, the target does not run.
pub fn gradients(target: &Llama, drafter: &Llama, batch: &Batch, objective: Objective) -> (Gradients, Measured) {
    let target = &target.clone().with_precision(objective.precision);
    let judged = judge(target, batch);
    let kept = kept_ids(drafter);
    // Leaves of its own, so that tapes of passes running side by side stay apart.
    let drafter = &drafter.clone().trainable().with_precision(objective.precision);
    let Objective { loss, temperature, held, .. } = objective;
    let positions = batch.next.len();
    let mut sums = Sums::default();
    let (_, mut gradients) = backward_at(drafter, batch.tokens.clone(), batch.places.clone(), held, |logits, range| {
        let teacher = Teacher::new(judged(range), kept.as_ref(), temperature);
        let found = divergence(loss, &teacher, logits, temperature);
        sums.loss += sum(found.values.clone());
        sums.acceptance += sum(found.acceptance);
        sums.reward += found.reward.map_or(0.0, sum);
        (found.values.sum(), found.gradient.div_scalar(positions as f64))
    });
    let mean = |sum: f64| sum / positions as f64;
    if loss == Loss::TvdPlusPlus(Sigma::Batch) {
        // The same factor for every position, so it may come after the chain rule.
        let sigma = (mean(sums.reward) * (1.0 - mean(sums.reward))).max(1e-12).sqrt();
        gradients = gradients.into_iter().map(|(name, gradient)| (name, gradient.div_scalar(sigma))).collect();
    }
    let acceptance = mean(sums.acceptance);
    // TVD++ is zero wherever it stands; what its gradient lowers is the total variation.
    let loss = if matches!(loss, Loss::TvdPlusPlus(_)) { 1.0 - acceptance } else { mean(sums.loss) };
    (gradients, Measured { loss, acceptance, positions })
}

/// The target's logits at a range of the batch's positions, `[positions, vocab]`.
fn judge<'a>(target: &'a Llama, batch: &'a Batch) -> Box<dyn Fn(Range<usize>) -> Tensor<2> + 'a> {
    if let Some(stored) = &batch.judged {
        let (vocab_len, device) = (target.config().vocab_len, target.device());
        return Box::new(move |range| stored.log_probabilities(range, vocab_len, &device));
    }
    let hidden = target.hidden(batch.tokens.clone()).select(0, batch.places.clone());
    Box::new(move |range| target.logits(hidden.clone().narrow(0, range.start, range.len())))
}

/// Sums over the positions so far, in f64 so that chunking does not show.
#[derive(Default)]
struct Sums {
    loss: f64,
    acceptance: f64,
    reward: f64,
}

fn sum(values: Tensor<1>) -> f64 {
    host(values).into_iter().map(f64::from).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use burn::tensor::Device;
    use burn::tensor::activation::{log_softmax, softmax};

    use super::super::batch::Example;
    use super::super::top_k::TopK;
    use super::*;
    use crate::model::ModelConfig;
    use crate::optimizer::{self, AdamWSettings, Optimizer};

    fn objective(loss: Loss) -> Objective {
        let held = Held { chunk_rows: 7, recompute_layers: false };
        Objective { loss, temperature: 1.0, held, precision: Precision::F32 }
    }

    fn example(first: u32) -> Example {
        Example::new(vec![first, first + 1], (0..8).map(|t| (first * 7 + t * t) % 32).collect())
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
        let mut optimizer = Optimizer::new(&AdamWSettings { weight_decay: 0.0, ..AdamWSettings::default() });
        let mut first = None;
        for _ in 0..steps {
            let (gradients, measured) = gradients(&target, &drafter, &batch, objective(loss));
            first.get_or_insert(measured);
            let norm = optimizer::norm(&gradients);
            drafter = optimizer.step(drafter, gradients, norm, 5e-3);
        }
        let (_, last) = gradients(&target, &drafter, &batch, objective(loss));
        (first.unwrap(), last)
    }

    fn assert_close(name: &str, found: &Tensor<2>, wanted: &Tensor<2>) {
        let worst = (found.clone() - wanted.clone()).abs().max().into_scalar::<f32>();
        assert!(worst < 1e-6, "{name}: {worst}");
    }

    #[test]
    fn chunks_and_recomputed_layers_make_no_difference() {
        let (target, drafter) = pair(ModelConfig::tiny());
        let examples = [example(1), example(5)];
        let batch = Batch::new(&examples.each_ref(), 32, &Device::flex()).unwrap();
        for loss in Loss::ALL {
            let run = |chunk_rows, recompute_layers| {
                let held = Held { chunk_rows, recompute_layers };
                gradients(&target, &drafter, &batch, Objective { temperature: 0.7, held, ..objective(loss) })
            };
            let (whole, measured) = run(1000, false);
            for (chunk_rows, recompute_layers) in [(1, false), (5, false), (5, true)] {
                let (parts, again) = run(chunk_rows, recompute_layers);
                assert!(
                    (again.loss - measured.loss).abs() < 1e-6 && (again.acceptance - measured.acceptance).abs() < 1e-6
                );
                whole.iter().for_each(|(name, gradient)| assert_close(name, &parts[name], gradient));
            }
        }
    }

    #[test]
    fn gradients_are_those_that_autodiff_finds_on_the_completions() {
        for tied_head in [true, false] {
            let (target, drafter) = pair(ModelConfig { tied_head, ..ModelConfig::tiny() });
            let example = example(4);
            let batch = Batch::new(&[&example], 32, &Device::flex()).unwrap();
            let (found, measured) = gradients(&target, &drafter, &batch, objective(Loss::ForwardKl));

            let rows = |model: &Llama| {
                let [batch_len, len] = batch.tokens.dims();
                let logits = model.forward(batch.tokens.clone()).reshape([batch_len * len, 32]);
                logits.narrow(0, example.prompt.len() - 1, example.completion.len())
            };
            let p = softmax(rows(&target), 1);
            let kl = (p.clone() * (p.log().autodiff() - log_softmax(rows(&drafter), 1))).sum() / 8.0;
            assert!((f64::from(host(kl.clone())[0]) - measured.loss).abs() < 1e-6);
            let wanted = optimizer::gradients(&drafter, kl.backward());
            assert_eq!(found.len(), wanted.len());
            wanted.iter().for_each(|(name, gradient)| assert_close(name, &found[name], gradient));
        }
    }

    #[test]
    fn judgement_from_disk_gives_the_gradients_of_the_targets_own_pass() {
        let (target, drafter) = pair(ModelConfig::tiny());
        let run = |example: &Example, loss| {
            let batch = Batch::new(&[example], 32, &Device::flex()).unwrap();
            assert_eq!(batch.judged.is_some(), example.judged.is_some());
            gradients(&target, &drafter, &batch, objective(loss))
        };
        let mut example = example(4);
        let logits = target.forward(crate::model::token_tensor(&[example.tokens(32)], &Device::flex()));
        let (from, count) = (example.prompt.len() - 1, example.completion.len());
        let thought = host(log_softmax(logits.reshape([count + 2, 32]).narrow(0, from, count), 1));
        let every: Vec<u32> = (0..count).flat_map(|_| 0..32).collect();
        for loss in Loss::ALL {
            example.judged = None;
            let (wanted, measured) = run(&example, loss);
            example.judged = TopK::new(count, every.clone(), thought.clone(), 32).ok().map(Arc::new);
            let (found, again) = run(&example, loss);
            assert!((again.loss - measured.loss).abs() < 1e-6, "{loss}");
            wanted.iter().for_each(|(name, gradient)| assert_close(name, &found[name], gradient));
        }
    }

    #[test]
    fn every_loss_overfits_a_batch_to_high_acceptance() {
        for loss in Loss::ALL {
            let (first, last) = overfit(loss, ModelConfig::tiny(), 150);
            assert!(last.acceptance > 0.9 && first.acceptance < 0.8, "{loss}: {first:?} {last:?}");
            assert!(last.loss < first.loss, "{loss}: {first:?} {last:?}");
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
