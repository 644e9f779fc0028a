//! Rewrites of finished graphs into forms that other exporters make, for tests of what reads them.

use std::fs;
use std::path::Path;

use drafthorse_pack::onnx::{
    AttributeProto, AttributeType, Bytes, DataType, GraphProto, ModelProto, NodeProto, TensorProto, TensorTypeProto,
    TypeValue, ValueInfoProto,
};
use prost::Message;

use crate::error::at;
use crate::{Error, Result};

/// Makes every f32 input and output of the graph at `path` bf16, with casts inside. Its weights must lie inside.
///
/// # Errors
/// `Io` if the file cannot be read or written, `Option` if it holds no graph.
pub fn bf16_io(path: &Path) -> Result<()> {
    rewrite(path, |graph| {
        let mut casts = Vec::new();
        for port in &mut graph.input {
            if !retype(port, DataType::Float, DataType::Bfloat16) {
                continue;
            }
            let inner = format!("{}.f32", port.name);
            for name in graph.node.iter_mut().flat_map(|node| &mut node.input).filter(|name| **name == port.name) {
                name.clone_from(&inner);
            }
            casts.push(cast(&port.name, &inner, DataType::Float));
        }
        casts.append(&mut graph.node);
        graph.node = casts;
        for port in &mut graph.output {
            if !retype(port, DataType::Float, DataType::Bfloat16) {
                continue;
            }
            let inner = format!("{}.f32", port.name);
            let uses = graph.node.iter_mut().flat_map(|node| node.output.iter_mut().chain(&mut node.input));
            for name in uses.filter(|name| **name == port.name) {
                name.clone_from(&inner);
            }
            graph.node.push(cast(&inner, &port.name, DataType::Bfloat16));
        }
    })
}

/// Adds the int64 `[1]` input `num_logits_to_keep` of newer Hugging Face exports to the graph at `path`: that many last
/// rows are scored, all for 0.
///
/// # Errors
/// `Io` if the file cannot be read or written, `Option` if it holds no graph.
pub fn logits_to_keep(path: &Path) -> Result<()> {
    rewrite(path, |graph| {
        let Some(head) = graph.node.iter().position(|node| node.output.iter().any(|name| name == "logits")) else {
            return;
        };
        let hidden = std::mem::replace(&mut graph.node[head].input[0], "kept".to_owned());
        let slice = ["kept_start", "kept_end", "kept_axis"].map(str::to_owned);
        graph.node.insert(head, node("Slice", [hidden].into_iter().chain(slice), "kept"));
        graph.node.insert(head, node("Neg", ["num_logits_to_keep".to_owned()], "kept_start"));
        graph.initializer.push(int64("kept_end", i64::MAX));
        graph.initializer.push(int64("kept_axis", 1));
        let mut input = graph.input[0].clone();
        input.name = "num_logits_to_keep".to_owned();
        if let Some(shape) = tensor_type(&mut input).and_then(|tensor| tensor.shape.as_mut()) {
            shape.dim.truncate(1);
        }
        graph.input.push(input);
    })
}

/// Adds `by_len[n]` to every logit of the graph at `path` where the attention mask covers `n` tokens. Past the table's
/// end the graph fails as it runs: a failure of the device, or NaN from a given length on, made at will.
///
/// # Errors
/// `Io` if the file cannot be read or written, `Option` if it holds no graph.
pub fn add_by_len(path: &Path, by_len: &[f32]) -> Result<()> {
    rewrite(path, |graph| {
        let heads = graph.node.iter_mut().flat_map(|node| &mut node.output);
        heads.filter(|name| *name == "logits").for_each(|name| *name = "logits.sound".to_owned());
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        graph.node.push(node("Shape", names(&["attention_mask"]), "mask_shape"));
        graph.node.push(node("Gather", names(&["mask_shape", "mask_axis"]), "mask_len"));
        graph.node.push(node("Gather", names(&["by_len", "mask_len"]), "added"));
        graph.node.push(node("Add", names(&["logits.sound", "added"]), "logits"));
        graph.initializer.push(int64("mask_axis", 1));
        graph.initializer.push(TensorProto {
            name: "by_len".to_owned(),
            data_type: DataType::Float as i32,
            dims: vec![by_len.len() as i64],
            float_data: by_len.to_vec(),
            ..TensorProto::default()
        });
    })
}

fn rewrite(path: &Path, change: impl FnOnce(&mut GraphProto)) -> Result<()> {
    let bytes = fs::read(path).map_err(at(path))?;
    let mut model = ModelProto::decode(Bytes::from(bytes)).map_err(|_| no_graph())?;
    change(model.graph.as_mut().ok_or_else(no_graph)?);
    fs::write(path, model.encode_to_vec()).map_err(at(path))
}

fn no_graph() -> Error {
    Error::Option { option: "graph", reason: "the file holds no ONNX graph".to_owned() }
}

fn tensor_type(port: &mut ValueInfoProto) -> Option<&mut TensorTypeProto> {
    let TypeValue::TensorType(tensor) = port.r#type.as_mut()?.value.as_mut()?;
    Some(tensor)
}

/// True if `port` was of type `from`, and is now of type `to`.
fn retype(port: &mut ValueInfoProto, from: DataType, to: DataType) -> bool {
    let Some(tensor) = tensor_type(port).filter(|tensor| tensor.elem_type == from as i32) else { return false };
    tensor.elem_type = to as i32;
    true
}

fn node(operator: &str, inputs: impl IntoIterator<Item = String>, output: &str) -> NodeProto {
    NodeProto {
        op_type: operator.to_owned(),
        input: inputs.into_iter().collect(),
        output: vec![output.to_owned()],
        name: format!("{operator}.{output}"),
        ..NodeProto::default()
    }
}

fn cast(from: &str, to: &str, data_type: DataType) -> NodeProto {
    let attribute = AttributeProto {
        name: "to".to_owned(),
        r#type: AttributeType::Int as i32,
        i: Some(data_type as i64),
        ..AttributeProto::default()
    };
    NodeProto { attribute: vec![attribute], ..node("Cast", [from.to_owned()], to) }
}

fn int64(name: &str, value: i64) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        data_type: DataType::Int64 as i32,
        dims: vec![1],
        int64_data: vec![value],
        ..TensorProto::default()
    }
}
