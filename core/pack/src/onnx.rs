//! The part of the public ONNX schema that decoder graphs use, as prost messages.
//!
//! Field numbers and presence follow `onnx.proto` of the ONNX project; fields that are left out here are skipped when a
//! file is read. Bytes are [`Bytes`], so that decoding from a `Bytes` copies no weights.

pub use prost::bytes::Bytes;
use prost::{Enumeration, Message, Oneof};

/// IR version of the files that we write: the one that came with operator set 21.
pub const IR_VERSION: i64 = 10;

/// A whole `.onnx` file.
#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    /// Version of the file format.
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    /// Tool that wrote the file.
    #[prost(string, tag = "2")]
    pub producer_name: String,
    /// Its version.
    #[prost(string, tag = "3")]
    pub producer_version: String,
    /// Reverse-DNS name space of the model.
    #[prost(string, tag = "4")]
    pub domain: String,
    /// Version of the model itself.
    #[prost(int64, tag = "5")]
    pub model_version: i64,
    /// Text for people.
    #[prost(string, tag = "6")]
    pub doc_string: String,
    /// The computation.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    /// Operator sets that the nodes are written in, one per domain.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
    /// Named notes.
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntryProto>,
    /// Operators defined by other nodes.
    #[prost(message, repeated, tag = "25")]
    pub functions: Vec<FunctionProto>,
}

/// Nodes in topological order, their weights, and the interface.
#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    /// Operators, each after those whose outputs it reads.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    /// Name of the graph.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Constant tensors: the weights.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    /// Text for people.
    #[prost(string, tag = "10")]
    pub doc_string: String,
    /// Inputs; may also name initializers as defaults.
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    /// Outputs.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
    /// Types of values in between.
    #[prost(message, repeated, tag = "13")]
    pub value_info: Vec<ValueInfoProto>,
    /// Named notes.
    #[prost(message, repeated, tag = "16")]
    pub metadata_props: Vec<StringStringEntryProto>,
}

/// One operator.
#[derive(Clone, PartialEq, Message)]
pub struct NodeProto {
    /// Names of the values read; an empty name is an optional input that is absent.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Names of the values written; an empty name is an output nobody wants.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// Name of the node, for people and profiles.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Operator, such as `MatMul`.
    #[prost(string, tag = "4")]
    pub op_type: String,
    /// Settings of the operator.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    /// Text for people.
    #[prost(string, tag = "6")]
    pub doc_string: String,
    /// Operator set that `op_type` belongs to; empty for the standard one.
    #[prost(string, tag = "7")]
    pub domain: String,
    /// Distinguishes functions of one name.
    #[prost(string, tag = "8")]
    pub overload: String,
    /// Named notes.
    #[prost(message, repeated, tag = "9")]
    pub metadata_props: Vec<StringStringEntryProto>,
}

/// A named setting of a node. Which field counts is said by `type`.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeProto {
    /// Name of the setting.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Value of a `Float`.
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    /// Value of an `Int`.
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    /// Value of a `String`; UTF-8 by convention.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub s: Option<Bytes>,
    /// Value of a `Tensor`.
    #[prost(message, optional, tag = "5")]
    pub t: Option<TensorProto>,
    /// Value of a `Graph`.
    #[prost(message, optional, tag = "6")]
    pub g: Option<GraphProto>,
    /// Value of `Floats`.
    #[prost(float, repeated, packed = "false", tag = "7")]
    pub floats: Vec<f32>,
    /// Value of `Ints`.
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    /// Value of `Strings`.
    #[prost(bytes = "bytes", repeated, tag = "9")]
    pub strings: Vec<Bytes>,
    /// Value of `Tensors`.
    #[prost(message, repeated, tag = "10")]
    pub tensors: Vec<TensorProto>,
    /// Value of `Graphs`.
    #[prost(message, repeated, tag = "11")]
    pub graphs: Vec<GraphProto>,
    /// Text for people.
    #[prost(string, tag = "13")]
    pub doc_string: String,
    /// Which field holds the value.
    #[prost(enumeration = "AttributeType", tag = "20")]
    pub r#type: i32,
    /// Inside a function: name of the function's attribute to take the value from.
    #[prost(string, tag = "21")]
    pub ref_attr_name: String,
}

/// What an attribute holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum AttributeType {
    /// Not said (files before IR version 2).
    Undefined = 0,
    /// One f32.
    Float = 1,
    /// One i64.
    Int = 2,
    /// One byte string.
    String = 3,
    /// One tensor.
    Tensor = 4,
    /// One graph.
    Graph = 5,
    /// A list of f32.
    Floats = 6,
    /// A list of i64.
    Ints = 7,
    /// A list of byte strings.
    Strings = 8,
    /// A list of tensors.
    Tensors = 9,
    /// A list of graphs.
    Graphs = 10,
    /// A sparse tensor (not in this schema).
    SparseTensor = 11,
    /// A list of sparse tensors (not in this schema).
    SparseTensors = 12,
    /// A type (not in this schema).
    TypeProto = 13,
    /// A list of types (not in this schema).
    TypeProtos = 14,
}

