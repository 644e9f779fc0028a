//! Traces of a drafter over the target's texts: one forward pass of each model.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};

use super::{Mode, Trace};
use crate::Result;
use crate::distill::batch::{Batch, Example};
use crate::distill::rollout::{Limits, Request, Sampling, rollout_after};
use crate::distill::step::kept_ids;
use crate::loss::divergence::Teacher;
use crate::model::{Llama, host};

/// Texts that the target wrote for held-out prompts, to measure any drafter on.
#[derive(Clone, Debug)]
pub struct HeldOut {
    /// How they were chosen.
    pub mode: Mode,
    /// Prompt and the target's answer.
    pub examples: Vec<Example>,
}

impl HeldOut {
    /// Lets `target` answer each of `prompts` once; `on_batch` hears of each batch of answers.
    ///
    /// # Errors
    /// `Setting` if a prompt does not fit the context.
    pub fn write(
        target: &Llama,
        prompts: &[Vec<u32>],
        mode: Mode,
        limits: Limits,
        seed: u64,
        mut on_batch: impl FnMut(&[Vec<u32>]),
    ) -> Result<Self> {
        let sampling = Sampling { temperature: mode.temperature(), top_p: 1.0 };
        let requests: Vec<Request<'_>> =
            prompts.iter().enumerate().map(|(key, prompt)| Request { prompt, sampling, key: key as u64 }).collect();
        let answers = rollout_after(target, &requests, limits, seed, &mut std::iter::empty(), |batch| {
            on_batch(batch);
            Ok(())
        })?;
        let examples =
            prompts.iter().zip(answers).map(|(prompt, completion)| Example::new(prompt.clone(), completion)).collect();
        Ok(Self { mode, examples })
    }

    /// Lets `target` read the texts, each cut to `context_len` tokens, `batch_rows` at once.
    pub fn judged(&self, target: &Llama, context_len: usize, batch_rows: usize) -> Judged {
        // Texts of like length share a batch.
        let mut order: Vec<usize> = (0..self.examples.len()).collect();
        order.sort_by_key(|&index| self.examples[index].prompt.len() + self.examples[index].completion.len());
        let judge = |indices: &[usize]| {
            let examples: Vec<&Example> = indices.iter().map(|&index| &self.examples[index]).collect();
            let batch = Batch::new(&examples, context_len, &target.device())?;
            let texts = batch.rows.iter().map(|&row| indices[row]).collect();
            let hidden = at_places(target, &batch);
            Some(JudgedBatch { texts, batch, hidden })
        };
        let batches = order.chunks(batch_rows.max(1)).filter_map(judge).collect();
        Judged { mode: self.mode, target: target.clone(), texts: self.examples.len(), batches }
    }
}

/// Held-out texts that the target has read: what it thought is kept as its last hidden states, `hidden_len` numbers for
/// each token of an answer.
pub struct Judged {
    /// How the texts were chosen.
    pub mode: Mode,
    target: Llama,
    texts: usize,
    batches: Vec<JudgedBatch>,
}

struct JudgedBatch {
    /// Text of each place.
    texts: Vec<usize>,
    batch: Batch,
    /// `[places, hidden_len]`.
    hidden: Tensor<2>,
}

/// The last hidden states at the places of `batch`.
fn at_places(model: &Llama, batch: &Batch) -> Tensor<2> {
    model.hidden(batch.tokens.clone()).select(0, batch.places.clone())
}

impl Judged {
    /// How `drafter`, whose context holds the texts as they were cut, does on each of them; the logits of `chunk_len`
    /// positions are held at once.
    pub fn traces(&self, drafter: &Llama, chunk_len: usize) -> Vec<Trace> {
        let drafter = drafter.clone().frozen();
        let kept = kept_ids(&drafter);
        let mut traces = vec![Trace::default(); self.texts];
        for JudgedBatch { texts, batch, hidden } in &self.batches {
            let proposed = at_places(&drafter, batch);
            let rows = next_rows(&drafter, &batch.next);
            for start in (0..rows.len()).step_by(chunk_len.max(1)) {
                let range = start..(start + chunk_len.max(1)).min(rows.len());
                let chunk = |hidden: &Tensor<2>| hidden.clone().narrow(0, range.start, range.len());
                let teacher = Teacher::new(self.target.logits(chunk(hidden)), kept.as_ref(), self.temperature());
                let logits = drafter.logits(chunk(&proposed));
                let (chances, overlaps) = self.measure(&teacher, logits, &rows[range.clone()]);
                for ((&text, chance), overlap) in texts[range].iter().zip(chances).zip(overlaps) {
                    traces[text].chances.push(chance);
                    traces[text].overlaps.push(overlap);
                }
            }
        }
        traces
    }

    /// The temperature at which distributions are compared: 1 when greedy.
    fn temperature(&self) -> f64 {
        if let Mode::Sampled(temperature) = self.mode { temperature } else { 1.0 }
    }

    /// The chance of acceptance and Σ min(p, q) at each of a drafter's `logits`; `rows` are those of the next tokens.
    fn measure(&self, teacher: &Teacher, logits: Tensor<2>, rows: &[Option<usize>]) -> (Vec<f32>, Vec<f32>) {
        let log_q = log_softmax(logits.clone() / self.temperature(), 1);
        let chances = match self.mode {
            Mode::Greedy => agreements(logits, rows),
            Mode::Sampled(_) => ratios(teacher, log_q.clone(), rows),
        };
        (chances, host(teacher.probabilities().min_pair(log_q.exp()).sum_dim(1)))
    }
}

