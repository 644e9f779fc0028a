//! Assembles a graph and streams its weights to disk, so that memory holds one weight at a time.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use drafthorse_pack::onnx::{
    AttributeProto, AttributeType, Bytes, DataLocation, DataType, Dimension, DimensionValue, GraphProto, IR_VERSION,
    ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto,
    TypeProto, TypeValue, ValueInfoProto,
};
use half::f16;
use prost::Message;

use crate::error::at;
use crate::options::FloatType;
use crate::{Error, Result};

/// Operator set of the files; ONNX Runtime reads it since 1.20.
const OPSET: i64 = 21;
/// Weights smaller than this stay in the graph file even if the others lie outside.
const EXTERNAL_BYTES_MIN: usize = 1024;
/// Start of each external weight: one page, so that it can be mapped.
const EXTERNAL_ALIGNMENT: u64 = 4096;
/// Largest message that protobuf readers accept.
const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;
/// Operators that are not in the standard set.
const CONTRIB: [&str; 9] = [
    "BiasGelu",
    "FastGelu",
    "FusedMatMul",
    "GatherBlockQuantized",
    "GroupQueryAttention",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "QuickGelu",
    "SkipSimplifiedLayerNormalization",
];
pub(crate) const CONTRIB_DOMAIN: &str = "com.microsoft";

/// One dimension of an input or output.
#[derive(Clone, Copy)]
pub(crate) enum Dim {
    Fixed(usize),
    Named(&'static str),
}

/// A graph under construction.
pub(crate) struct GraphWriter {
    path: PathBuf,
    graph: GraphProto,
    float: FloatType,
    names: HashSet<String>,
    external: Option<External>,
}

/// The file of external weights; its temporary form goes when it is dropped unfinished.
struct External {
    path: PathBuf,
    location: String,
    file: Option<BufWriter<File>>,
    len: u64,
}

/// What was written.
pub(crate) struct Written {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) node_count: usize,
}

impl GraphWriter {
    /// Starts a graph for `path`; weights go to `path` with `.data` appended if `external`.
    pub(crate) fn create(path: &Path, float: FloatType, external: bool) -> Result<Self> {
        let graph = GraphProto { name: "decoder".into(), ..Default::default() };
        let external = if external { Some(External::create(path)?) } else { None };
        Ok(Self { path: path.to_owned(), graph, float, names: HashSet::new(), external })
    }

    pub(crate) fn float_type(&self) -> DataType {
        match self.float {
            FloatType::F32 => DataType::Float,
            FloatType::F16 => DataType::Float16,
        }
    }

    pub(crate) fn input(&mut self, name: &str, data_type: DataType, dims: &[Dim]) {
        self.graph.input.push(value_info(name, data_type, dims));
    }

    pub(crate) fn output(&mut self, name: &str, data_type: DataType, dims: &[Dim]) {
        self.graph.output.push(value_info(name, data_type, dims));
    }

    /// Adds a weight of any type; `bytes` are little-endian.
    pub(crate) fn tensor(&mut self, name: &str, data_type: DataType, dims: &[usize], bytes: Vec<u8>) -> Result<String> {
        let mut tensor = TensorProto {
            name: name.into(),
            data_type: data_type as i32,
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            ..Default::default()
        };
        debug_assert_eq!(tensor.byte_len(), Some(bytes.len() as u64), "{name}");
        match &mut self.external {
            Some(external) if bytes.len() >= EXTERNAL_BYTES_MIN => external.append(&mut tensor, &bytes)?,
            _ => tensor.raw_data = Some(bytes.into()),
        }
        self.names.insert(name.into());
        self.graph.initializer.push(tensor);
        Ok(name.into())
    }

    /// Adds a second name and shape for the bytes of a weight; in external data they lie there once.
    pub(crate) fn reshaped(&mut self, name: &str, of: &str, dims: &[usize]) -> String {
        let mut tensor = self.graph.initializer.iter().find(|tensor| tensor.name == of).cloned().unwrap_or_default();
        tensor.name = name.into();
        tensor.dims = dims.iter().map(|&dim| dim as i64).collect();
        self.graph.initializer.push(tensor);
        name.into()
    }

