//! The shared-buffer layout: `GroupQueryAttention` rotates, appends and attends.

use drafthorse_pack::onnx::DataType;

use crate::rope::Tables;
use crate::writer::{GraphWriter, float, int};
use crate::{DecoderConfig, Result};

/// Names of what every layer reads.
pub(crate) struct Values {
    /// Cached tokens, the new ones included, minus one: i32 `[batch]`.
    cached: String,
    /// Width of the mask: i32 `[1]`.
    total: String,
    /// `[context_len_max, head_len / 2]`.
    cos: String,
    /// `[context_len_max, head_len / 2]`.
    sin: String,
}

/// Adds the values from `attention_mask`.
pub(super) fn values(graph: &mut GraphWriter, config: &DecoderConfig, (cos, sin): &Tables) -> Result<Values> {
    let one = graph.ints("one", &[1], &[1])?;
    let counted = graph.op("ReduceSum", "mask/sum", &["attention_mask", &one], vec![int("keepdims", 0)]);
    let last = graph.op("Sub", "mask/last", &[&counted, &one], vec![]);
    let cached = graph.op("Cast", "mask/seqlens_k", &[&last], vec![int("to", DataType::Int32 as i64)]);
    let width = graph.op("Shape", "mask/width", &["attention_mask"], vec![int("start", 1), int("end", 2)]);
    let total = graph.op("Cast", "mask/total", &[&width], vec![int("to", DataType::Int32 as i64)]);
    let dims = [config.context_len_max, config.head_len / 2];
    let cos = graph.floats("rope.cos", &dims, cos)?;
    let sin = graph.floats("rope.sin", &dims, sin)?;
    Ok(Values { cached, total, cos, sin })
}

/// Adds attention of layer `index`.
pub(super) fn attention(
    graph: &mut GraphWriter,
    config: &DecoderConfig,
    values: &Values,
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
    let Values { cached, total, cos, sin } = values;
    let inputs = [&query, &key, &value, &past[0], &past[1], cached, total, cos, sin];
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