/// The drafter's head row of each token, none where its trimmed head has no such row.
fn next_rows(drafter: &Llama, next: &[u32]) -> Vec<Option<usize>> {
    let row = |token: &u32| match &drafter.config().head_tokens {
        None => Some(*token as usize),
        Some(tokens) => tokens.binary_search(token).ok(),
    };
    next.iter().map(row).collect()
}

/// 1 where the drafter's best token is the next one, else 0.
fn agreements(logits: Tensor<2>, rows: &[Option<usize>]) -> Vec<f32> {
    let best = logits.argmax(1).into_data_as::<i32>();
    let best = best.as_slice::<i32>().expect("the data was just converted to i32");
    best.iter().zip(rows).map(|(&best, &row)| if row == Some(best as usize) { 1.0 } else { 0.0 }).collect()
}

/// min(1, q / p) of the next tokens.
fn ratios(teacher: &Teacher, log_q: Tensor<2>, rows: &[Option<usize>]) -> Vec<f32> {
    let indices: Vec<i32> = rows.iter().map(|row| row.unwrap_or(0) as i32).collect();
    let indices = Tensor::<2, Int>::from_data(TensorData::new(indices, [rows.len(), 1]), &log_q.device());
    let ratio = log_q.gather(1, indices.clone()) - teacher.log_probabilities().gather(1, indices);
    let ratio = host(ratio.clamp_max(0.0).exp());
    ratio.into_iter().zip(rows).map(|(ratio, row)| if row.is_some() { ratio } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::acceptance::summarise;
    use crate::model::{ModelConfig, token_tensor};

    const LIMITS: Limits = Limits { completion_len_max: 12, batch_rows: 3 };

    fn model(seed: u64) -> Llama {
        let config = ModelConfig { eos_tokens: vec![], ..ModelConfig::tiny() };
        Llama::random(config, seed, &Device::flex()).unwrap().map(|_, tensor| tensor.mul_scalar(4.0))
    }

    fn prompts() -> Vec<Vec<u32>> {
        (1..8).map(|first| (first..first + first % 4 + 1).collect()).collect()
    }

    #[test]
    fn a_target_that_drafts_for_itself_is_always_accepted() {
        let target = model(1);
        for mode in [Mode::Greedy, Mode::Sampled(0.8)] {
            let held_out = HeldOut::write(&target, &prompts(), mode, LIMITS, 7, |_| ()).unwrap();
            for chunk_len in [1, 5, 1000] {
                let traces = held_out.judged(&target, 32, 2).traces(&target, chunk_len);
                assert_eq!(traces.iter().map(|trace| trace.chances.len()).sum::<usize>(), 7 * 12);
                let all = traces.iter().flat_map(|trace| trace.chances.iter().chain(&trace.overlaps));
                assert!(all.clone().all(|chance| (chance - 1.0).abs() < 1e-5), "{:?}", all.collect::<Vec<_>>());
            }
            let summary = summarise(mode, &held_out.judged(&target, 32, 2).traces(&target, 9), &[3], 1.0, 0).unwrap();
            assert!((summary.block[0].tokens_per_call.value - 4.0).abs() < 1e-3);
        }
    }

    #[test]
    fn traces_equal_the_definition_position_by_position() {
        let (target, drafter) = (model(1), model(2));
        let held_out = HeldOut::write(&target, &prompts(), Mode::Sampled(0.7), LIMITS, 7, |_| ()).unwrap();
        let traces = held_out.judged(&target, 32, 4).traces(&drafter, 6);
        let probabilities = |model: &Llama, text: &[u32], at: usize| {
            let logits = model.forward(token_tensor(&[text], &model.device())).narrow(1, at, 1);
            host(log_softmax(logits / 0.7, 2).exp())
        };
        for (example, trace) in held_out.examples.iter().zip(&traces) {
            let text = example.tokens(32);
            for (t, (&chance, &overlap)) in trace.chances.iter().zip(&trace.overlaps).enumerate() {
                let at = example.prompt.len() + t - 1;
                let (p, q) = (probabilities(&target, &text, at), probabilities(&drafter, &text, at));
                let next = text[at + 1] as usize;
                let wanted: f32 = p.iter().zip(&q).map(|(p, q)| p.min(*q)).sum();
                assert!((chance - (q[next] / p[next]).min(1.0)).abs() < 1e-4);
                assert!((overlap - wanted).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn a_token_outside_a_trimmed_head_is_never_accepted() {
        let target = model(1);
        let kept: Vec<u32> = (0..32).step_by(2).collect();
        let config =
            ModelConfig { tied_head: false, head_tokens: Some(kept), eos_tokens: vec![], ..ModelConfig::tiny() };
        let drafter = Llama::random(config, 3, &Device::flex()).unwrap();
        for mode in [Mode::Greedy, Mode::Sampled(1.0)] {
            let held_out = HeldOut::write(&target, &prompts(), mode, LIMITS, 7, |_| ()).unwrap();
            let traces = held_out.judged(&target, 32, 4).traces(&drafter, 6);
            for (example, trace) in held_out.examples.iter().zip(&traces) {
                for (token, chance) in example.completion.iter().zip(&trace.chances) {
                    assert!(token % 2 == 0 || *chance == 0.0);
                }
            }
        }
    }
}