    /// Adds a weight of the graph's float type, unless one of this name is there already.
    ///
    /// # Errors
    /// `Option` if a value is too large for f16; `Io` if it cannot be written.
    pub(crate) fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> Result<String> {
        self.floats_as(self.float, name, dims, values)
    }

    /// As [`Self::floats`], of the type `float`.
    pub(crate) fn floats_as(&mut self, float: FloatType, name: &str, dims: &[usize], values: &[f32]) -> Result<String> {
        if self.has(name) {
            return Ok(name.into());
        }
        if float == FloatType::F16
            && let Some(value) = values.iter().find(|&&value| f16::from_f32(value).is_infinite())
        {
            let reason = format!("{name} holds {value}, more than f16 can; write f32");
            return Err(Error::Option { option: "precision.io", reason });
        }
        let (data_type, bytes) = match float {
            FloatType::F32 => (DataType::Float, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            FloatType::F16 => {
                (DataType::Float16, values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect())
            }
        };
        self.tensor(name, data_type, dims, bytes)
    }

    /// True if a weight of this name is there already: constants are asked for wherever they are needed.
    fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Adds `[columns, rows]` from row-major `[rows, columns]`.
    pub(crate) fn transposed(&mut self, name: &str, values: &[f32], columns: usize) -> Result<String> {
        let rows = values.len() / columns;
        let turned: Vec<f32> = transpose(values, columns);
        self.floats(name, &[columns, rows], &turned)
    }

    /// Adds whole numbers; an empty `dims` makes a scalar.
    pub(crate) fn ints(&mut self, name: &str, dims: &[usize], values: &[i64]) -> Result<String> {
        if self.has(name) {
            return Ok(name.into());
        }
        self.tensor(name, DataType::Int64, dims, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Adds an unsigned byte as a scalar.
    pub(crate) fn byte(&mut self, name: &str, value: u8) -> Result<String> {
        if self.has(name) { Ok(name.into()) } else { self.tensor(name, DataType::Uint8, &[], vec![value]) }
    }

    /// Adds a node with one output, which is named like the node.
    pub(crate) fn op(&mut self, op_type: &str, name: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        self.node(op_type, name, inputs, &[name], attributes);
        name.into()
    }

    /// Adds a node.
    pub(crate) fn node(
        &mut self,
        op_type: &str,
        name: &str,
        inputs: &[&str],
        outputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) {
        let domain = if CONTRIB.contains(&op_type) { CONTRIB_DOMAIN } else { "" };
        let strings = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        self.graph.node.push(NodeProto {
            op_type: op_type.into(),
            domain: domain.into(),
            name: name.into(),
            input: strings(inputs),
            output: strings(outputs),
            attribute,
            ..Default::default()
        });
    }

    /// Writes the graph file beside its final place and moves both files there.
    pub(crate) fn finish(mut self) -> Result<Written> {
        let node_count = self.graph.node.len();
        let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version };
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "drafthorse".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(std::mem::take(&mut self.graph)),
            opset_import: vec![opset("", OPSET), opset(CONTRIB_DOMAIN, 1)],
            ..Default::default()
        };
        let bytes_len = model.encoded_len();
        if bytes_len > MESSAGE_BYTES_MAX {
            return Err(Error::Option {
                option: "external_data",
                reason: format!(
                    "the graph file would take {bytes_len} bytes, more than protobuf allows; put weights outside"
                ),
            });
        }
        let mut files = vec![self.path.clone()];
        if let Some(external) = self.external.take() {
            files.push(external.finish()?);
        }
        let temporary = temporary(&self.path);
        fs::write(&temporary, model.encode_to_vec()).map_err(at(&temporary))?;
        fs::rename(&temporary, &self.path).map_err(at(&self.path))?;
        Ok(Written { files, node_count })
    }
}

impl External {
    fn create(model: &Path) -> Result<Self> {
        let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let location = name(model).ok_or_else(|| Error::Option {
            option: "path",
            reason: format!("{} has no file name in UTF-8", model.display()),
        })? + ".data";
        let path = model.with_file_name(&location);
        let temporary = temporary(&path);
        let file = BufWriter::with_capacity(1 << 20, File::create(&temporary).map_err(at(&temporary))?);
        Ok(Self { path, location, file: Some(file), len: 0 })
    }

