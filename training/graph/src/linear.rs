//! Projections, embedding and head in each weight format.

use drafthorse_pack::onnx::DataType;

use crate::Result;
use crate::int8x8::int8x8;
use crate::options::{FloatType, WeightFormat};
use crate::quantize::quantize_blocks;
use crate::weights::Linear;
use crate::writer::{GraphWriter, int, ints};

impl WeightFormat {
    /// Bits and block size, if weights are quantised in blocks.
    pub(crate) fn blocks(self) -> Option<(u32, usize)> {
        match self {
            Self::Float | Self::Int8x8 { .. } => None,
            Self::Int4 { block } => Some((4, block)),
            Self::Int8 { block } => Some((8, block)),
        }
    }

    /// Bits that one weight takes, scales included.
    pub(crate) fn bits_per_weight(self, io: FloatType) -> f64 {
        let float = match io {
            FloatType::F32 => 32.0,
            FloatType::F16 => 16.0,
        };
        match self {
            Self::Float => float,
            Self::Int4 { block } => 4.0 + float / block as f64,
            Self::Int8 { block } => 8.0 + float / block as f64,
            Self::Int8x8 { .. } => 8.0,
        }
    }
}

/// How one projection is written.
#[derive(Clone, Copy)]
pub(crate) struct Encoding {
    pub(crate) format: WeightFormat,
    /// Largest magnitude of the input, where it was calibrated.
    pub(crate) input_max: Option<f32>,
    /// True if only operators of the standard set may be used where there are any.
    pub(crate) standard_operators: bool,
}

/// Adds `y = W x + b`; `x` is `[.., in_len]`.
pub(crate) fn linear(
    graph: &mut GraphWriter,
    name: &str,
    x: &str,
    projection: &Linear,
    in_len: usize,
    encoding: Encoding,
) -> Result<String> {
    let bias = match &projection.bias {
        Some(bias) => Some(graph.floats(&format!("{name}.bias"), &[bias.len()], bias)?),
        None => None,
    };
    if let Some((bits, block)) = encoding.format.blocks() {
        return block_linear(graph, name, x, &projection.weight, bias, in_len, (bits, block));
    }
    let product_name = if bias.is_some() { format!("{name}/product") } else { name.to_owned() };
    let weight = &projection.weight;
    let product = match encoding.format {
        WeightFormat::Int8x8 { activations } => int8x8(graph, &product_name, x, weight, in_len, encoding, activations)?,
        _ => {
            let weight = graph.transposed(&format!("{name}.weight"), weight, in_len)?;
            graph.op("MatMul", &product_name, &[x, &weight], vec![])
        }
    };
    Ok(match bias {
        None => product,
        Some(bias) => graph.op("Add", name, &[&product, &bias], vec![]),
    })
}

fn block_linear(
    graph: &mut GraphWriter,
    name: &str,
    x: &str,
    weight: &[f32],
    bias: Option<String>,
    in_len: usize,
    (bits, block): (u32, usize),
) -> Result<String> {
    let out_len = weight.len() / in_len;
    let quantized = quantize_blocks(weight, in_len, bits, block);
    let blocks = quantized.block_count;
    let dims = [out_len, blocks, block * bits as usize / 8];
    let codes = graph.tensor(&format!("{name}.weight_quantized"), DataType::Uint8, &dims, quantized.codes)?;
    let scales = graph.floats(&format!("{name}.weight_scales"), &[out_len, blocks], &quantized.scales)?;
    let bias = bias.unwrap_or_default();
    let mut inputs = vec![x, &codes, &scales];
    if !bias.is_empty() {
        inputs.extend(["", "", &bias]);
    }
    Ok(mat_mul_n_bits(graph, name, &inputs, (out_len, in_len), (bits, block)))
}

fn mat_mul_n_bits(
    graph: &mut GraphWriter,
    name: &str,
    inputs: &[&str],
    (out_len, in_len): (usize, usize),
    (bits, block): (u32, usize),
) -> String {
    let attributes = vec![
        int("K", in_len as i64),
        int("N", out_len as i64),
        int("bits", i64::from(bits)),
        int("block_size", block as i64),
        int("accuracy_level", 4),
    ];
    graph.op("MatMulNBits", name, inputs, attributes)
}

/// Names of an embedding in the graph, for a head that shares it.
pub(crate) struct Embedding {
    /// Format that it was written in.
    format: WeightFormat,
    /// Floats `[rows, columns]`, or codes `[rows, columns · bits / 8]`.
    weight: String,
    /// `[rows, blocks]` of a block format.
    scales: Option<String>,
}

/// Adds the rows of `[rows, columns]` that `ids` name; returns them and what a tied head needs.
pub(crate) fn embedding(
    graph: &mut GraphWriter,
    ids: &str,
    weight: &[f32],
    columns: usize,
    format: WeightFormat,
) -> Result<(String, Embedding)> {
    let rows = weight.len() / columns;
    let Some((bits, block)) = format.blocks() else {
        let weight = graph.floats("embedding.weight", &[rows, columns], weight)?;
        let hidden = graph.op("Gather", "embedding", &[&weight, ids], vec![]);
        return Ok((hidden, Embedding { format, weight, scales: None }));
    };
    let quantized = quantize_blocks(weight, columns, bits, block);
    let row_bytes = columns * bits as usize / 8;
    let padded_bytes = quantized.block_count * block * bits as usize / 8;
    let codes = quantized.codes.chunks_exact(padded_bytes).flat_map(|row| &row[..row_bytes]).copied().collect();
    let weight = graph.tensor("embedding.weight_quantized", DataType::Uint8, &[rows, row_bytes], codes)?;
    let scales = graph.floats("embedding.weight_scales", &[rows, quantized.block_count], &quantized.scales)?;
    let attributes = vec![
        int("bits", i64::from(bits)),
        int("block_size", block as i64),
        int("gather_axis", 0),
        int("quantize_axis", 1),
    ];
    let hidden = graph.op("GatherBlockQuantized", "embedding", &[&weight, ids, &scales], attributes);
    Ok((hidden, Embedding { format, weight, scales: Some(scales) }))
}

/// Adds the logits; shares the weight of `tied` where the formats allow it.
pub(crate) fn head(
    graph: &mut GraphWriter,
    x: &str,
    weight: &[f32],
    in_len: usize,
    encoding: Encoding,
    tied: Option<&Embedding>,
) -> Result<String> {
    let name = "logits";
    let out_len = weight.len() / in_len;
    let tied = tied.filter(|tied| tied.format == encoding.format);
    match (tied, encoding.format.blocks()) {
        (Some(tied), None) if encoding.standard_operators => {
            let turned = graph.op("Transpose", "head.weight", &[&tied.weight], vec![ints("perm", &[1, 0])]);
            Ok(graph.op("MatMul", name, &[x, &turned], vec![]))
        }
        (Some(tied), None) => Ok(graph.op("FusedMatMul", name, &[x, &tied.weight], vec![int("transB", 1)])),
        (Some(Embedding { weight, scales: Some(scales), .. }), Some((bits, block))) if in_len.is_multiple_of(block) => {
            let dims = [out_len, in_len / block, block * bits as usize / 8];
            let codes = graph.reshaped("head.weight_quantized", weight, &dims);
            Ok(mat_mul_n_bits(graph, name, &[x, &codes, scales], (out_len, in_len), (bits, block)))
        }
        _ => linear(graph, name, x, &Linear { weight: weight.to_vec(), bias: None }, in_len, encoding),
    }
}
