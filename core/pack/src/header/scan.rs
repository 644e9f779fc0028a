//! The walk over an ONNX file: field by field, weights passed over.
//!
//! Field numbers are those of the public schema, onnx/onnx.proto.

use std::{
    collections::BTreeSet,
    io::{Read, Seek},
};

use super::{ATTENTION, BlockQuantisation, Dimension, ElementType, Header, ValueInfo};
use crate::wire::{Payload, Wire, WireResult};

const NAME_BYTES_MAX: u64 = 4096;
const VALUES_MAX: usize = 65_536;
const OPERATORS_MAX: usize = 4096;
const LOCATIONS_MAX: usize = 4096;
const RANK_MAX: usize = 64;
const DEPTH_MAX: usize = 16;

/// Reads `len` bytes of `reader` as an ONNX file.
pub(crate) fn header<R: Read + Seek>(reader: R, len: u64) -> WireResult<Header> {
    let mut scan = Scan { wire: Wire::new(reader, len), header: Header::default(), initialisers: BTreeSet::new() };
    scan.model()?;
    let Scan { mut header, initialisers, .. } = scan;
    // Before IR version 4 every initialiser was an input too.
    header.inputs.retain(|input| !initialisers.contains(&input.name));
    Ok(header)
}

/// A walk over the file, and what it has found.
struct Scan<R> {
    wire: Wire<R>,
    header: Header,
    /// Names of initialisers, kept only as far as inputs can have them.
    initialisers: BTreeSet<String>,
}

/// Whole-number attributes that are worth knowing.
#[derive(Default)]
struct Attributes {
    bits: Option<i64>,
    block_size: Option<i64>,
    accuracy_level: Option<i64>,
    local_window_size: Option<i64>,
    num_heads: Option<i64>,
}

impl<R: Read + Seek> Scan<R> {
    fn model(&mut self) -> WireResult<()> {
        let end = self.wire.len();
        let mut graphs = 0;
        while let Some((number, payload)) = self.wire.field(end)? {
            match (number, payload) {
                (1, Payload::Varint(version)) => self.header.ir_version = version,
                (2, Payload::Len(len)) => self.header.producer = self.wire.text(len, NAME_BYTES_MAX)?,
                (7, Payload::Len(len)) => {
                    graphs += 1;
                    self.graph(len, 0)?;
                }
                (8, Payload::Len(len)) => self.opset(len)?,
                (25, Payload::Len(len)) => self.function(len)?,
                (_, payload) => self.wire.skip(payload)?,
            }
        }
        if graphs != 1 { self.wire.error(format!("{graphs} graphs where an ONNX file has one")) } else { Ok(()) }
    }

    fn opset(&mut self, len: u64) -> WireResult<()> {
        let end = self.wire.enter(len);
        let (mut domain, mut version) = (String::new(), 0);
        while let Some((number, payload)) = self.wire.field(end)? {
            match (number, payload) {
                (1, Payload::Len(len)) => domain = self.wire.text(len, NAME_BYTES_MAX)?,
                (2, Payload::Varint(value)) => version = value,
                (_, payload) => self.wire.skip(payload)?,
            }
        }
        if domain == "ai.onnx" {
            domain.clear();
        }
        if self.header.opsets.len() >= OPERATORS_MAX {
            return self.wire.error("too many operator domains");
        }
        self.header.opsets.insert(domain, version);
        Ok(())
    }

    fn function(&mut self, len: u64) -> WireResult<()> {
        let end = self.wire.enter(len);
        while let Some((number, payload)) = self.wire.field(end)? {
            match (number, payload) {
                (7, Payload::Len(len)) => self.node(len, 1)?,
                (11, Payload::Len(len)) => self.attribute(len, &mut Attributes::default(), 1)?,
                (_, payload) => self.wire.skip(payload)?,
            }
        }
        Ok(())
    }

