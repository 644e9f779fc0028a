//! Projections with 8-bit weights and 8-bit activations, rows independent of one another.
//!
//! `y = (q_x · q_w) · s_x · s_w` with `q_x = round(x / s_x)`. Codes of activations are unsigned with zero point 128:
//! ONNX Runtime's x86 kernels multiply unsigned by signed bytes, and signed by signed took ten times as long.

use drafthorse_pack::onnx::DataType;

use crate::Result;
use crate::linear::Encoding;
use crate::options::ActivationScale;
use crate::quantize::quantize_rows;
use crate::writer::{GraphWriter, int, transpose};

/// Largest code on either side of zero.
const CODE_MAX: f32 = 127.0;

/// Adds `y = W x` for `weight` `[out, in]`.
pub(crate) fn int8x8(
    graph: &mut GraphWriter,
    name: &str,
    x: &str,
    weight: &[f32],
    in_len: usize,
    encoding: Encoding,
    activations: ActivationScale,
) -> Result<String> {
    let codes = Codes::add(graph, name, weight, in_len)?;
    match (activations, encoding.input_max) {
        (ActivationScale::Static, Some(input_max)) => {
            let scale = graph.floats(&format!("{name}.input_scale"), &[], &[input_max / CODE_MAX])?;
            Ok(product(graph, name, x, &scale, &codes, encoding.standard_operators))
        }
        _ => row_scaled(graph, name, x, &codes, encoding.standard_operators),
    }
}

/// Names of a quantised weight in the graph.
struct Codes {
    /// Signed `[in, out]`.
    weight: String,
    /// `[out]`.
    scales: String,
    /// Of the activations: 128.
    zero_point: String,
}

impl Codes {
    fn add(graph: &mut GraphWriter, name: &str, weight: &[f32], in_len: usize) -> Result<Self> {
        let out_len = weight.len() / in_len;
        let quantized = quantize_rows(weight, in_len);
        let turned = transpose(&quantized.codes, in_len).into_iter().map(|code| code as u8).collect();
        Ok(Self {
            weight: graph.tensor(&format!("{name}.weight_quantized"), DataType::Int8, &[in_len, out_len], turned)?,
            scales: graph.floats(&format!("{name}.weight_scales"), &[out_len], &quantized.scales)?,
            zero_point: graph.byte("int8x8.zero_point", 128)?,
        })
    }
}

/// Divides each row by its largest magnitude, multiplies codes of `-1..=1`, and multiplies back.
///
/// A row of zeros becomes 0/0, some finite code, and times its magnitude zero again.
fn row_scaled(graph: &mut GraphWriter, name: &str, x: &str, codes: &Codes, standard: bool) -> Result<String> {
    let at = |part: &str| format!("{name}/{part}");
    let scale = graph.floats("int8x8.unit_scale", &[], &[1.0 / CODE_MAX])?;
    let last = graph.ints("last_axis", &[1], &[-1])?;
    let magnitudes = graph.op("Abs", &at("magnitudes"), &[x], vec![]);
    let row_max = graph.op("ReduceMax", &at("row_max"), &[&magnitudes, &last], vec![int("keepdims", 1)]);
    let unit = graph.op("Div", &at("unit"), &[x, &row_max], vec![]);
    let scaled = product(graph, &at("scaled"), &unit, &scale, codes, standard);
    Ok(graph.op("Mul", name, &[&scaled, &row_max], vec![]))
}

fn product(graph: &mut GraphWriter, name: &str, x: &str, scale: &str, codes: &Codes, standard: bool) -> String {
    let at = |part: &str| format!("{name}/{part}");
    let zero_point = &codes.zero_point;
    let quantized = graph.op("QuantizeLinear", &at("quantized"), &[x, scale, zero_point], vec![]);
    if !standard {
        let inputs = [&quantized, &codes.weight, scale, &codes.scales, zero_point];
        return graph.op("MatMulIntegerToFloat", name, &inputs, vec![]);
    }
    // The pattern that ONNX Runtime fuses to the operator above, and that NPU providers read.
    let restored = graph.op("DequantizeLinear", &at("restored"), &[&quantized, scale, zero_point], vec![]);
    let weight = at("weight");
    graph.op("DequantizeLinear", &weight, &[&codes.weight, &codes.scales], vec![int("axis", 1)]);
    graph.op("MatMul", name, &[&restored, &weight], vec![])
}
