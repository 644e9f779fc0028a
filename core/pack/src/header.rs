//! What an ONNX file says about itself, without its weights and without ONNX Runtime.
//!
//! The file is streamed: weights inside it are passed over, so memory stays small whatever the file's size.

pub(crate) mod scan;

use std::{collections::BTreeMap, fmt, fs::File, path::Path};

use crate::{Error, Result, error::io, onnx::DataType, wire::WireError};

/// Most bytes of an ONNX file: protobuf ends at 2 GiB.
pub(crate) const ONNX_BYTES_MAX: u64 = 1 << 31;
/// The attention that can update a cache in place.
pub(crate) const ATTENTION: &str = "GroupQueryAttention";

/// Element type of a tensor, numbered as in `TensorProto.DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ElementType(pub i32);

impl ElementType {
    /// 32-bit float.
    pub const F32: Self = Self(1);
    /// 32-bit whole number.
    pub const I32: Self = Self(6);
    /// 64-bit whole number.
    pub const I64: Self = Self(7);
    /// 16-bit IEEE float.
    pub const F16: Self = Self(10);
    /// 16-bit brain float.
    pub const BF16: Self = Self(16);

    /// True for the three types that logits and KV caches come in.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }

    /// Bits of one element; `None` for text and for types not known here.
    pub fn bits(self) -> Option<u64> {
        match self.0 {
            // Types of newer opsets that the messages in `onnx` leave out.
            24 => Some(8),
            25 | 26 => Some(2),
            known => DataType::try_from(known).ok()?.bits().map(u64::from),
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            1 => "f32",
            2 => "u8",
            3 => "i8",
            4 => "u16",
            5 => "i16",
            6 => "i32",
            7 => "i64",
            8 => "string",
            9 => "bool",
            10 => "f16",
            11 => "f64",
            12 => "u32",
            13 => "u64",
            14 => "complex64",
            15 => "complex128",
            16 => "bf16",
            17 => "f8e4m3fn",
            18 => "f8e4m3fnuz",
            19 => "f8e5m2",
            20 => "f8e5m2fnuz",
            21 => "u4",
            22 => "i4",
            23 => "f4e2m1",
            24 => "f8e8m0",
            25 => "u2",
            26 => "i2",
            other => return write!(formatter, "type {other}"),
        };
        formatter.write_str(name)
    }
}

/// One dimension of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Always this many.
    Fixed(u64),
    /// Named, and different from run to run.
    Named(String),
    /// Not stated.
    Unknown,
}

impl Dimension {
    /// The number, if it is fixed and fits.
    pub fn fixed(&self) -> Option<usize> {
        match self {
            Self::Fixed(size) => usize::try_from(*size).ok(),
            Self::Named(_) | Self::Unknown => None,
        }
    }
}

/// An input or output of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueInfo {
    /// Its name.
    pub name: String,
    /// Element type; `None` if it is no tensor.
    pub element: Option<ElementType>,
    /// Shape; empty for a scalar or where none is stated.
    pub dimensions: Vec<Dimension>,
}

/// Block quantisation of the `MatMulNBits` nodes that share these settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockQuantisation {
    /// Bits of a weight.
    pub bits: i64,
    /// Weights that share a scale.
    pub block_size: i64,
    /// 4 computes with int8 activations, 0 leaves the choice to the provider.
    pub accuracy_level: i64,
}

/// What the graph says, weights left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Version of the file format.
    pub ir_version: u64,
    /// The program that wrote the file.
    pub producer: String,
    /// Opset of each operator domain; the standard one is "".
    pub opsets: BTreeMap<String, u64>,
    /// Inputs, initialisers left out.
    pub inputs: Vec<ValueInfo>,
    /// Outputs.
    pub outputs: Vec<ValueInfo>,
    /// How often each operator occurs, in subgraphs and functions too; `domain::Name` outside the standard domain.
    pub operators: BTreeMap<String, u64>,
    /// Settings of the `MatMulNBits` nodes, with their number.
    pub block_quantisation: BTreeMap<BlockQuantisation, u64>,
    /// Query heads of the first `GroupQueryAttention`.
    pub query_heads: Option<u64>,
    /// Nodes of `GroupQueryAttention` that attend to a window of recent tokens only.
    pub windowed_attention: u64,
    /// Tensors stored, in the file and beside it.
    pub initialisers: u64,
    /// Bytes of raw weights within the file.
    pub embedded_bytes: u64,
    /// Files of external data, relative to the ONNX file, with the bytes that each must have.
    pub external: BTreeMap<String, u64>,
}

impl Header {
    /// Reads the header of the ONNX file at `path`.
    ///
    /// # Errors
    /// `Io`, `TooLarge`, or `Onnx` with the byte at which the file stops making sense.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(io(path))?;
        let bytes = file.metadata().map_err(io(path))?.len();
        if bytes > ONNX_BYTES_MAX {
            return Err(Error::TooLarge { path: path.to_owned(), bytes, bytes_max: ONNX_BYTES_MAX });
        }
        scan::header(file, bytes).map_err(|WireError { offset, reason }| Error::Onnx {
            path: path.to_owned(),
            offset,
            reason,
        })
    }

    /// The input called `name`.
    pub fn input(&self, name: &str) -> Option<&ValueInfo> {
        self.inputs.iter().find(|value| value.name == name)
    }

    /// The output called `name`.
    pub fn output(&self, name: &str) -> Option<&ValueInfo> {
        self.outputs.iter().find(|value| value.name == name)
    }

    /// How often an operator occurs, whatever its domain.
    pub fn count(&self, operator: &str) -> u64 {
        let named = |key: &str| key.rsplit("::").next() == Some(operator);
        self.operators.iter().filter(|(key, _)| named(key)).map(|(_, count)| count).sum()
    }

    /// True if activations are quantised with one scale for all rows of a pass. A rejected draft then changes its
    /// neighbours' results, so verification is not lossless.
    pub fn per_tensor_activations(&self) -> bool {
        self.count("DynamicQuantizeLinear") + self.count("DynamicQuantizeMatMul") > 0
    }
}
