//! The growing layout: attention from standard operators, present = past with the new rows appended.

use drafthorse_pack::onnx::DataType;

use crate::options::FloatType;
use crate::rope::Tables;
use crate::writer::{GraphWriter, int, ints};
use crate::{DecoderConfig, Result};

/// Names of what every layer reads.
pub(crate) struct Values {
    /// Added to the scores: `[batch, 1, 1, sequence, total]`.
    mask: String,
    /// `[batch, sequence, 1, head_len]`.
    cos: String,
    /// `[batch, sequence, 1, head_len]`, the first half negative.
    sin: String,
}

/// Adds the values from `attention_mask`, the length of the cache and, if there are any, `position_ids`.
pub(super) fn values(
    graph: &mut GraphWriter,
    config: &DecoderConfig,
    (cos, sin): &Tables,
    position_ids: bool,
) -> Result<Values> {
    let rows = graph.op("Shape", "mask/rows", &["input_ids"], vec![int("start", 1), int("end", 2)]);
    let mask = additive_mask(graph, &rows)?;
    let positions = if position_ids { "position_ids".into() } else { counted_positions(graph, &rows)? };
    let dims = [config.context_len_max, config.head_len];
    let half = config.head_len / 2;
    // Both halves in one row, the sign of the rotation in the sine: x·cos + swap(x)·sin.
    let cos: Vec<f32> = cos.chunks_exact(half).flat_map(|row| row.iter().chain(row)).copied().collect();
    let signed = |row: &[f32]| row.iter().map(|value| -value).chain(row.to_vec()).collect::<Vec<_>>();
    let sin: Vec<f32> = sin.chunks_exact(half).flat_map(signed).collect();
    let mut rotation = |name: &str, table: &[f32]| {
        let table = graph.floats(&format!("rope.{name}"), &dims, table)?;
        let rows = graph.op("Gather", &format!("rope/{name}"), &[&table, &positions], vec![]);
        let two = graph.ints("two", &[1], &[2])?;
        Ok(graph.op("Unsqueeze", &format!("rope/{name}_heads"), &[&rows, &two], vec![]))
    };
    let (cos, sin) = (rotation("cos", &cos)?, rotation("sin", &sin)?);
    Ok(Values { mask, cos, sin })
}

/// Zero where row `i` may see column `j`, far below any score elsewhere: `[batch, 1, 1, sequence, total]`.
fn additive_mask(graph: &mut GraphWriter, rows: &str) -> Result<String> {
    let zero = graph.ints("zero", &[], &[0])?;
    let one = graph.ints("one", &[1], &[1])?;
    let step = graph.ints("step", &[], &[1])?;
    let past_attributes = vec![int("start", 2), int("end", 3)];
    let past = graph.op("Shape", "mask/past", &["past_key_values.0.key"], past_attributes);
    let total = graph.op("Add", "mask/total", &[&past, rows], vec![]);

    // Row i may see column j if j <= past + i and the caller's mask has a one there.
    let total_scalar = graph.op("Squeeze", "mask/total_scalar", &[&total], vec![]);
    let past_scalar = graph.op("Squeeze", "mask/past_scalar", &[&past], vec![]);
    let columns = graph.op("Range", "mask/columns", &[&zero, &total_scalar, &step], vec![]);
    let own = graph.op("Range", "mask/own", &[&past_scalar, &total_scalar, &step], vec![]);
    let own_column = graph.op("Unsqueeze", "mask/own_column", &[&own, &one], vec![]);
    let causal = graph.op("LessOrEqual", "mask/causal", &[&columns, &own_column], vec![]);
    let attended = graph.op("Cast", "mask/attended", &["attention_mask"], vec![int("to", DataType::Bool as i64)]);
    let axes = graph.ints("axes_1_2_3", &[3], &[1, 2, 3])?;
    let attended = graph.op("Unsqueeze", "mask/attended_rows", &[&attended, &axes], vec![]);
    let allowed = graph.op("And", "mask/allowed", &[&causal, &attended], vec![]);
    // In f16 not the lowest: with a negative score it would be infinite, and a row that may see nothing without a sum.
    let lowest = if graph.float_type() == DataType::Float { f32::MIN } else { -1e4 };
    let free = graph.floats("mask.free", &[], &[0.0])?;
    let closed = graph.floats("mask.closed", &[], &[lowest])?;
    Ok(graph.op("Where", "mask/bias", &[&allowed, &free, &closed], vec![]))
}