/// A constant tensor: inline in `raw_data` or a typed field, or in another file.
#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    /// Shape; empty for a scalar.
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    /// Element type, a [`DataType`].
    #[prost(enumeration = "DataType", tag = "2")]
    pub data_type: i32,
    /// Elements of `Float` (and pairs of complex ones).
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    /// Elements of `Int32` and of all narrower types, one per entry (two for 4-bit types).
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    /// Elements of `String`.
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub string_data: Vec<Bytes>,
    /// Elements of `Int64`.
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    /// Name that nodes use.
    #[prost(string, tag = "8")]
    pub name: String,
    /// Elements as little-endian bytes, in row-major order.
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub raw_data: Option<Bytes>,
    /// Elements of `Double`.
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
    /// Elements of `Uint64` and `Uint32`.
    #[prost(uint64, repeated, tag = "11")]
    pub uint64_data: Vec<u64>,
    /// Text for people.
    #[prost(string, tag = "12")]
    pub doc_string: String,
    /// Where the bytes lie if `data_location` is `External`: `location`, `offset`, `length`, `checksum`.
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringStringEntryProto>,
    /// Inline or external.
    #[prost(enumeration = "DataLocation", tag = "14")]
    pub data_location: i32,
}

impl TensorProto {
    /// Value of `key` in `external_data`, if the tensor is external and names it.
    #[must_use]
    pub fn external(&self, key: &str) -> Option<&str> {
        if self.data_location() != DataLocation::External {
            return None;
        }
        self.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
    }

    /// Bytes that the elements take as raw data, or `None` if a dimension is negative, the product overflows, or the
    /// type has no fixed width.
    #[must_use]
    pub fn byte_len(&self) -> Option<u64> {
        let bits = u64::from(DataType::try_from(self.data_type).ok()?.bits()?);
        let elements =
            self.dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(u64::try_from(dim).ok()?))?;
        Some(elements.checked_mul(bits)?.div_ceil(8))
    }
}

/// Where a tensor's bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum DataLocation {
    /// In the message.
    Default = 0,
    /// In the file named by `external_data`.
    External = 1,
}

/// Element types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum DataType {
    /// Not said.
    Undefined = 0,
    /// f32.
    Float = 1,
    /// u8.
    Uint8 = 2,
    /// i8.
    Int8 = 3,
    /// u16.
    Uint16 = 4,
    /// i16.
    Int16 = 5,
    /// i32.
    Int32 = 6,
    /// i64.
    Int64 = 7,
    /// Byte strings.
    String = 8,
    /// bool, one byte each.
    Bool = 9,
    /// IEEE half precision.
    Float16 = 10,
    /// f64.
    Double = 11,
    /// u32.
    Uint32 = 12,
    /// u64.
    Uint64 = 13,
    /// Two f32.
    Complex64 = 14,
    /// Two f64.
    Complex128 = 15,
    /// The upper half of an f32.
    Bfloat16 = 16,
    /// 8-bit float, 4 exponent bits, no infinity.
    Float8E4m3fn = 17,
    /// 8-bit float, 4 exponent bits, no negative zero.
    Float8E4m3fnuz = 18,
    /// 8-bit float, 5 exponent bits.
    Float8E5m2 = 19,
    /// 8-bit float, 5 exponent bits, no negative zero.
    Float8E5m2fnuz = 20,
    /// Two per byte, low half first.
    Uint4 = 21,
    /// Two per byte, low half first.
    Int4 = 22,
    /// 4-bit float, two per byte.
    Float4E2m1 = 23,
}

impl DataType {
    /// Bits of one element, or `None` where elements have no fixed width.
    #[must_use]
    pub fn bits(self) -> Option<u32> {
        Some(match self {
            Self::Undefined | Self::String => return None,
            Self::Uint4 | Self::Int4 | Self::Float4E2m1 => 4,
            Self::Uint8
            | Self::Int8
            | Self::Bool
            | Self::Float8E4m3fn
            | Self::Float8E4m3fnuz
            | Self::Float8E5m2
            | Self::Float8E5m2fnuz => 8,
            Self::Uint16 | Self::Int16 | Self::Float16 | Self::Bfloat16 => 16,
            Self::Float | Self::Int32 | Self::Uint32 => 32,
            Self::Double | Self::Int64 | Self::Uint64 | Self::Complex64 => 64,
            Self::Complex128 => 128,
        })
    }
}

/// Name and type of a value.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfoProto {
    /// Name that nodes use.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its type.
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
    /// Text for people.
    #[prost(string, tag = "3")]
    pub doc_string: String,
}

impl ValueInfoProto {
    /// The tensor type, if the value is a dense tensor.
    #[must_use]
    pub fn tensor_type(&self) -> Option<&TensorTypeProto> {
        match self.r#type.as_ref()?.value.as_ref()? {
            TypeValue::TensorType(tensor) => Some(tensor),
        }
    }
}

