//! A drafter cut out of the target: chosen layers, and a chosen part of its width.
//!
//! A narrower residual stream keeps the directions in which the embedding varies most: with `P` `[hidden, width]` of
//! orthonormal columns, what reads the stream becomes `W·P` and what writes it `Pᵀ·W`. Norm weights are folded into
//! the readers first, because they do not commute with a rotation.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::model::{Llama, ModelConfig, host};
use crate::random::Stream;
use crate::{Error, Result};

/// What is kept of the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutSettings {
    /// Layers by number, ascending.
    pub layers: Vec<usize>,
    /// Width of the residual stream; none keeps the target's.
    #[serde(default)]
    pub hidden_len: Option<usize>,
    /// Width of the feed-forward part; none keeps the target's. The rows with the largest weights stay.
    #[serde(default)]
    pub ffn_len: Option<usize>,
    /// Key and value heads with their query heads; none keeps all. The first ones stay.
    #[serde(default)]
    pub kv_heads: Option<usize>,
}

type Named = BTreeMap<String, Tensor<2>>;

/// Cuts `target`.
///
/// # Errors
/// `Setting` if a layer or width is not within the target's.
pub(super) fn cut(target: &Llama, settings: &CutSettings, device: &Device) -> Result<Llama> {
    let config = shape(target.config(), settings)?;
    let mut weights: Named = target.clone().frozen().tensors().into_iter().collect();
    if config.hidden_len < target.config().hidden_len {
        narrow_stream(&mut weights, target.config(), config.hidden_len, device);
    }
    let group = config.heads / config.kv_heads;
    let take_rows = |tensor: Tensor<2>, rows: usize| tensor.narrow(0, 0, rows);
    Llama::build(config.clone(), device, |name, [rows, columns]| {
        let (source, part) = source_name(name, &settings.layers);
        let missing = || Error::setting("cut", format!("the target has no tensor {source}"));
        let tensor = weights.get(&source).cloned().ok_or_else(missing)?;
        Ok(match part {
            "self_attn.q_proj.weight" | "self_attn.k_proj.weight" | "self_attn.v_proj.weight" => {
                take_rows(tensor, rows)
            }
            "self_attn.q_proj.bias" | "self_attn.k_proj.bias" | "self_attn.v_proj.bias" => tensor.narrow(1, 0, columns),
            "self_attn.o_proj.weight" => tensor.narrow(1, 0, config.kv_heads * group * config.head_len),
            "mlp.gate_proj.weight" | "mlp.up_proj.weight" => {
                tensor.select(0, strongest(&weights, &source, rows, device))
            }
            "mlp.down_proj.weight" => tensor.select(1, strongest(&weights, &source, columns, device)),
            _ => tensor,
        })
    })
}

fn shape(target: &ModelConfig, settings: &CutSettings) -> Result<ModelConfig> {
    let ascending = settings.layers.windows(2).all(|pair| pair[0] < pair[1]);
    if settings.layers.is_empty() || !ascending || settings.layers.iter().any(|&layer| layer >= target.layers) {
        return Err(Error::setting("layers", format!("{:?}: ascending, below {}", settings.layers, target.layers)));
    }
    let within = |name: &str, value: Option<usize>, max: usize| match value {
        None => Ok(max),
        Some(value) if value > 0 && value <= max => Ok(value),
        Some(value) => Err(Error::setting(name, format!("{value}: from 1 to the target's {max}"))),
    };
    let hidden_len = within("hidden_len", settings.hidden_len, target.hidden_len)?;
    let kv_heads = within("kv_heads", settings.kv_heads, target.kv_heads)?;
    if target.head_tokens.is_some() {
        return Err(Error::setting("target", "its head is trimmed; cut first, then trim"));
    }
    let config = ModelConfig {
        layers: settings.layers.len(),
        hidden_len,
        ffn_len: within("ffn_len", settings.ffn_len, target.ffn_len)?,
        kv_heads,
        heads: kv_heads * (target.heads / target.kv_heads),
        // The final norm is folded into the head, which then differs from the embedding.
        tied_head: target.tied_head && hidden_len == target.hidden_len,
        ..target.clone()
    };
    config.check()?;
    Ok(config)
}

