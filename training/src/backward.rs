//! One backward pass whose memory does not grow with batch × vocabulary.
//!
//! Losses on logits have gradients in closed form. So the head is differentiated by hand, a chunk of rows at a time:
//! only one chunk of logits exists at once, and autodiff records the layers alone.

use std::ops::Range;

use burn::tensor::{Gradients as Tape, Int, Tensor, TensorData, activation};

use crate::model::{Llama, host};
use crate::optimizer::{Gradients, accumulate, gradients};

/// How much of a pass is held at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Rows of logits that exist at once.
    pub chunk_rows: usize,
    /// Keeps only what goes into each layer, and computes the layer anew on the way back: gradient checkpointing
    /// (Chen et al., arXiv 1604.06174). About a third more time; memory of one layer instead of all.
    pub recompute_layers: bool,
}

/// Logits that exist at once where no recipe names the rows: 32 MiB, of which a loss holds several.
const LOGITS_MAX: usize = 1 << 23;

/// Rows of logits to hold at once: `most`, or fewer over a vocabulary so large that memory would grow with it.
pub fn chunk_rows(vocab_len: usize, most: usize) -> usize {
    (LOGITS_MAX / vocab_len.max(1)).clamp(1, most)
}

/// Rows of logits that a recipe asks for: `asked`, or if it names none 512, or fewer as [`chunk_rows`] has it.
pub fn chunk_rows_asked(asked: Option<usize>, vocab_len: usize) -> usize {
    asked.unwrap_or_else(|| chunk_rows(vocab_len, 512))
}

/// Runs `model` over `tokens` `[batch, seq]` and differentiates the loss that `loss` describes.
///
/// `loss` is called for consecutive ranges of the `batch * seq` rows with their plain logits `[rows, head_rows]`
/// (no autodiff) and returns the sum of the loss over these rows, `[1]`, and its gradient on the logits. Rows that
/// do not count have a zero gradient. Scale by the number of rows that count inside `loss`.
///
/// Returns the summed loss and the gradients by tensor name.
pub fn backward(
    model: &Llama,
    tokens: Tensor<2, Int>,
    held: Held,
    loss: impl FnMut(Tensor<2>, Range<usize>) -> (Tensor<1>, Tensor<2>),
) -> (f32, Gradients) {
    backward_rows(model, tokens, |hidden| hidden, held, loss)
}

/// [`backward`] where only some rows have logits: `places` are their indices among the `batch * seq` rows, and the
/// ranges that `loss` is called with count them.
pub fn backward_at(
    model: &Llama,
    tokens: Tensor<2, Int>,
    places: Tensor<1, Int>,
    held: Held,
    loss: impl FnMut(Tensor<2>, Range<usize>) -> (Tensor<1>, Tensor<2>),
) -> (f32, Gradients) {
    backward_rows(model, tokens, |hidden| hidden.select(0, places), held, loss)
}

/// [`backward`] from the rows that `pick` takes of the last hidden states.
fn backward_rows(
    model: &Llama,
    tokens: Tensor<2, Int>,
    pick: impl FnOnce(Tensor<2>) -> Tensor<2>,
    held: Held,
    loss: impl FnMut(Tensor<2>, Range<usize>) -> (Tensor<1>, Tensor<2>),
) -> (f32, Gradients) {
    // From the last hidden states to the head's part, and back to them.
    let top = |hidden: Tensor<2>| {
        let rows = pick(hidden);
        let of_head = head(model, rows.clone().inner(), held.chunk_rows, loss);
        let tape = through_constant(rows, of_head.on_hidden.clone());
        (of_head, tape)
    };
    let (of_head, mut sum) = if held.recompute_layers {
        recomputed(model, tokens, top)
    } else {
        let (of_head, tape) = top(model.hidden(tokens));
        (of_head, gradients(model, tape))
    };
    if let Some(gradient) = of_head.on_head {
        accumulate(&mut sum, Gradients::from([(model.head().0.to_owned(), gradient)]));
    }
    (of_head.loss, sum)
}