/// Positions of the new tokens: how many the mask counts before each.
fn counted_positions(graph: &mut GraphWriter, rows: &str) -> Result<String> {
    let one = graph.ints("one", &[1], &[1])?;
    let end = graph.ints("end", &[1], &[i64::MAX])?;
    let axis = graph.ints("step", &[], &[1])?;
    let zero = graph.ints("zero", &[], &[0])?;
    let counted = graph.op("CumSum", "positions/counted", &["attention_mask", &axis], vec![]);
    let before = graph.op("Sub", "positions/before", &[&counted, &one], vec![]);
    let before = graph.op("Max", "positions/not_negative", &[&before, &zero], vec![]);
    let start = graph.op("Neg", "positions/start", &[rows], vec![]);
    Ok(graph.op("Slice", "positions/new", &[&before, &start, &end, &one], vec![]))
}

/// Adds attention of layer `index`.
pub(super) fn attention(
    graph: &mut GraphWriter,
    config: &DecoderConfig,
    inputs: &Values,
    norms: Option<[Vec<f32>; 2]>,
    index: usize,
    packed: &str,
) -> Result<String> {
    let name = format!("layers.{index}/attention");
    let at = |part: &str| format!("{name}/{part}");
    let (heads, kv_heads, head_len) = (config.head_count as i64, config.kv_head_count as i64, config.head_len as i64);
    let heads_shape = graph.ints("heads_shape", &[4], &[0, 0, -1, head_len])?;
    let split = graph.op("Reshape", &at("heads"), &[packed, &heads_shape], vec![]);
    let sizes = graph.ints("rotated_sizes", &[2], &[heads + kv_heads, kv_heads])?;
    let (mut turning, value) = (at("turning"), at("value"));
    graph.node("Split", &at("split"), &[&split, &sizes], &[&turning, &value], vec![int("axis", 2)]);
    if let Some(norms) = norms {
        turning = head_norm(graph, config, &norms, index, &turning)?;
    }
    let turned = rotate(graph, inputs, &name, &turning);
    let sizes = graph.ints("query_key_sizes", &[2], &[heads, kv_heads])?;
    let (query, key) = (at("query"), at("key"));
    graph.node("Split", &at("split_turned"), &[&turned, &sizes], &[&query, &key], vec![int("axis", 2)]);
    let keys = append(graph, index, "key", &key);
    let values = append(graph, index, "value", &value);
    mix(graph, config, inputs, &name, [&query, &keys, &values])
}

/// Norms query and key heads at once: their weights lie side by side.
fn head_norm(
    graph: &mut GraphWriter,
    config: &DecoderConfig,
    [query_norm, key_norm]: &[Vec<f32>; 2],
    index: usize,
    heads: &str,
) -> Result<String> {
    let weight = [query_norm.repeat(config.head_count), key_norm.repeat(config.kv_head_count)].concat();
    let dims = [config.head_count + config.kv_head_count, config.head_len];
    let weight = graph.floats(&format!("layers.{index}.head_norm.weight"), &dims, &weight)?;
    plain_norm(graph, &format!("layers.{index}/attention/head_norm"), heads, &weight, config.norm_epsilon)
}

/// Appends new rows `[batch, sequence, kv_heads, head_len]` to the cache; returns all of it.
fn append(graph: &mut GraphWriter, index: usize, kind: &str, rows: &str) -> String {
    let turned = format!("layers.{index}/attention/{kind}_rows");
    let rows = graph.op("Transpose", &turned, &[rows], vec![ints("perm", &[0, 2, 1, 3])]);
    let past = format!("past_key_values.{index}.{kind}");
    graph.op("Concat", &format!("present.{index}.{kind}"), &[&past, &rows], vec![int("axis", 2)])
}

