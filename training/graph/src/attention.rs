//! Attention with a KV cache, in both layouts.

use drafthorse_pack::onnx::DataType;

use crate::options::Layout;
use crate::rope::{Tables, pairs_to_halves, tables};
use crate::weights::{LayerWeights, Linear};
use crate::writer::{Dim, GraphWriter, float, int, ints};
use crate::{DecoderConfig, Result};

/// Values that every layer's attention reads.
pub(crate) struct Shared {
    layout: Layout,
    /// Shared buffer: cached tokens − 1 `[batch]`, total length `[1]`. Growing: cosines, sines, additive mask.
    values: Vec<String>,
    cos: String,
    sin: String,
}

const BATCH: Dim = Dim::Named("batch_size");
const SEQUENCE: Dim = Dim::Named("sequence_length");
const PAST: Dim = Dim::Named("past_sequence_length");
const TOTAL: Dim = Dim::Named("total_sequence_length");

/// Adds the inputs and what is computed once from them.
pub(crate) fn shared(
    graph: &mut GraphWriter,
    config: &DecoderConfig,
    frequencies: &[f32],
    layout: Layout,
) -> Result<Shared> {
    let tables = tables(config, frequencies);
    graph.input("input_ids", DataType::Int64, &[BATCH, SEQUENCE]);
    graph.input("attention_mask", DataType::Int64, &[BATCH, TOTAL]);
    if layout == (Layout::Growing { position_ids: true }) {
        graph.input("position_ids", DataType::Int64, &[BATCH, SEQUENCE]);
    }
    let float_type = graph.float_type();
    for layer in 0..config.layer_count {
        let dims = [BATCH, Dim::Fixed(config.kv_head_count), PAST, Dim::Fixed(config.head_len)];
        graph.input(&format!("past_key_values.{layer}.key"), float_type, &dims);
        graph.input(&format!("past_key_values.{layer}.value"), float_type, &dims);
    }
    match layout {
        Layout::Shared => shared_buffer_values(graph, config, tables),
        Layout::Growing { position_ids } => growing_values(graph, config, tables, position_ids),
    }
}

/// Declares the outputs `present.%d.key` and `present.%d.value`.
pub(crate) fn declare_present(graph: &mut GraphWriter, config: &DecoderConfig) {
    let float_type = graph.float_type();
    for layer in 0..config.layer_count {
        let dims = [BATCH, Dim::Fixed(config.kv_head_count), TOTAL, Dim::Fixed(config.head_len)];
        graph.output(&format!("present.{layer}.key"), float_type, &dims);
        graph.output(&format!("present.{layer}.value"), float_type, &dims);
    }
}

fn shared_buffer_values(graph: &mut GraphWriter, config: &DecoderConfig, (cos, sin): Tables) -> Result<Shared> {
    let one = graph.ints("one", &[1], &[1])?;
    let counted = graph.op("ReduceSum", "mask/sum", &["attention_mask", &one], vec![int("keepdims", 0)]);
    let last = graph.op("Sub", "mask/last", &[&counted, &one], vec![]);
    let cached = graph.op("Cast", "mask/seqlens_k", &[&last], vec![int("to", DataType::Int32 as i64)]);
    let width = graph.op("Shape", "mask/width", &["attention_mask"], vec![int("start", 1), int("end", 2)]);
    let total = graph.op("Cast", "mask/total", &[&width], vec![int("to", DataType::Int32 as i64)]);
    let dims = [config.context_len_max, config.head_len / 2];
    let cos = graph.floats("rope.cos", &dims, &cos)?;
    let sin = graph.floats("rope.sin", &dims, &sin)?;
    Ok(Shared { layout: Layout::Shared, values: vec![cached, total], cos, sin })
}