/// The target's name of a drafter's tensor, and its name within a layer.
fn source_name<'a>(name: &'a str, layers: &[usize]) -> (String, &'a str) {
    let inner = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    match inner.and_then(|(index, part)| Some((index.parse::<usize>().ok()?, part))) {
        Some((index, part)) => (format!("model.layers.{}.{part}", layers[index]), part),
        None => (name.to_owned(), name),
    }
}

/// The `count` feed-forward rows whose gate, up and down weights are largest together, ascending.
fn strongest(weights: &Named, near: &str, count: usize, device: &Device) -> Tensor<1, burn::tensor::Int> {
    let layer = near.rsplit_once("mlp.").map_or("", |(layer, _)| layer);
    let norm = |part: &str, dim: usize| {
        let tensor = weights[&format!("{layer}mlp.{part}_proj.weight")].clone();
        host(tensor.square().sum_dim(dim))
    };
    let (gate, up, down) = (norm("gate", 1), norm("up", 1), norm("down", 0));
    let strength = |row: usize| gate[row] * up[row] * down[row];
    let mut rows: Vec<usize> = (0..gate.len()).collect();
    rows.sort_by(|&a, &b| strength(b).total_cmp(&strength(a)).then(a.cmp(&b)));
    rows.truncate(count);
    rows.sort_unstable();
    let rows: Vec<i32> = rows.into_iter().map(|row| row as i32).collect();
    let len = rows.len();
    Tensor::from_data(TensorData::new(rows, [len]), device)
}

/// Projects every tensor that reads or writes the residual stream to `width` directions.
fn narrow_stream(weights: &mut Named, config: &ModelConfig, width: usize, device: &Device) {
    let embedding = weights["model.embed_tokens.weight"].clone();
    let basis = principal_directions(&embedding, width, device);
    let narrowed = embedding.clone().matmul(basis.clone());
    // What the directions keep of the mean square, now taken over fewer of them, is what norms divide by.
    let energy = |tensor: &Tensor<2>| f64::from(host(tensor.clone().square().sum())[0]);
    let kept = energy(&narrowed) / energy(&embedding).max(f64::MIN_POSITIVE);
    let scale = (kept * config.hidden_len as f64 / width as f64).sqrt();
    let head = weights.get("lm_head.weight").cloned().unwrap_or(embedding);
    let read = |tensor: Tensor<2>, norm: &Tensor<2>| (tensor * norm.clone()).matmul(basis.clone()).mul_scalar(scale);
    let ones = || Tensor::ones([1, width], device);
    let final_norm = weights["model.norm.weight"].clone();
    weights.insert("lm_head.weight".into(), read(head, &final_norm));
    weights.insert("model.norm.weight".into(), ones());
    weights.insert("model.embed_tokens.weight".into(), narrowed);
    for layer in 0..config.layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        for (norm, readers) in [
            ("input_layernorm", &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"][..]),
            ("post_attention_layernorm", &["mlp.gate_proj", "mlp.up_proj"]),
        ] {
            let weight = weights[&name(norm)].clone();
            for reader in readers {
                let narrowed = read(weights[&name(reader)].clone(), &weight);
                weights.insert(name(reader), narrowed);
            }
            weights.insert(name(norm), ones());
        }
        for writer in ["self_attn.o_proj", "mlp.down_proj"] {
            let narrowed = basis.clone().transpose().matmul(weights[&name(writer)].clone());
            weights.insert(name(writer), narrowed);
        }
    }
}

/// Orthonormal columns `[hidden, width]` along which `embedding` `[vocab, hidden]` varies most, by subspace iteration.
fn principal_directions(embedding: &Tensor<2>, width: usize, device: &Device) -> Tensor<2> {
    let hidden = embedding.dims()[1];
    let covariance = embedding.clone().transpose().matmul(embedding.clone());
    let mut stream = Stream::new(0, 0x6375_7400, 0);
    let values: Vec<f32> = (0..hidden * width).map(|_| stream.normal()).collect();
    let mut columns = orthonormal(values, hidden, width);
    for _ in 0..40 {
        let basis = Tensor::<2>::from_data(TensorData::new(columns, [width, hidden]), device);
        columns = orthonormal(host(basis.matmul(covariance.clone())), hidden, width);
    }
    Tensor::<2>::from_data(TensorData::new(columns, [width, hidden]), device).transpose()
}