/// Softmax of query·key times values.
fn mix(
    graph: &mut GraphWriter,
    config: &DecoderConfig,
    inputs: &Values,
    name: &str,
    [query, keys, values]: [&str; 3],
) -> Result<String> {
    let at = |part: &str| format!("{name}/{part}");
    let (heads, kv_heads, head_len) = (config.head_count as i64, config.kv_head_count as i64, config.head_len as i64);
    // Query heads that share a key head lie in one group, so keys and values are broadcast and never repeated.
    let group_shape = graph.ints("group_shape", &[5], &[0, 0, kv_heads, heads / kv_heads, head_len])?;
    let grouped = graph.op("Reshape", &at("groups"), &[query, &group_shape], vec![]);
    let grouped = graph.op("Transpose", &at("group_rows"), &[&grouped], vec![ints("perm", &[0, 2, 3, 1, 4])]);
    let scale = graph.floats("attention.scale", &[], &[config.attention_scale()])?;
    let grouped = graph.op("Mul", &at("scaled"), &[&grouped, &scale], vec![]);
    let two = graph.ints("two", &[1], &[2])?;
    let keys = graph.op("Transpose", &at("keys_turned"), &[keys], vec![ints("perm", &[0, 1, 3, 2])]);
    let keys = graph.op("Unsqueeze", &at("keys"), &[&keys, &two], vec![]);
    let values = graph.op("Unsqueeze", &at("values"), &[values, &two], vec![]);
    let scores = graph.op("MatMul", &at("scores"), &[&grouped, &keys], vec![]);
    let scores = graph.op("Add", &at("masked"), &[&scores, &inputs.mask], vec![]);
    let shares = graph.op("Softmax", &at("shares"), &[&scores], vec![int("axis", -1)]);
    let mixed = graph.op("MatMul", &at("mixed"), &[&shares, &values], vec![]);
    let mixed = graph.op("Transpose", &at("mixed_rows"), &[&mixed], vec![ints("perm", &[0, 3, 1, 2, 4])]);
    let flat = graph.ints("query_shape", &[3], &[0, 0, heads * head_len])?;
    Ok(graph.op("Reshape", name, &[&mixed, &flat], vec![]))
}

fn rotate(graph: &mut GraphWriter, inputs: &Values, name: &str, heads: &str) -> String {
    let at = |part: &str| format!("{name}/rope_{part}");
    let halves = [at("low"), at("high")];
    let split = vec![int("axis", -1), int("num_outputs", 2)];
    graph.node("Split", &at("halves"), &[heads], &[&halves[0], &halves[1]], split);
    let swapped = graph.op("Concat", &at("swapped"), &[&halves[1], &halves[0]], vec![int("axis", -1)]);
    let kept = graph.op("Mul", &at("kept"), &[heads, &inputs.cos], vec![]);
    let crossed = graph.op("Mul", &at("crossed"), &[&swapped, &inputs.sin], vec![]);
    graph.op("Add", &at("turned"), &[&kept, &crossed], vec![])
}

/// Adds an RMS norm over the last axis from standard operators, the mean square in f32: in f16 the square of 256 is
/// infinite. `weight` is broadcast.
pub(crate) fn plain_norm(graph: &mut GraphWriter, name: &str, x: &str, weight: &str, epsilon: f32) -> Result<String> {
    let at = |part: &str| format!("{name}/{part}");
    let exponent = graph.floats_as(FloatType::F32, "norm.exponent", &[], &[2.0])?;
    let epsilon = graph.floats_as(FloatType::F32, "norm.epsilon", &[], &[epsilon])?;
    let last = graph.ints("last_axis", &[1], &[-1])?;
    let outside = graph.float_type();
    let cast = |graph: &mut GraphWriter, part: &str, x: &str, to: DataType| match outside {
        DataType::Float => x.to_owned(),
        _ => graph.op("Cast", &at(part), &[x], vec![int("to", to as i64)]),
    };
    let x = &cast(graph, "wide", x, DataType::Float);
    let square = graph.op("Pow", &at("square"), &[x, &exponent], vec![]);
    let mean = graph.op("ReduceMean", &at("mean"), &[&square, &last], vec![int("keepdims", 1)]);
    let sum = graph.op("Add", &at("sum"), &[&mean, &epsilon], vec![]);
    let root = graph.op("Sqrt", &at("root"), &[&sum], vec![]);
    let unit = graph.op("Div", &at("unit"), &[x, &root], vec![]);
    let unit = cast(graph, "narrow", &unit, outside);
    Ok(graph.op("Mul", name, &[&unit, weight], vec![]))
}