/// Type of a value. Sequences, maps and optionals are outside this schema and read as `None`.
#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    /// Which kind of type.
    #[prost(oneof = "TypeValue", tags = "1")]
    pub value: Option<TypeValue>,
    /// Standard meaning, such as `TENSOR`.
    #[prost(string, tag = "6")]
    pub denotation: String,
}

/// The kinds of type in this schema.
#[derive(Clone, PartialEq, Oneof)]
pub enum TypeValue {
    /// A dense tensor.
    #[prost(message, tag = "1")]
    TensorType(TensorTypeProto),
}

/// Element type and shape of a dense tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorTypeProto {
    /// A [`DataType`].
    #[prost(enumeration = "DataType", tag = "1")]
    pub elem_type: i32,
    /// `None` if even the rank is unknown.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// A shape whose dimensions may be names.
#[derive(Clone, PartialEq, Message)]
pub struct TensorShapeProto {
    /// Outermost first.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dimension>,
}

/// One dimension.
#[derive(Clone, PartialEq, Message)]
pub struct Dimension {
    /// A number, a name, or unknown.
    #[prost(oneof = "DimensionValue", tags = "1, 2")]
    pub value: Option<DimensionValue>,
    /// Standard meaning, such as `BATCH`.
    #[prost(string, tag = "3")]
    pub denotation: String,
}

/// A dimension's size.
#[derive(Clone, PartialEq, Oneof)]
pub enum DimensionValue {
    /// Fixed.
    #[prost(int64, tag = "1")]
    DimValue(i64),
    /// Equal wherever the same name stands.
    #[prost(string, tag = "2")]
    DimParam(String),
}

/// An operator set: a domain and its version.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSetIdProto {
    /// Empty for the standard one.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Version.
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// A key with its value.
#[derive(Clone, PartialEq, Message)]
pub struct StringStringEntryProto {
    /// Key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// An operator written with other operators.
#[derive(Clone, PartialEq, Message)]
pub struct FunctionProto {
    /// Name that nodes use as `op_type`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Names of the inputs.
    #[prost(string, repeated, tag = "4")]
    pub input: Vec<String>,
    /// Names of the outputs.
    #[prost(string, repeated, tag = "5")]
    pub output: Vec<String>,
    /// Names of the attributes without default.
    #[prost(string, repeated, tag = "6")]
    pub attribute: Vec<String>,
    /// The body.
    #[prost(message, repeated, tag = "7")]
    pub node: Vec<NodeProto>,
    /// Text for people.
    #[prost(string, tag = "8")]
    pub doc_string: String,
    /// Operator sets of the body.
    #[prost(message, repeated, tag = "9")]
    pub opset_import: Vec<OperatorSetIdProto>,
    /// Domain of the function.
    #[prost(string, tag = "10")]
    pub domain: String,
    /// Attributes with a default.
    #[prost(message, repeated, tag = "11")]
    pub attribute_proto: Vec<AttributeProto>,
    /// Distinguishes functions of one name.
    #[prost(string, tag = "13")]
    pub overload: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_bytes_decode() {
        // ir_version 8, producer "x", one standard operator set 21, as any protobuf writer encodes them.
        let bytes = [0x08, 8, 0x12, 1, b'x', 0x42, 2, 0x10, 21];
        let model = ModelProto::decode(&bytes[..]).unwrap();
        assert_eq!((model.ir_version, model.producer_name.as_str()), (8, "x"));
        assert_eq!(model.opset_import, [OperatorSetIdProto { domain: String::new(), version: 21 }]);
        assert_eq!(model.encode_to_vec(), bytes);
    }

    #[test]
    fn zero_attribute_keeps_its_presence() {
        let zero = AttributeProto { name: "axis".into(), i: Some(0), r#type: 2, ..Default::default() };
        assert_eq!(AttributeProto::decode(&zero.encode_to_vec()[..]).unwrap().i, Some(0));
    }

    #[test]
    fn weights_are_shared_not_copied() {
        let tensor =
            TensorProto { dims: vec![4], data_type: 2, raw_data: Some(vec![1; 4].into()), ..Default::default() };
        let file = Bytes::from(tensor.encode_to_vec());
        let raw = TensorProto::decode(file.clone()).unwrap().raw_data.unwrap();
        assert!(file.as_ptr_range().contains(&raw.as_ptr()));
    }

    #[test]
    fn byte_len_rounds_up_and_refuses_nonsense() {
        let tensor = |data_type, dims: &[i64]| TensorProto { dims: dims.to_vec(), data_type, ..Default::default() };
        assert_eq!(tensor(DataType::Int4 as i32, &[3]).byte_len(), Some(2));
        assert_eq!(tensor(DataType::Float as i32, &[]).byte_len(), Some(4));
        assert_eq!(tensor(DataType::Float as i32, &[-1, 2]).byte_len(), None);
        assert_eq!(tensor(DataType::Float as i32, &[i64::MAX, 8]).byte_len(), None);
        assert_eq!(tensor(99, &[1]).byte_len(), None);
    }

    #[test]
    fn broken_bytes_are_an_error() {
        assert!(ModelProto::decode(&[0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f][..]).is_err());
    }
}