    fn graph(&mut self, len: u64, depth: usize) -> WireResult<()> {
        if depth > DEPTH_MAX {
            return self.wire.error(format!("graphs nested more than {DEPTH_MAX} deep"));
        }
        let end = self.wire.enter(len);
        while let Some((number, payload)) = self.wire.field(end)? {
            match (number, payload) {
                (1, Payload::Len(len)) => self.node(len, depth)?,
                (5, Payload::Len(len)) => {
                    let name = self.tensor(len)?;
                    if depth == 0 && self.initialisers.len() < VALUES_MAX {
                        self.initialisers.insert(name);
                    }
                }
                (15, Payload::Len(len)) => self.sparse_tensor(len)?,
                (11 | 12, Payload::Len(len)) if depth == 0 => {
                    let value = self.value_info(len)?;
                    let values = if number == 11 { &mut self.header.inputs } else { &mut self.header.outputs };
                    if values.len() >= VALUES_MAX {
                        return self.wire.error(format!("more than {VALUES_MAX} inputs or outputs"));
                    }
                    values.push(value);
                }
                (_, payload) => self.wire.skip(payload)?,
            }
        }
        Ok(())
    }

    fn node(&mut self, len: u64, depth: usize) -> WireResult<()> {
        let end = self.wire.enter(len);
        let (mut operator, mut domain) = (String::new(), String::new());
        let mut attributes = Attributes::default();
        while let Some((number, payload)) = self.wire.field(end)? {
            match (number, payload) {
                (4, Payload::Len(len)) => operator = self.wire.text(len, NAME_BYTES_MAX)?,
                (7, Payload::Len(len)) => domain = self.wire.text(len, NAME_BYTES_MAX)?,
                (5, Payload::Len(len)) => self.attribute(len, &mut attributes, depth)?,
                (_, payload) => self.wire.skip(payload)?,
            }
        }
        self.count(&operator, &domain, &attributes)
    }

    fn count(&mut self, operator: &str, domain: &str, attributes: &Attributes) -> WireResult<()> {
        let key = if domain.is_empty() || domain == "ai.onnx" {
            operator.to_owned()
        } else {
            format!("{domain}::{operator}")
        };
        if self.header.operators.len() >= OPERATORS_MAX && !self.header.operators.contains_key(&key) {
            return self.wire.error(format!("more than {OPERATORS_MAX} kinds of operator"));
        }
        *self.header.operators.entry(key).or_default() += 1;
        if operator == "MatMulNBits" {
            // Defaults of the operator where an attribute is left out.
            let settings = BlockQuantisation {
                bits: attributes.bits.unwrap_or(4),
                block_size: attributes.block_size.unwrap_or(0),
                accuracy_level: attributes.accuracy_level.unwrap_or(0),
            };
            if self.header.block_quantisation.len() < OPERATORS_MAX {
                *self.header.block_quantisation.entry(settings).or_default() += 1;
            }
        }
        if operator == ATTENTION {
            let heads = attributes.num_heads.and_then(|heads| u64::try_from(heads).ok());
            self.header.query_heads = self.header.query_heads.or(heads);
            self.header.windowed_attention += u64::from(attributes.local_window_size.is_some_and(|size| size > 0));
        }
        Ok(())
    }

    fn attribute(&mut self, len: u64, attributes: &mut Attributes, depth: usize) -> WireResult<()> {
        let end = self.wire.enter(len);
        let (mut name, mut value) = (String::new(), None);
        while let Some((number, payload)) = self.wire.field(end)? {
            match (number, payload) {
                (1, Payload::Len(len)) => name = self.wire.text(len, NAME_BYTES_MAX)?,
                (3, Payload::Varint(number)) => value = Some(number as i64),
                (5 | 10, Payload::Len(len)) => drop(self.tensor(len)?),
                (6 | 11, Payload::Len(len)) => self.graph(len, depth + 1)?,
                (22 | 23, Payload::Len(len)) => self.sparse_tensor(len)?,
                (_, payload) => self.wire.skip(payload)?,
            }
        }
        match name.as_str() {
            "bits" => attributes.bits = value,
            "block_size" => attributes.block_size = value,
            "accuracy_level" => attributes.accuracy_level = value,
            "local_window_size" => attributes.local_window_size = value,
            "num_heads" => attributes.num_heads = value,
            _ => {}
        }
        Ok(())
    }

