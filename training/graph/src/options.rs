//! Which of the many graphs of one function is written.

use crate::calibrate::ActivationRanges;

/// How a graph is written.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphOptions {
    /// How the KV cache goes in and out.
    pub layout: Layout,
    /// Formats of weights and of what goes in and out.
    pub precision: Precision,
    /// Rows that get logits.
    pub logit_rows: LogitRows,
    /// Adds an output `hidden_states` `[batch, sequence, hidden_len]`: what the head reads, after the final norm.
    pub hidden_states: bool,
    /// Where the weights lie.
    pub external_data: ExternalData,
    /// Largest inputs of the projections, for [`ActivationScale::Static`]; see [`crate::calibrate()`].
    pub activation_ranges: Option<ActivationRanges>,
}

impl GraphOptions {
    /// Every row scored, no hidden states, weights outside from 1 MiB on.
    #[must_use]
    pub fn new(layout: Layout, precision: Precision) -> Self {
        Self {
            layout,
            precision,
            logit_rows: LogitRows::Every,
            hidden_states: false,
            external_data: ExternalData::Above(1 << 20),
            activation_ranges: None,
        }
    }
}

/// How the KV cache goes in and out. Names are `past_key_values.%d.key` and `present.%d.key` in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `GroupQueryAttention` with rotation inside: past and present may be one buffer of fixed capacity. The number of
    /// cached tokens follows from `attention_mask`.
    Shared,
    /// Standard operators; present is past with the new rows appended.
    Growing {
        /// Adds the input `position_ids`; otherwise positions are counted from `attention_mask`.
        position_ids: bool,
    },
}

/// Rows of the input that get logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitRows {
    /// `[batch, sequence, vocabulary]`.
    Every,
    /// `[batch, 1, vocabulary]`, the last row: no speculation is possible.
    Last,
}

/// Where weights lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalData {
    /// All inside the `.onnx` file, which must stay below 2 GiB.
    Never,
    /// In `FILE.onnx.data`.
    Always,
    /// Outside if they are estimated to take more bytes than this.
    Above(u64),
}

/// Formats of the parts of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision {
    /// Projections of the layers.
    pub layers: WeightFormat,
    /// Head.
    pub head: WeightFormat,
    /// Embedding: float or a block format.
    pub embedding: WeightFormat,
    /// Logits, KV cache and everything between the projections.
    pub io: FloatType,
}

/// Format of a weight matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightFormat {
    /// As wide as [`Precision::io`].
    Float,
    /// 4 bits with one scale per `block` columns (`MatMulNBits`, accuracy level 4).
    Int4 {
        /// A power of two from 16 on.
        block: usize,
    },
    /// 8 bits with one scale per `block` columns (`MatMulNBits`, accuracy level 4).
    Int8 {
        /// A power of two from 16 on.
        block: usize,
    },
    /// 8 bits with one scale per output, multiplied with 8-bit activations: nearly the same time for a few rows as
    /// for one. Needs f32 [`Precision::io`].
    Int8x8 {
        /// Where the scale of the activations comes from.
        activations: ActivationScale,
    },
}

/// Where the scale of an int8 activation comes from. Either way a row's result does not depend on other rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationScale {
    /// The largest magnitude of each row, found while running: nothing to calibrate.
    Row,
    /// One constant per projection from [`GraphOptions::activation_ranges`]; larger values are cut.
    Static,
}

/// Floating-point type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatType {
    /// 32 bits.
    F32,
    /// 16 bits, IEEE.
    F16,
}

impl Precision {
    /// Everything f32.
    pub const FP32: Self = Self::uniform(WeightFormat::Float, FloatType::F32);
    /// Everything f16.
    pub const FP16: Self = Self::uniform(WeightFormat::Float, FloatType::F16);
    /// 8-bit weights in blocks of 32, f32 between.
    pub const INT8: Self = Self::uniform(WeightFormat::Int8 { block: 32 }, FloatType::F32);
    /// 4-bit weights in blocks of 32, f32 between.
    pub const INT4: Self = Self::uniform(WeightFormat::Int4 { block: 32 }, FloatType::F32);

    /// 8-bit weights and 8-bit activations with a scale per row, f32 between, the embedding in 8-bit blocks of 32.
    pub const INT8X8: Self = Self {
        embedding: WeightFormat::Int8 { block: 32 },
        ..Self::uniform(WeightFormat::Int8x8 { activations: ActivationScale::Row }, FloatType::F32)
    };
    /// [`Self::INT8X8`] with constant activation scales in the layers; the head keeps a scale per row.
    pub const INT8X8_STATIC: Self =
        Self { layers: WeightFormat::Int8x8 { activations: ActivationScale::Static }, ..Self::INT8X8 };

    /// One format for layers, head and embedding.
    #[must_use]
    pub const fn uniform(format: WeightFormat, io: FloatType) -> Self {
        Self { layers: format, head: format, embedding: format, io }
    }
}
