//! A model answers prompts: batched, with a KV cache, each answer reproducible from its own key.

use burn::tensor::Tensor;

use crate::model::{Cache, Llama, host, token_tensor};
use crate::random::Stream;
use crate::{Error, Result};

/// How the next token is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the best token.
    pub temperature: f64,
    /// The smallest set of best tokens with at least this probability is drawn from; 1 keeps all.
    pub top_p: f64,
}

/// A prompt and how to answer it.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// At least one token.
    pub prompt: &'a [u32],
    /// How to draw.
    pub sampling: Sampling,
    /// Names the random numbers of this answer, together with the seed.
    pub key: u64,
}

/// Limits of a rollout.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most tokens of an answer, its end token included.
    pub completion_len_max: usize,
    /// Rows that advance together.
    pub batch_rows: usize,
}

/// Answers every request; answer `i` belongs to request `i` and holds its end token if it came to one.
///
/// Prompts of like length share a batch, so that little of it is padding. Which requests share a batch does not change
/// an answer, except where two tokens are equal to the last bits of the arithmetic.
///
/// # Errors
/// `Setting` if a prompt is empty or leaves no room for an answer in the model's context; `InvalidLogits` if the model's
/// weights are damaged.
pub fn rollout(model: &Llama, requests: &[Request<'_>], limits: Limits, seed: u64) -> Result<Vec<Vec<u32>>> {
    rollout_after(model, requests, limits, seed, &mut std::iter::empty(), |_| Ok(()))
}

/// As [`rollout`], of which the batches `done` are done already, in its order; every further one is handed to `on_batch`.
///
/// # Errors
/// As [`rollout`], or of `on_batch`.
pub fn rollout_after(
    model: &Llama,
    requests: &[Request<'_>],
    limits: Limits,
    seed: u64,
    done: &mut impl Iterator<Item = Vec<Vec<u32>>>,
    mut on_batch: impl FnMut(&[Vec<u32>]) -> Result<()>,
) -> Result<Vec<Vec<u32>>> {
    let context_len = model.config().context_len;
    for request in requests {
        if request.prompt.is_empty() || request.prompt.len() >= context_len {
            let reason =
                format!("{} tokens; from 1 to {}, the context less one", request.prompt.len(), context_len - 1);
            return Err(Error::setting("prompt", reason));
        }
    }
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&index| requests[index].prompt.len());
    let mut answers = vec![Vec::new(); requests.len()];
    for batch in order.chunks(limits.batch_rows.max(1)) {
        if let Some(found) = done.next().filter(|found| found.len() == batch.len()) {
            batch.iter().zip(found).for_each(|(&index, answer)| answers[index] = answer);
            continue;
        }
        answer_batch(model, requests, batch, limits.completion_len_max, seed, &mut answers)?;
        on_batch(&batch.iter().map(|&index| answers[index].clone()).collect::<Vec<_>>())?;
    }
    Ok(answers)
}

fn answer_batch(
    model: &Llama,
    requests: &[Request<'_>],
    batch: &[usize],
    completion_len_max: usize,
    seed: u64,
    answers: &mut [Vec<u32>],
) -> Result<()> {
    let config = model.config();
    let prompt_len = batch.iter().map(|&index| requests[index].prompt.len()).max().unwrap_or(0);
    let capacity = (prompt_len + completion_len_max).min(config.context_len);
    let padding: Vec<usize> = batch.iter().map(|&index| prompt_len - requests[index].prompt.len()).collect();
    let rows: Vec<Vec<u32>> = batch
        .iter()
        .zip(&padding)
        .map(|(&index, &padding)| [vec![0; padding], requests[index].prompt.to_vec()].concat())
        .collect();
    let mut streams: Vec<Stream> =
        batch.iter().map(|&index| Stream::new(seed, 0x726f_6c6c, requests[index].key)).collect();
    let mut cache = Cache::new(model, padding, capacity);
    let mut alive: Vec<usize> = (0..batch.len()).collect();
    let mut columns = rows;
    loop {
        let logits = host(advance_in_pieces(model, &columns, &mut cache, SCORES_MAX));
        let row_len = config.head_rows();
        let mut kept = Vec::with_capacity(alive.len());
        columns.clear();
        for (row, &slot) in alive.iter().enumerate() {
            let index = batch[slot];
            let logits = &logits[row * row_len..][..row_len];
            if !logits.iter().all(|logit| logit.is_finite()) {
                return Err(Error::InvalidLogits { tokens: answers[index].len() });
            }
            let drawn = draw(logits, requests[index].sampling, &mut streams[slot]);
            let token = config.head_tokens.as_ref().map_or(drawn as u32, |tokens| tokens[drawn]);
            answers[index].push(token);
            let ended = config.eos_tokens.contains(&token) || answers[index].len() >= completion_len_max;
            // A row whose own context is full ends too; padding costs a short row some of it.
            if !ended && cache.len() < capacity {
                kept.push(row);
                columns.push(vec![token]);
            }
        }
        if kept.is_empty() {
            return Ok(());
        }
        if kept.len() < alive.len() {
            cache.keep_rows(&kept);
            alive = kept.iter().map(|&row| alive[row]).collect();
        }
    }
}

/// Attention scores of one layer that are held at a time: 64 MiB.
pub(crate) const SCORES_MAX: usize = 1 << 24;

/// [`Llama::advance`] by as many columns at a time as keep a layer's scores within `scores_max`, but at least one: the
/// scores of a whole prompt grow with the square of its length.
fn advance_in_pieces(model: &Llama, rows: &[Vec<u32>], cache: &mut Cache, scores_max: usize) -> Tensor<2> {
    let len = rows[0].len();
    let piece = (scores_max / (rows.len() * model.config().heads * cache.capacity())).clamp(1, len);
    let mut logits = None;
    for start in (0..len).step_by(piece) {
        let columns: Vec<&[u32]> = rows.iter().map(|row| &row[start..len.min(start + piece)]).collect();
        logits = Some(model.advance(token_tensor(&columns, &model.device()), cache));
    }
    logits.expect("a prompt has at least one column")
}

/// Draws an index from finite `logits`; ties of the best token go to the lowest index.
fn draw(logits: &[f32], sampling: Sampling, stream: &mut Stream) -> usize {
    let best = (0..logits.len()).fold(0, |best, index| if logits[index] > logits[best] { index } else { best });
    if sampling.temperature == 0.0 {
        return best;
    }
    let scale = 1.0 / sampling.temperature as f32;
    let weights: Vec<f32> = logits.iter().map(|logit| ((logit - logits[best]) * scale).exp()).collect();
    if sampling.top_p < 1.0 { draw_nucleus(&weights, sampling.top_p, stream) } else { draw_weighted(&weights, stream) }
}

fn draw_weighted(weights: &[f32], stream: &mut Stream) -> usize {
    let mut left = stream.uniform() * weights.iter().map(|&weight| f64::from(weight)).sum::<f64>();
    for (index, &weight) in weights.iter().enumerate() {
        left -= f64::from(weight);
        if left < 0.0 {
            return index;
        }
    }
    weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(0)
}

fn draw_nucleus(weights: &[f32], top_p: f64, stream: &mut Stream) -> usize {
    let nucleus = nucleus(weights, top_p);
    let weights: Vec<f32> = nucleus.iter().map(|&index| weights[index]).collect();
    nucleus[draw_weighted(&weights, stream)]
}

/// The fewest tokens that weigh `top_p` of all, the heaviest first, equal ones by number.
fn nucleus(weights: &[f32], top_p: f64) -> Vec<usize> {
    let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    // What is this unlikely weighs less than 1 - top_p even if every token were: none of it is needed, or sorted.
    let least = (1.0 - top_p) * total / weights.len() as f64;
    let mut order: Vec<usize> = (0..weights.len()).filter(|&index| f64::from(weights[index]) >= least).collect();
    order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
    let mut mass = 0.0;
    let within = order.iter().take_while(|&&index| {
        let wanted = mass < top_p * total;
        mass += f64::from(weights[index]);
        wanted
    });
    within.copied().collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::ModelConfig;

    const GREEDY: Sampling = Sampling { temperature: 0.0, top_p: 1.0 };
    const WARM: Sampling = Sampling { temperature: 1.0, top_p: 1.0 };

    fn model() -> Llama {
        // Weights large enough that the best token stands out.
        Llama::random(ModelConfig::tiny(), 9, &Device::flex()).unwrap().map(|_, tensor| tensor.mul_scalar(8.0))
    }

    fn requests(prompts: &[Vec<u32>], sampling: Sampling) -> Vec<Request<'_>> {
        prompts.iter().enumerate().map(|(key, prompt)| Request { prompt, sampling, key: key as u64 }).collect()
    }

    #[test]
    fn damaged_weights_write_nothing() {
        let damaged = model().map(|_, tensor| tensor.mul_scalar(f32::NAN));
        for sampling in [GREEDY, WARM] {
            let limits = Limits { completion_len_max: 4, batch_rows: 1 };
            let error = rollout(&damaged, &requests(&[vec![1, 2]], sampling), limits, 0).unwrap_err();
            assert!(matches!(error, Error::InvalidLogits { tokens: 0 }), "{error}");
        }
    }

    #[test]
    fn batching_does_not_change_the_answers() {
        let model = model();
        let prompts = vec![vec![1, 2, 3], vec![4], vec![5, 6], vec![7, 8, 9, 10, 11]];
        for sampling in [GREEDY, WARM] {
            let requests = requests(&prompts, sampling);
            let run = |batch_rows| rollout(&model, &requests, Limits { completion_len_max: 9, batch_rows }, 3).unwrap();
            assert_eq!(run(1), run(4));
        }
    }

    #[test]
    fn greedy_answers_are_the_naive_loop_and_stop_at_the_end_token() {
        let model = model();
        let prompt = vec![3, 1, 4];
        let found = &rollout(
            &model,
            &requests(std::slice::from_ref(&prompt), GREEDY),
            Limits { completion_len_max: 12, batch_rows: 1 },
            0,
        )
        .unwrap()[0];
        let mut text = prompt.clone();
        for _ in 0..12 {
            let logits = host(model.forward(token_tensor(&[&text], &model.device())));
            let row = &logits[logits.len() - model.config().vocab_len..];
            text.push(draw(row, GREEDY, &mut Stream::new(0, 0, 0)) as u32);
            if text.last() == Some(&0) {
                break;
            }
        }
        assert_eq!(found, &text[3..]);
    }

    #[test]
    fn a_prompt_read_in_pieces_gives_the_logits_of_one_pass() {
        let model = model();
        let rows = [vec![1, 2, 3, 4, 5], vec![0, 0, 0, 6, 7]];
        let read = |scores_max| {
            let mut cache = Cache::new(&model, vec![0, 3], 6);
            host(advance_in_pieces(&model, &rows, &mut cache, scores_max))
        };
        let whole = read(SCORES_MAX);
        let columns = rows.len() * model.config().heads * 6;
        for pieces in [1, columns, 2 * columns, 4 * columns] {
            assert!(read(pieces).iter().zip(&whole).all(|(found, wanted)| (found - wanted).abs() < 1e-4), "{pieces}");
        }
    }

    #[test]
    fn the_nucleus_is_that_of_all_tokens_sorted() {
        let mut stream = Stream::new(5, 6, 7);
        for (scale, top_p) in [(0.1, 0.05), (1.0, 0.5), (3.0, 0.95), (8.0, 0.999)] {
            let weights: Vec<f32> = (0..500).map(|_| (scale * stream.normal()).exp()).collect();
            let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
            let mut sorted = weights.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let mut mass = 0.0;
            let wanted: Vec<f32> = sorted
                .into_iter()
                .take_while(|&weight| {
                    let within = mass < top_p * total;
                    mass += f64::from(weight);
                    within
                })
                .collect();
            let found: Vec<f32> = nucleus(&weights, top_p).into_iter().map(|index| weights[index]).collect();
            assert_eq!(found, wanted, "{scale} {top_p}");
        }
    }

    #[test]
    fn draws_follow_the_distribution_and_the_nucleus() {
        let logits = [0.0_f32, 2.0_f32.ln(), 5.0_f32.ln()];
        let mut stream = Stream::new(1, 2, 3);
        let mut count = |sampling| {
            let mut counts = [0_i32; 3];
            (0..8000).for_each(|_| counts[draw(&logits, sampling, &mut stream)] += 1);
            counts
        };
        let whole = count(WARM);
        for (found, wanted) in whole.iter().zip([1000.0, 2000.0, 5000.0]) {
            assert!((f64::from(*found) - wanted).abs() < 200.0, "{whole:?}");
        }
        let nucleus = count(Sampling { temperature: 1.0, top_p: 0.8 });
        assert!(nucleus[0] == 0 && (nucleus[1] - 2286).abs() < 200, "{nucleus:?}");
    }

    #[test]
    fn a_full_context_ends_the_answer_and_an_empty_prompt_is_refused() {
        let model = model();
        let prompt: Vec<u32> = (1..31).collect();
        let limits = Limits { completion_len_max: 50, batch_rows: 2 };
        let answers = rollout(&model, &requests(std::slice::from_ref(&prompt), WARM), limits, 0).unwrap();
        assert!(answers[0].len() <= 3);
        assert!(rollout(&model, &requests(&[vec![]], WARM), limits, 0).is_err());
        assert!(rollout(&model, &requests(&[[prompt, vec![1, 2]].concat()], WARM), limits, 0).is_err());
    }
}