    fn sparse_tensor(&mut self, len: u64) -> WireResult<()> {
        let end = self.wire.enter(len);
        while let Some((number, payload)) = self.wire.field(end)? {
            match (number, payload) {
                (1 | 2, Payload::Len(len)) => drop(self.tensor(len)?),
                (_, payload) => self.wire.skip(payload)?,
            }
        }
        Ok(())
    }

    /// Reads what a tensor says about where its data lie, and returns its name.
    fn tensor(&mut self, len: u64) -> WireResult<String> {
        let end = self.wire.enter(len);
        let mut tensor = Tensor::default();
        while let Some((number, payload)) = self.wire.field(end)? {
            match (number, payload) {
                (1, Payload::Varint(size)) => tensor.dimension(size),
                (1, Payload::Len(len)) => {
                    let end = self.wire.enter(len);
                    while self.wire.position() < end {
                        tensor.dimension(self.wire.varint(end)?);
                    }
                }
                (2, Payload::Varint(element)) => tensor.element = i32::try_from(element).unwrap_or(-1),
                (8, Payload::Len(len)) => tensor.name = self.wire.text(len, NAME_BYTES_MAX)?,
                (9, Payload::Len(len)) => {
                    tensor.raw_bytes = len;
                    self.wire.skip(payload)?;
                }
                (13, Payload::Len(len)) => self.external_entry(len, &mut tensor)?,
                (14, Payload::Varint(location)) => tensor.external = location == 1,
                (_, payload) => self.wire.skip(payload)?,
            }
        }
        self.header.initialisers += 1;
        self.header.embedded_bytes = self.header.embedded_bytes.saturating_add(tensor.raw_bytes);
        if tensor.external {
            self.external(&tensor)?;
        }
        Ok(tensor.name)
    }