/// Back from `values`, on which the gradient is given: a product with a constant has exactly that gradient.
fn through_constant(values: Tensor<2>, gradient: Tensor<2>) -> Tape {
    (values * gradient).sum().backward()
}

/// Forward without a record, then back layer by layer from what `top` gives, each computed again from what went into it.
fn recomputed(
    model: &Llama,
    tokens: Tensor<2, Int>,
    top: impl FnOnce(Tensor<2>) -> (OfHead, Tape),
) -> (OfHead, Gradients) {
    let (plain, shape) = (model.clone().frozen(), tokens.dims());
    let rotation = plain.rotation(0, shape[1]);
    let mut hidden = plain.embed(tokens.clone());
    let mut inputs = Vec::with_capacity(model.config().layers);
    for layer in 0..model.config().layers {
        inputs.push(hidden.clone());
        hidden = plain.through(layer, hidden, shape, &rotation);
    }
    let mut sum = Gradients::new();
    // The gradient on `input`, which `tape` leads to.
    let mut back = |input: &Tensor<2>, mut tape: Tape| {
        let on_input = input.grad_remove(&mut tape).expect("the output depends on its input");
        accumulate(&mut sum, gradients(model, tape));
        on_input
    };
    let input = hidden.autodiff().require_grad();
    let (of_head, tape) = top(model.normed(input.clone()));
    let mut gradient = back(&input, tape);
    for (layer, input) in inputs.into_iter().enumerate().rev() {
        let input = input.autodiff().require_grad();
        let output = model.through(layer, input.clone(), shape, &rotation);
        gradient = back(&input, through_constant(output, gradient));
    }
    accumulate(&mut sum, gradients(model, through_constant(model.embed(tokens), gradient)));
    (of_head, sum)
}

/// What the head gives: the summed loss and gradients.
struct OfHead {
    loss: f32,
    /// `[rows, hidden_len]`.
    on_hidden: Tensor<2>,
    /// `[head_rows, hidden_len]`; none without rows.
    on_head: Option<Tensor<2>>,
}

/// Loss and gradients of `plain` `[rows, hidden_len]`, a chunk of logits at a time.
fn head(
    model: &Llama,
    plain: Tensor<2>,
    chunk_rows: usize,
    mut loss: impl FnMut(Tensor<2>, Range<usize>) -> (Tensor<1>, Tensor<2>),
) -> OfHead {
    let (head, precision) = (model.head().1.inner(), model.precision());
    let rows = plain.dims()[0];
    let (mut losses, mut hidden_gradients) = (Vec::new(), Vec::new());
    let mut head_gradient: Option<Tensor<2>> = None;
    for start in (0..rows).step_by(chunk_rows.max(1)) {
        let range = start..rows.min(start + chunk_rows.max(1));
        let chunk = plain.clone().narrow(0, range.start, range.len());
        let (value, on_logits) = loss(precision.linear(chunk.clone(), &head), range);
        losses.push(value);
        hidden_gradients.push(precision.product(on_logits.clone(), head.clone()));
        let more = precision.product(on_logits.transpose(), chunk);
        head_gradient = Some(match head_gradient {
            Some(sum) => sum + more,
            None => more,
        });
    }
    OfHead {
        loss: Tensor::cat(losses, 0).sum().into_scalar::<f32>(),
        on_hidden: Tensor::cat(hidden_gradients, 0),
        on_head: head_gradient,
    }
}