/// Gram and Schmidt's method, twice, on the rows `[width, hidden]`.
fn orthonormal(mut rows: Vec<f32>, hidden: usize, width: usize) -> Vec<f32> {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    for index in 0..width {
        let (done, rest) = rows.split_at_mut(index * hidden);
        let row = &mut rest[..hidden];
        for _ in 0..2 {
            for before in done.chunks_exact(hidden) {
                let along = dot(before, row) as f32;
                row.iter_mut().zip(before).for_each(|(x, y)| *x -= along * y);
            }
        }
        let length = dot(row, row).sqrt().max(1e-30) as f32;
        row.iter_mut().for_each(|x| *x /= length);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::token_tensor;

    fn logits(model: &Llama) -> Vec<f32> {
        host(model.forward(token_tensor(&[[3u32, 9, 27, 1]], &model.device())))
    }

    fn target() -> Llama {
        Llama::random(ModelConfig { hidden_len: 16, ..ModelConfig::tiny() }, 4, &Device::flex())
            .unwrap()
            .map(|_, tensor| tensor.mul_scalar(4.0))
    }

    #[test]
    fn keeping_everything_is_the_target() {
        let settings = CutSettings { layers: vec![0, 1], hidden_len: None, ffn_len: None, kv_heads: None };
        assert_eq!(logits(&cut(&target(), &settings, &Device::flex()).unwrap()), logits(&target()));
    }

    #[test]
    fn a_rotation_of_the_whole_width_changes_nothing() {
        let target = target();
        let mut weights: Named = target.tensors().into_iter().collect();
        narrow_stream(&mut weights, target.config(), 16, &Device::flex());
        let config = ModelConfig { tied_head: false, ..target.config().clone() };
        let turned = Llama::build(config, &Device::flex(), |name, _| Ok(weights[name].clone())).unwrap();
        for (x, y) in logits(&turned).iter().zip(logits(&target)) {
            assert!((x - y).abs() < 1e-3 * (1.0 + y.abs()), "{x} {y}");
        }
    }

    #[test]
    fn a_cut_that_loses_no_direction_computes_what_the_target_does() {
        let mut stream = Stream::new(3, 0, 0);
        let half = orthonormal((0..8 * 16).map(|_| stream.normal()).collect(), 16, 8);
        let half = Tensor::<2>::from_data(TensorData::new(half, [8, 16]), &Device::flex());
        let onto = half.clone().transpose().matmul(half);
        // What stands in the residual stream lies in eight of its sixteen directions.
        let target = target().map(|name, tensor| match name {
            "model.embed_tokens.weight" => tensor.matmul(onto.clone()),
            name if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") => {
                onto.clone().matmul(tensor)
            }
            _ => tensor,
        });
        let settings = CutSettings { layers: vec![0, 1], hidden_len: Some(8), ffn_len: None, kv_heads: None };
        let drafter = cut(&target, &settings, &Device::flex()).unwrap();
        for (x, y) in logits(&drafter).iter().zip(logits(&target)) {
            // Not closer, because the norms' epsilon is added to a mean square of twice the size.
            assert!((x - y).abs() < 1e-2 * (1.0 + y.abs()), "{x} {y}");
        }
    }

    #[test]
    fn a_narrow_cut_has_the_shape_asked_for() {
        let settings = CutSettings { layers: vec![1], hidden_len: Some(8), ffn_len: Some(10), kv_heads: Some(1) };
        let drafter = cut(&target(), &settings, &Device::flex()).unwrap();
        let config = drafter.config();
        assert_eq!((config.layers, config.hidden_len, config.ffn_len, config.heads), (1, 8, 10, 2));
        assert!(logits(&drafter).iter().all(|x| x.is_finite()));
        for wrong in [
            CutSettings { layers: vec![2], ..settings.clone() },
            CutSettings { layers: vec![1, 0], ..settings.clone() },
            CutSettings { hidden_len: Some(17), ..settings.clone() },
            CutSettings { kv_heads: Some(0), ..settings },
        ] {
            assert!(cut(&target(), &wrong, &Device::flex()).is_err());
        }
    }
}