    fn external_entry(&mut self, len: u64, tensor: &mut Tensor) -> WireResult<()> {
        let end = self.wire.enter(len);
        let (mut key, mut value) = (String::new(), String::new());
        while let Some((number, payload)) = self.wire.field(end)? {
            match (number, payload) {
                (1, Payload::Len(len)) => key = self.wire.text(len, NAME_BYTES_MAX)?,
                (2, Payload::Len(len)) => value = self.wire.text(len, NAME_BYTES_MAX)?,
                (_, payload) => self.wire.skip(payload)?,
            }
        }
        let number = || value.parse::<u64>().ok();
        match key.as_str() {
            "location" => tensor.location = Some(value),
            "offset" | "length" => {
                let Some(number) = number() else {
                    return self.wire.error(format!("external {key} {value:?} of a tensor is no number"));
                };
                *(if key == "offset" { &mut tensor.offset } else { &mut tensor.length }) = Some(number);
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes how long the file must be in which `tensor` lies.
    fn external(&mut self, tensor: &Tensor) -> WireResult<()> {
        let name = &tensor.name;
        let Some(location) = &tensor.location else {
            return self.wire.error(format!("tensor {name:?} is external but names no file"));
        };
        let Some(by_shape) = tensor.bytes() else {
            return self.wire.error(format!("tensor {name:?} has an absurd shape or an unknown type"));
        };
        let bytes = match tensor.length {
            Some(length) if length < by_shape => {
                return self.wire.error(format!("tensor {name:?} needs {by_shape} bytes, its entry gives it {length}"));
            }
            Some(length) => length,
            None => by_shape,
        };
        let Some(end) = tensor.offset.unwrap_or(0).checked_add(bytes) else {
            return self.wire.error(format!("tensor {name:?} ends beyond any file"));
        };
        let external = &mut self.header.external;
        if external.len() >= LOCATIONS_MAX && !external.contains_key(location) {
            return self.wire.error(format!("more than {LOCATIONS_MAX} files of external data"));
        }
        let needed = external.entry(location.clone()).or_default();
        *needed = end.max(*needed);
        Ok(())
    }

    fn value_info(&mut self, len: u64) -> WireResult<ValueInfo> {
        let end = self.wire.enter(len);
        let mut value = ValueInfo { name: String::new(), element: None, dimensions: Vec::new() };
        while let Some((number, payload)) = self.wire.field(end)? {
            match (number, payload) {
                (1, Payload::Len(len)) => value.name = self.wire.text(len, NAME_BYTES_MAX)?,
                // TypeProto, of which only tensor_type matters here.
                (2, Payload::Len(len)) => {
                    let end = self.wire.enter(len);
                    while let Some((number, payload)) = self.wire.field(end)? {
                        match (number, payload) {
                            (1, Payload::Len(len)) => self.tensor_type(len, &mut value)?,
                            (_, payload) => self.wire.skip(payload)?,
                        }
                    }
                }
                (_, payload) => self.wire.skip(payload)?,
            }
        }
        Ok(value)
    }

    fn tensor_type(&mut self, len: u64, value: &mut ValueInfo) -> WireResult<()> {
        let end = self.wire.enter(len);
        while let Some((number, payload)) = self.wire.field(end)? {
            match (number, payload) {
                (1, Payload::Varint(element)) => {
                    value.element = Some(ElementType(i32::try_from(element).unwrap_or(-1)));
                }
                (2, Payload::Len(len)) => {
                    let end = self.wire.enter(len);
                    while let Some((number, payload)) = self.wire.field(end)? {
                        match (number, payload) {
                            (1, Payload::Len(_)) if value.dimensions.len() >= RANK_MAX => {
                                return self.wire.error(format!("a shape of more than {RANK_MAX} dimensions"));
                            }
                            (1, Payload::Len(len)) => {
                                let dimension = self.dimension(len)?;
                                value.dimensions.push(dimension);
                            }
                            (_, payload) => self.wire.skip(payload)?,
                        }
                    }
                }
                (_, payload) => self.wire.skip(payload)?,
            }
        }
        Ok(())
    }

    fn dimension(&mut self, len: u64) -> WireResult<Dimension> {
        let end = self.wire.enter(len);
        let mut dimension = Dimension::Unknown;
        while let Some((number, payload)) = self.wire.field(end)? {
            match (number, payload) {
                // A negative size is written by some tools for an unknown one.
                (1, Payload::Varint(size)) if i64::try_from(size).is_ok() => dimension = Dimension::Fixed(size),
                (2, Payload::Len(len)) => dimension = Dimension::Named(self.wire.text(len, NAME_BYTES_MAX)?),
                (_, payload) => self.wire.skip(payload)?,
            }
        }
        Ok(dimension)
    }
}

/// Where the data of one tensor lie.
#[derive(Default)]
struct Tensor {
    name: String,
    element: i32,
    /// Product of the dimensions; `None` if it overflows.
    elements: Option<Option<u64>>,
    raw_bytes: u64,
    external: bool,
    location: Option<String>,
    offset: Option<u64>,
    length: Option<u64>,
}

impl Tensor {
    fn dimension(&mut self, size: u64) {
        let elements = self.elements.unwrap_or(Some(1));
        self.elements = Some(elements.and_then(|elements| elements.checked_mul(size)));
    }

    /// Bytes that the shape takes, elements of under a byte packed; a tensor without dimensions is a scalar.
    fn bytes(&self) -> Option<u64> {
        let elements = self.elements.unwrap_or(Some(1))?;
        Some(elements.checked_mul(ElementType(self.element).bits()?)?.div_ceil(8))
    }
}