fn growing_values(
    graph: &mut GraphWriter,
    config: &DecoderConfig,
    (cos, sin): Tables,
    position_ids: bool,
) -> Result<Shared> {
    let zero = graph.ints("zero", &[], &[0])?;
    let one = graph.ints("one", &[1], &[1])?;
    let step = graph.ints("step", &[], &[1])?;
    let past_attributes = vec![int("start", 2), int("end", 3)];
    let past = graph.op("Shape", "mask/past", &["past_key_values.0.key"], past_attributes);
    let rows = graph.op("Shape", "mask/rows", &["input_ids"], vec![int("start", 1), int("end", 2)]);
    let total = graph.op("Add", "mask/total", &[&past, &rows], vec![]);

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
    let lowest = if graph.float_type() == DataType::Float { f32::MIN } else { half::f16::MIN.to_f32() };
    let free = graph.floats("mask.free", &[], &[0.0])?;
    let closed = graph.floats("mask.closed", &[], &[lowest])?;
    let bias = graph.op("Where", "mask/bias", &[&allowed, &free, &closed], vec![]);

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
    Ok(Shared { layout: Layout::Growing { position_ids }, values: vec![bias], cos, sin })
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

/// Query, key and value rows of a layer below each other, with adjacent pairs of a head turned into halves.
pub(crate) fn packed_projection(config: &DecoderConfig, layer: &LayerWeights) -> Linear {
    let mut packed = [layer.query.clone(), layer.key.clone(), layer.value.clone()];
    if config.rope.interleaved {
        for part in &mut packed[..2] {
            part.weight = pairs_to_halves(&part.weight, config.head_len, config.hidden_len);
            part.bias = part.bias.as_ref().map(|bias| pairs_to_halves(bias, config.head_len, 1));
        }
    }
    Linear::stack(&[&packed[0], &packed[1], &packed[2]], config.hidden_len)
}

/// Norm weights of query and key heads, ordered like the rows of [`packed_projection`].
fn head_norms(config: &DecoderConfig, layer: &LayerWeights) -> Option<[Vec<f32>; 2]> {
    let ordered = |norm: &Vec<f32>| {
        let norm: Vec<f32> = norm.iter().map(|weight| weight + config.norm_offset).collect();
        if config.rope.interleaved { pairs_to_halves(&norm, config.head_len, 1) } else { norm }
    };
    Some([ordered(layer.query_norm.as_ref()?), ordered(layer.key_norm.as_ref()?)])
}

/// Adds attention of layer `index` over `packed` `[batch, sequence, query_len + 2·kv_len]`; returns
/// `[batch, sequence, query_len]`.
pub(crate) fn attention(
    graph: &mut GraphWriter,
    config: &DecoderConfig,
    shared: &Shared,
    layer: &LayerWeights,
    index: usize,
    packed: &str,
) -> Result<String> {
    let norms = head_norms(config, layer);
    match shared.layout {
        Layout::Shared => group_query_attention(graph, config, shared, norms, index, packed),
        Layout::Growing { .. } => plain_attention(graph, config, shared, norms, index, packed),
    }
}

fn group_query_attention(
    graph: &mut GraphWriter,
    config: &DecoderConfig,
    shared: &Shared,
    norms: Option<[Vec<f32>; 2]>,
    index: usize,
    packed: &str,
) -> Result<String> {
    let name = format!("layers.{index}/attention");
    let (query, key, value) = match norms {
        None => (packed.to_owned(), String::new(), String::new()),
        Some(norms) => normed_heads(graph, config, &norms, &name, index, packed)?,
    };
    let past = [format!("past_key_values.{index}.key"), format!("past_key_values.{index}.value")];
    let present = [format!("present.{index}.key"), format!("present.{index}.value")];
    let attributes = vec![
        int("num_heads", config.head_count as i64),
        int("kv_num_heads", config.kv_head_count as i64),
        float("scale", config.attention_scale()),
        int("do_rotary", 1),
        int("rotary_interleaved", 0),
    ];
    let [cached, total] = [&shared.values[0], &shared.values[1]];
    let inputs = [&query, &key, &value, &past[0], &past[1], cached, total, &shared.cos, &shared.sin];
    let inputs = inputs.map(String::as_str);
    graph.node("GroupQueryAttention", &name, &inputs, &[&name, &present[0], &present[1]], attributes);
    Ok(name)
}

/// Splits packed rows and norms each query and key head, as onnxruntime-genai's builder writes it.
fn normed_heads(
    graph: &mut GraphWriter,
    config: &DecoderConfig,
    norms: &[Vec<f32>; 2],
    name: &str,
    index: usize,
    packed: &str,
) -> Result<(String, String, String)> {
    let (query_len, kv_len) = (config.query_len() as i64, config.kv_len() as i64);
    let sizes = graph.ints("packed_sizes", &[3], &[query_len, kv_len, kv_len])?;
    let parts = ["query", "key", "value"].map(|part| format!("{name}/{part}"));
    graph.node(
        "Split",
        &format!("{name}/split"),
        &[packed, &sizes],
        &[&parts[0], &parts[1], &parts[2]],
        vec![int("axis", -1)],
    );
    let heads = graph.ints("heads_shape", &[4], &[0, 0, -1, config.head_len as i64])?;
    let flat = graph.ints("flat_shape", &[3], &[0, 0, -1])?;
    let mut normed = Vec::with_capacity(2);
    for (part, (weight, kind)) in parts.iter().zip(norms.iter().zip(["query_norm", "key_norm"])) {
        let weight = graph.floats(&format!("layers.{index}.{kind}.weight"), &[config.head_len], weight)?;
        let split = graph.op("Reshape", &format!("{part}_heads"), &[part, &heads], vec![]);
        let attributes = vec![int("axis", -1), float("epsilon", config.norm_epsilon)];
        let norm = graph.op("SimplifiedLayerNormalization", &format!("{part}_normed"), &[&split, &weight], attributes);
        normed.push(graph.op("Reshape", &format!("{part}_flat"), &[&norm, &flat], vec![]));
    }
    let [_, _, value] = parts;
    let key = normed.pop().unwrap_or_default();
    Ok((normed.pop().unwrap_or_default(), key, value))
}

fn plain_attention(
    graph: &mut GraphWriter,
    config: &DecoderConfig,
    shared: &Shared,
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
    let axis_2 = || vec![int("axis", 2)];
    let (mut turning, value) = (at("turning"), at("value"));
    graph.node("Split", &at("split"), &[&split, &sizes], &[&turning, &value], axis_2());
    if let Some([query_norm, key_norm]) = norms {
        let repeat = |norm: &[f32], times: usize| norm.repeat(times);
        let weight = [repeat(&query_norm, config.head_count), repeat(&key_norm, config.kv_head_count)].concat();
        let dims = [config.head_count + config.kv_head_count, config.head_len];
        let weight = graph.floats(&format!("layers.{index}.head_norm.weight"), &dims, &weight)?;
        turning = plain_norm(graph, &at("head_norm"), &turning, &weight, config.norm_epsilon)?;
    }
    let turned = rotate(graph, shared, &name, &turning);
    let sizes = graph.ints("query_key_sizes", &[2], &[heads, kv_heads])?;
    let (query, key) = (at("query"), at("key"));
    graph.node("Split", &at("split_turned"), &[&turned, &sizes], &[&query, &key], axis_2());

    let mut present = |kind: &str, rows: &str| {
        let to_heads = vec![ints("perm", &[0, 2, 1, 3])];
        let rows = graph.op("Transpose", &at(&format!("{kind}_rows")), &[rows], to_heads);
        let past = format!("past_key_values.{index}.{kind}");
        graph.op("Concat", &format!("present.{index}.{kind}"), &[&past, &rows], axis_2())
    };
    let (keys, values) = (present("key", &key), present("value", &value));

    // Query heads that share a key head lie in one group, so keys and values are broadcast and never repeated.
    let group_shape = graph.ints("group_shape", &[5], &[0, 0, kv_heads, heads / kv_heads, head_len])?;
    let grouped = graph.op("Reshape", &at("groups"), &[&query, &group_shape], vec![]);
    let grouped = graph.op("Transpose", &at("group_rows"), &[&grouped], vec![ints("perm", &[0, 2, 3, 1, 4])]);
    let scale = graph.floats("attention.scale", &[], &[config.attention_scale()])?;
    let grouped = graph.op("Mul", &at("scaled"), &[&grouped, &scale], vec![]);
    let two = graph.ints("two", &[1], &[2])?;
    let keys = graph.op("Transpose", &at("keys_turned"), &[&keys], vec![ints("perm", &[0, 1, 3, 2])]);
    let keys = graph.op("Unsqueeze", &at("keys"), &[&keys, &two], vec![]);
    let values = graph.op("Unsqueeze", &at("values"), &[&values, &two], vec![]);
    let scores = graph.op("MatMul", &at("scores"), &[&grouped, &keys], vec![]);
    let scores = graph.op("Add", &at("masked"), &[&scores, &shared.values[0]], vec![]);
    let shares = graph.op("Softmax", &at("shares"), &[&scores], vec![int("axis", -1)]);
    let mixed = graph.op("MatMul", &at("mixed"), &[&shares, &values], vec![]);
    let mixed = graph.op("Transpose", &at("mixed_rows"), &[&mixed], vec![ints("perm", &[0, 3, 1, 2, 4])]);
    let flat = graph.ints("query_shape", &[3], &[0, 0, heads * head_len])?;
    Ok(graph.op("Reshape", &name, &[&mixed, &flat], vec![]))
}

fn rotate(graph: &mut GraphWriter, shared: &Shared, name: &str, heads: &str) -> String {
    let at = |part: &str| format!("{name}/rope_{part}");
    let halves = [at("low"), at("high")];
    let split = vec![int("axis", -1), int("num_outputs", 2)];
    graph.node("Split", &at("halves"), &[heads], &[&halves[0], &halves[1]], split);
    let swapped = graph.op("Concat", &at("swapped"), &[&halves[1], &halves[0]], vec![int("axis", -1)]);
    let kept = graph.op("Mul", &at("kept"), &[heads, &shared.cos], vec![]);
    let crossed = graph.op("Mul", &at("crossed"), &[&swapped, &shared.sin], vec![]);
    graph.op("Add", &at("turned"), &[&kept, &crossed], vec![])
}

/// Adds an RMS norm over the last axis from standard operators; `weight` is broadcast.
pub(crate) fn plain_norm(graph: &mut GraphWriter, name: &str, x: &str, weight: &str, epsilon: f32) -> Result<String> {
    let at = |part: &str| format!("{name}/{part}");
    let exponent = graph.floats("norm.exponent", &[], &[2.0])?;
    let epsilon = graph.floats("norm.epsilon", &[], &[epsilon])?;
    let last = graph.ints("last_axis", &[1], &[-1])?;
    let square = graph.op("Pow", &at("square"), &[x, &exponent], vec![]);
    let mean = graph.op("ReduceMean", &at("mean"), &[&square, &last], vec![int("keepdims", 1)]);
    let sum = graph.op("Add", &at("sum"), &[&mean, &epsilon], vec![]);
    let root = graph.op("Sqrt", &at("root"), &[&sum], vec![]);
    let unit = graph.op("Div", &at("unit"), &[x, &root], vec![]);
    Ok(graph.op("Mul", name, &[&unit, weight], vec![]))
}