/// Cross-entropy in nats of `logits` `[rows, vocab]` against `next` `[rows]`, summed and multiplied by `scale`, and
/// its gradient on the logits, `scale · (softmax − one-hot)`.
pub fn cross_entropy(logits: Tensor<2>, next: &[u32], scale: f32) -> (Tensor<1>, Tensor<2>) {
    let (rows, device) = (next.len(), logits.device());
    let ids: Vec<i32> = next.iter().map(|&token| token as i32).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows, 1]), &device);
    let probabilities = activation::softmax(logits, 1);
    // Underflow would make the logarithm infinite where the loss is merely large; NaN passes through.
    let chosen = probabilities.clone().gather(1, ids.clone());
    let loss = (chosen + f32::MIN_POSITIVE).log().sum().mul_scalar(-scale);
    let minus = Tensor::full([rows, 1], -1.0, &device);
    let gradient = probabilities.scatter(1, ids, minus, burn::tensor::IndexingUpdateOp::Add).mul_scalar(scale);
    (loss, gradient)
}

/// Mean cross-entropy in nats of every row of `tokens` `[batch][seq + 1]`, without gradients.
pub fn mean_loss(model: &Llama, rows: &[Vec<u32>], chunk_rows: usize) -> f32 {
    let (inputs, next) = inputs_and_next(rows);
    let hidden = model.hidden(crate::model::token_tensor(&inputs, &model.device())).inner();
    let total = hidden.dims()[0];
    let mut sum = 0.0f64;
    for start in (0..total).step_by(chunk_rows.max(1)) {
        let len = chunk_rows.max(1).min(total - start);
        let logits = model.logits(hidden.clone().narrow(0, start, len)).inner();
        sum += f64::from(host(cross_entropy(logits, &next[start..start + len], 1.0).0)[0]);
    }
    (sum / total as f64) as f32
}

/// Splits rows of `seq + 1` tokens into inputs and the flat list of what follows each.
pub fn inputs_and_next(rows: &[Vec<u32>]) -> (Vec<&[u32]>, Vec<u32>) {
    let inputs = rows.iter().map(|row| &row[..row.len() - 1]).collect();
    (inputs, rows.iter().flat_map(|row| row[1..].iter().copied()).collect())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::{ModelConfig, token_tensor};

    #[test]
    fn fewer_rows_are_held_at_once_over_a_large_vocabulary() {
        assert_eq!([256, 16_384].map(|vocab_len| chunk_rows(vocab_len, 512)), [512, 512]);
        assert_eq!([151_936, usize::MAX].map(|vocab_len| chunk_rows(vocab_len, 512)), [55, 1]);
    }

    #[test]
    fn chunks_recomputed_layers_and_autodiff_agree() {
        for tied_head in [true, false] {
            let config = ModelConfig { tied_head, layers: 3, ..ModelConfig::tiny() };
            let model = Llama::random(config, 2, &Device::flex()).unwrap().trainable();
            let rows = vec![vec![1u32, 2, 3, 4, 5], vec![9, 8, 7, 6, 5]];
            let (inputs, next) = inputs_and_next(&rows);
            let tokens = token_tensor(&inputs, &model.device());

            let logits = model.forward(tokens.clone()).reshape([8, 32]);
            let ids: Vec<i32> = next.iter().map(|&x| x as i32).collect();
            let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [8, 1]), &model.device());
            let loss = activation::log_softmax(logits, 1).gather(1, ids).mean().neg();
            let expected_loss = host(loss.clone())[0];
            let expected = gradients(&model, loss.backward());

            for (chunk_rows, recompute_layers) in [(3, false), (8, false), (3, true), (8, true)] {
                let held = Held { chunk_rows, recompute_layers };
                let (value, found) = backward(&model, tokens.clone(), held, |logits, range| {
                    cross_entropy(logits, &next[range], 1.0 / 8.0)
                });
                assert!((value - expected_loss).abs() < 1e-5);
                assert!((mean_loss(&model, &rows, chunk_rows) - expected_loss).abs() < 1e-5);
                assert_eq!(found.len(), expected.len());
                for (name, gradient) in &expected {
                    let worst = (gradient.clone() - found[name].clone()).abs().max().into_scalar::<f32>();
                    assert!(worst < 1e-6, "{name}: {worst}");
                }
            }
        }
    }
}
