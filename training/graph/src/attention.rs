//! Attention with a KV cache: what both layouts share. Each layout is a file of its own.

mod growing;
mod shared_buffer;

use drafthorse_pack::onnx::DataType;

pub(crate) use growing::plain_norm;

use crate::options::Layout;
use crate::rope::{pairs_to_halves, tables};
use crate::weights::{LayerWeights, Linear};
use crate::writer::{Dim, GraphWriter};
use crate::{DecoderConfig, Result};

/// Values that every layer's attention reads, by layout.
pub(crate) enum Inputs {
    /// See [`shared_buffer::Values`].
    SharedBuffer(shared_buffer::Values),
    /// See [`growing::Values`].
    Growing(growing::Values),
}

const BATCH: Dim = Dim::Named("batch_size");
const SEQUENCE: Dim = Dim::Named("sequence_length");
const PAST: Dim = Dim::Named("past_sequence_length");
const TOTAL: Dim = Dim::Named("total_sequence_length");

/// Adds the graph's inputs and what is computed once from them.
pub(crate) fn inputs(
    graph: &mut GraphWriter,
    config: &DecoderConfig,
    frequencies: &[f32],
    layout: Layout,
) -> Result<Inputs> {
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
    let tables = tables(config, frequencies);
    Ok(match layout {
        Layout::Shared => Inputs::SharedBuffer(shared_buffer::values(graph, config, &tables)?),
        Layout::Growing { position_ids } => Inputs::Growing(growing::values(graph, config, &tables, position_ids)?),
    })
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
    inputs: &Inputs,
    layer: &LayerWeights,
    index: usize,
    packed: &str,
) -> Result<String> {
    let norms = head_norms(config, layer);
    match inputs {
        Inputs::SharedBuffer(values) => shared_buffer::attention(graph, config, values, norms, index, packed),
        Inputs::Growing(values) => growing::attention(graph, config, values, norms, index, packed),
    }
}