    fn append(&mut self, tensor: &mut TensorProto, bytes: &[u8]) -> Result<()> {
        let offset = self.len.next_multiple_of(EXTERNAL_ALIGNMENT);
        let padding = vec![0; (offset - self.len) as usize];
        if let Some(file) = &mut self.file {
            file.write_all(&padding).and_then(|()| file.write_all(bytes)).map_err(at(&self.path))?;
        }
        self.len = offset + bytes.len() as u64;
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
        tensor.external_data = vec![
            entry("location", self.location.clone()),
            entry("offset", offset.to_string()),
            entry("length", bytes.len().to_string()),
        ];
        tensor.data_location = DataLocation::External as i32;
        Ok(())
    }

    fn finish(mut self) -> Result<PathBuf> {
        let temporary = temporary(&self.path);
        if let Some(file) = &mut self.file {
            file.flush().and_then(|()| file.get_ref().sync_all()).map_err(at(&temporary))?;
        }
        fs::rename(&temporary, &self.path).map_err(at(&self.path))?;
        self.file = None;
        Ok(self.path.clone())
    }
}

impl Drop for External {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Nothing is lost if this fails: the file bears the name of an unfinished one.
            let _ = fs::remove_file(temporary(&self.path));
        }
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    path.with_file_name(name)
}

/// `[columns, rows]` from `[rows, columns]`.
pub(crate) fn transpose<T: Copy + Default>(values: &[T], columns: usize) -> Vec<T> {
    // In tiles, so that neither side leaves the cache between neighbours.
    const TILE: usize = 32;
    let rows = values.len() / columns;
    let mut turned = vec![T::default(); values.len()];
    for row_tile in (0..rows).step_by(TILE) {
        for column_tile in (0..columns).step_by(TILE) {
            for column in column_tile..(column_tile + TILE).min(columns) {
                for row in row_tile..(row_tile + TILE).min(rows) {
                    turned[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    turned
}

fn value_info(name: &str, data_type: DataType, dims: &[Dim]) -> ValueInfoProto {
    let dim = |dim: &Dim| {
        let value = match *dim {
            Dim::Fixed(len) => DimensionValue::DimValue(len as i64),
            Dim::Named(name) => DimensionValue::DimParam(name.into()),
        };
        Dimension { value: Some(value), ..Default::default() }
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = TensorTypeProto { elem_type: data_type as i32, shape: Some(shape) };
    let r#type = TypeProto { value: Some(TypeValue::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), r#type: Some(r#type), ..Default::default() }
}

/// Attribute holding a whole number.
pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    let r#type = AttributeType::Int as i32;
    AttributeProto { name: name.into(), i: Some(value), r#type, ..Default::default() }
}

/// Attribute holding whole numbers.
pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let r#type = AttributeType::Ints as i32;
    AttributeProto { name: name.into(), ints: values.to_vec(), r#type, ..Default::default() }
}

/// Attribute holding a number.
pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    let r#type = AttributeType::Float as i32;
    AttributeProto { name: name.into(), f: Some(value), r#type, ..Default::default() }
}

/// Attribute holding text.
pub(crate) fn text(name: &str, value: &'static str) -> AttributeProto {
    let r#type = AttributeType::String as i32;
    AttributeProto { name: name.into(), s: Some(Bytes::from_static(value.as_bytes())), r#type, ..Default::default() }
}
