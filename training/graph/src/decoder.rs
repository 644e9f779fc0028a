//! The whole decoder: embedding, layers, norm, head.

use std::path::{Path, PathBuf};

use drafthorse_pack::onnx::DataType;

use crate::attention::{self, attention, packed_projection, plain_norm};
use crate::config::Activation;
use crate::heads;
use crate::linear::{Encoding, embedding, head, linear};
use crate::options::{ActivationScale, ExternalData, FloatType, GraphOptions, Layout, LogitRows, WeightFormat};
use crate::reference::Site;
use crate::weights::{LayerWeights, Linear, Weights};
use crate::writer::{Dim, GraphWriter, float, int, text};
use crate::{DecoderConfig, Error, Result};

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSummary {
    /// The graph file, then the file with its weights if there is one.
    pub files: Vec<PathBuf>,
    /// Nodes of the graph, before ONNX Runtime fuses any.
    pub node_count: usize,
    /// Weights of the model.
    pub parameter_count: usize,
}

/// Writes the decoder to the `.onnx` file `path`, and its weights to `path` with `.data` appended if they lie outside.
///
/// Inputs: `input_ids` and `attention_mask` (i64), `past_key_values.%d.key|value` `[batch, kv_heads, past, head_len]`,
/// `position_ids` where the layout says so. Outputs: `logits`, `present.%d.key|value`, `hidden_states` if asked for.
///
/// # Errors
/// `Config`, `Shape` or `Option` if weights or options do not fit; `Io` if a file cannot be written. The final names
/// appear only when both files are whole.
pub fn write_model(
    path: &Path,
    config: &DecoderConfig,
    weights: &Weights,
    options: &GraphOptions,
) -> Result<ModelSummary> {
    weights.check(config)?;
    options.check(config)?;
    let external = match options.external_data {
        ExternalData::Never => false,
        ExternalData::Always => true,
        ExternalData::Above(bytes) => options.weight_bytes(weights) > bytes,
    };
    let frequencies = config.rope.frequencies(config.head_len);
    let head_len = options.head_len(config);
    let padded = if head_len == config.head_len { None } else { Some(heads::pad(config, weights, head_len)?) };
    let (graph_config, graph_weights) =
        padded.as_ref().map_or((config, weights), |(config, weights)| (config, weights));
    let mut graph = GraphWriter::create(path, options.precision.io, external)?;
    Builder { graph: &mut graph, config: graph_config, weights: graph_weights, options }.build(&frequencies)?;
    let written = graph.finish()?;
    Ok(ModelSummary {
        files: written.files,
        node_count: written.node_count,
        parameter_count: weights.parameter_count(),
    })
}

impl GraphOptions {
    fn check(&self, config: &DecoderConfig) -> Result<()> {
        let precision = self.precision;
        let fail = |option, reason: String| Err(Error::Option { option, reason });
        for format in [precision.layers, precision.head, precision.embedding] {
            if let Some((_, block)) = format.blocks()
                && !(block.is_power_of_two() && (16..=256).contains(&block))
            {
                return fail("precision", format!("block {block} is not a power of two in 16..=256"));
            }
            if matches!(format, WeightFormat::Int8x8 { .. }) && precision.io != FloatType::F32 {
                return fail("precision", "int8x8 needs f32 between the projections".into());
            }
        }
        if matches!(precision.embedding, WeightFormat::Int8x8 { .. }) {
            return fail("precision", "an embedding is float or a block format".into());
        }
        let is_static = WeightFormat::Int8x8 { activations: ActivationScale::Static };
        let sites = [Site::Attention, Site::Output, Site::FeedForward, Site::Down];
        let layer_sites = (0..config.layer_count).flat_map(|layer| sites.map(|site| (layer, site, precision.layers)));
        for (layer, site, format) in layer_sites.chain([(config.layer_count, Site::Head, precision.head)]) {
            let range = self.activation_ranges.as_ref().and_then(|ranges| ranges.of(layer, site));
            if format == is_static && !range.is_some_and(|range| range.is_finite() && range > 0.0) {
                let reason = format!("static scales need the range of layer {layer}, {site:?}; run `calibrate` first");
                return fail("activation_ranges", reason);
            }
        }
        Ok(())
    }

    /// Bytes that the weights take, roughly: norms and biases are counted as if quantised.
    fn weight_bytes(&self, weights: &Weights) -> u64 {
        let precision = self.precision;
        let bytes = |count: usize, format: WeightFormat| count as f64 * format.bits_per_weight(precision.io) / 8.0;
        let head = weights.head.as_ref().map_or(0, Vec::len);
        let embedding = weights.embedding.len();
        let layers = weights.parameter_count() - head - embedding;
        let total =
            bytes(layers, precision.layers) + bytes(head, precision.head) + bytes(embedding, precision.embedding);
        total as u64
    }
}

struct Builder<'a> {
    graph: &'a mut GraphWriter,
    config: &'a DecoderConfig,
    weights: &'a Weights,
    options: &'a GraphOptions,
}

/// Residual stream between two blocks: `sum`, or `sum + addend` where the addition is left to the next norm.
struct Residual {
    sum: String,
    addend: Option<String>,
}

impl Builder<'_> {
    fn build(&mut self, frequencies: &[f32]) -> Result<()> {
        let (config, weights, precision) = (self.config, self.weights, self.options.precision);
        let inputs = attention::inputs(self.graph, config, frequencies, self.options.layout)?;
        let (mut hidden, table) =
            embedding(self.graph, "input_ids", &weights.embedding, config.hidden_len, precision.embedding)?;
        if config.embedding_scale != 1.0 {
            let scale = self.graph.floats("embedding.scale", &[], &[config.embedding_scale])?;
            hidden = self.graph.op("Mul", "embedding/scaled", &[&hidden, &scale], vec![]);
        }
        let mut residual = Residual { sum: hidden, addend: None };
        for (index, layer) in weights.layers.iter().enumerate() {
            let name = |part: &str| format!("layers.{index}/{part}");
            let normed = self.norm(&name("attention_norm"), &mut residual, &layer.attention_norm)?;
            let projection = packed_projection(config, layer);
            let encoding = self.encoding(index, Site::Attention);
            let packed = linear(self.graph, &name("qkv"), &normed, &projection, config.hidden_len, encoding)?;
            let mixed = attention(self.graph, config, &inputs, layer, index, &packed)?;
            let encoding = self.encoding(index, Site::Output);
            let output = linear(self.graph, &name("output"), &mixed, &layer.output, config.query_len(), encoding)?;
            residual.addend = Some(output);
            let normed = self.norm(&name("ffn_norm"), &mut residual, &layer.ffn_norm)?;
            residual.addend = Some(self.feed_forward(&name("ffn"), &normed, layer, index)?);
        }
        let mut normed = self.norm("final_norm", &mut residual, &weights.final_norm)?;
        self.declare_hidden_states(&mut normed);
        if self.options.logit_rows == LogitRows::Last {
            normed = self.last_row(&normed)?;
        }
        let tied = weights.head.is_none().then_some(&table);
        let encoding = self.encoding(config.layer_count, Site::Head);
        head(self.graph, &normed, weights.head(), config.hidden_len, encoding, tied)?;
        self.declare_logits();
        attention::declare_present(self.graph, config);
        Ok(())
    }

    /// Norms the residual stream, after what is still to be added to it.
    fn norm(&mut self, name: &str, residual: &mut Residual, weight: &[f32]) -> Result<String> {
        let (graph, config) = (&mut *self.graph, self.config);
        let gamma: Vec<f32> = weight.iter().map(|weight| weight + config.norm_offset).collect();
        let gamma = graph.floats(&format!("{name}.weight"), &[gamma.len()], &gamma)?;
        let addend = residual.addend.take();
        let (before, sum) = (residual.sum.clone(), format!("{name}/residual"));
        if self.options.layout != Layout::Shared {
            if let Some(addend) = &addend {
                residual.sum = graph.op("Add", &sum, &[&before, addend], vec![]);
            }
            return plain_norm(graph, name, &residual.sum, &gamma, config.norm_epsilon);
        }
        let epsilon = float("epsilon", config.norm_epsilon);
        match addend {
            None => {
                let attributes = vec![int("axis", -1), epsilon];
                graph.node("SimplifiedLayerNormalization", name, &[&before, &gamma], &[name], attributes);
            }
            Some(addend) => {
                let outputs = [name, "", "", &sum];
                let inputs = [before.as_str(), &addend, &gamma];
                graph.node("SkipSimplifiedLayerNormalization", name, &inputs, &outputs, vec![epsilon]);
                residual.sum = sum;
            }
        }
        Ok(name.into())
    }

    fn feed_forward(&mut self, name: &str, x: &str, layer: &LayerWeights, index: usize) -> Result<String> {
        let (hidden_len, ffn_len) = (self.config.hidden_len, self.config.ffn_len);
        let at = |part: &str| format!("{name}/{part}");
        let both = Linear::stack(&[&layer.gate, &layer.up], hidden_len);
        let encoding = self.encoding(index, Site::FeedForward);
        let both = linear(self.graph, &at("gate_up"), x, &both, hidden_len, encoding)?;
        let sizes = self.graph.ints("ffn_sizes", &[2], &[ffn_len as i64, ffn_len as i64])?;
        let (gate, up) = (at("gate"), at("up"));
        self.graph.node("Split", &at("split"), &[&both, &sizes], &[&gate, &up], vec![int("axis", -1)]);
        let active = self.activation(&at("active"), &gate);
        let gated = self.graph.op("Mul", &at("gated"), &[&active, &up], vec![]);
        linear(self.graph, &at("down"), &gated, &layer.down, ffn_len, self.encoding(index, Site::Down))
    }

    fn encoding(&self, layer: usize, site: Site) -> Encoding {
        let precision = self.options.precision;
        Encoding {
            format: if site == Site::Head { precision.head } else { precision.layers },
            input_max: self.options.activation_ranges.as_ref().and_then(|ranges| ranges.of(layer, site)),
            standard_operators: self.options.layout != Layout::Shared,
        }
    }

    fn activation(&mut self, name: &str, x: &str) -> String {
        match (self.config.activation, self.options.layout) {
            (Activation::Silu, Layout::Shared) => self.graph.op("QuickGelu", name, &[x], vec![float("alpha", 1.0)]),
            (Activation::Silu, Layout::Growing { .. }) => {
                let share = self.graph.op("Sigmoid", &format!("{name}/share"), &[x], vec![]);
                self.graph.op("Mul", name, &[x, &share], vec![])
            }
            (Activation::GeluTanh, _) => self.graph.op("Gelu", name, &[x], vec![text("approximate", "tanh")]),
        }
    }

    fn last_row(&mut self, x: &str) -> Result<String> {
        let last = self.graph.ints("last_axis", &[1], &[-1])?;
        let end = self.graph.ints("end", &[1], &[i64::MAX])?;
        let one = self.graph.ints("one", &[1], &[1])?;
        Ok(self.graph.op("Slice", "final_norm/last", &[x, &last, &end, &one], vec![]))
    }

    /// Gives the head's input the name of the output.
    fn declare_hidden_states(&mut self, normed: &mut String) {
        if self.options.hidden_states {
            let dims = [Dim::Named("batch_size"), Dim::Named("sequence_length"), Dim::Fixed(self.config.hidden_len)];
            let float_type = self.graph.float_type();
            self.graph.output("hidden_states", float_type, &dims);
            *normed = self.graph.op("Identity", "hidden_states", &[normed], vec![]);
        }
    }

    fn declare_logits(&mut self) {
        let rows = match self.options.logit_rows {
            LogitRows::Every => Dim::Named("sequence_length"),
            LogitRows::Last => Dim::Fixed(1),
        };
        let dims = [Dim::Named("batch_size"), rows, Dim::Fixed(self.config.head_vocab_len)];
        let float_type: DataType = self.graph.float_type();
        self.graph.output("logits", float_type, &dims);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;

    use drafthorse_pack::onnx::{GraphProto, ModelProto};
    use prost::Message;

    use super::*;
    use crate::options::Precision;
    use crate::random::Extras;

    fn written(config: &DecoderConfig, extras: Extras, options: &GraphOptions) -> (GraphProto, Option<Vec<u8>>) {
        let folder = tempfile::tempdir().unwrap();
        let weights = Weights::random(config, extras, 3.0, 1).unwrap();
        let path = folder.path().join("model.onnx");
        let summary = write_model(&path, config, &weights, options).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), summary.files.len());
        let graph = ModelProto::decode(&fs::read(&path).unwrap()[..]).unwrap().graph.unwrap();
        assert_eq!(graph.node.len(), summary.node_count);
        (graph, summary.files.get(1).map(|data| fs::read(data).unwrap()))
    }

    fn small() -> DecoderConfig {
        DecoderConfig { kv_head_count: 2, context_len_max: 32, ..DecoderConfig::llama(96, 64, 128, 2, 4) }
    }

    #[test]
    fn names_are_those_that_runtimes_expect() {
        for (layout, position_ids) in [
            (Layout::Shared, false),
            (Layout::Growing { position_ids: true }, true),
            (Layout::Growing { position_ids: false }, false),
        ] {
            let (graph, _) = written(&small(), Extras::default(), &GraphOptions::new(layout, Precision::FP32));
            let inputs: Vec<_> = graph.input.iter().map(|input| input.name.as_str()).collect();
            assert_eq!(inputs[..2], ["input_ids", "attention_mask"]);
            assert_eq!(inputs.contains(&"position_ids"), position_ids);
            assert!(inputs.contains(&"past_key_values.1.value"));
            let outputs: Vec<_> = graph.output.iter().map(|output| output.name.as_str()).collect();
            assert_eq!(outputs[..3], ["logits", "present.0.key", "present.0.value"]);
        }
    }

    #[test]
    fn every_value_is_written_once_and_before_it_is_read() {
        for layout in [Layout::Shared, Layout::Growing { position_ids: false }] {
            for precision in [Precision::FP16, Precision::INT4, Precision::INT8X8] {
                let extras = Extras { biases: true, head_norms: true, tied: true };
                let options = GraphOptions { hidden_states: true, ..GraphOptions::new(layout, precision) };
                let (graph, _) = written(&small(), extras, &options);
                let inputs = graph.input.iter().map(|input| input.name.clone());
                let constants = graph.initializer.iter().map(|tensor| tensor.name.clone());
                let mut known = HashSet::from([String::new()]);
                for name in inputs.chain(constants) {
                    assert!(known.insert(name.clone()), "{name} twice");
                }
                for node in &graph.node {
                    assert!(node.input.iter().all(|name| known.contains(name)), "{}: {:?}", node.name, node.input);
                    for name in node.output.iter().filter(|name| !name.is_empty()) {
                        assert!(known.insert(name.clone()), "{name} twice");
                    }
                }
                assert!(graph.output.iter().all(|output| known.contains(&output.name)));
            }
        }
    }

    #[test]
    fn external_weights_lie_inside_their_file_and_tied_ones_lie_there_once() {
        let options =
            GraphOptions { external_data: ExternalData::Always, ..GraphOptions::new(Layout::Shared, Precision::INT4) };
        let (graph, data) = written(&small(), Extras { tied: true, ..Extras::default() }, &options);
        let data = data.unwrap();
        let place = |name: &str| {
            let tensor = graph.initializer.iter().find(|tensor| tensor.name == name).unwrap();
            assert_eq!(tensor.external("location"), Some("model.onnx.data"));
            (tensor.external("offset").unwrap().to_owned(), tensor.external("length").unwrap().to_owned())
        };
        assert_eq!(place("embedding.weight_quantized"), place("head.weight_quantized"));
        for tensor in graph.initializer.iter().filter(|tensor| tensor.raw_data.is_none()) {
            let number = |key| tensor.external(key).unwrap().parse::<u64>().unwrap();
            assert_eq!(Some(number("length")), tensor.byte_len(), "{}", tensor.name);
            assert!(number("offset") + number("length") <= data.len() as u64);
        }
    }

    #[test]
    fn growing_graphs_of_floats_and_int8x8_are_standard() {
        for precision in
            [Precision::FP32, Precision::FP16, Precision { embedding: WeightFormat::Float, ..Precision::INT8X8 }]
        {
            let options = GraphOptions::new(Layout::Growing { position_ids: true }, precision);
            let (graph, _) = written(&small(), Extras { biases: true, head_norms: true, tied: true }, &options);
            for node in &graph.node {
                assert!(node.domain.is_empty() && !node.op_type.starts_with("Simplified"), "{}", node.op_type);
            }
        }
    }

    #[test]
    fn growing_graphs_of_f16_square_in_f32_and_mask_without_infinity() {
        let options = GraphOptions::new(Layout::Growing { position_ids: true }, Precision::FP16);
        let (graph, _) = written(&small(), Extras { head_norms: true, ..Extras::default() }, &options);
        let wide = |name: &str| {
            let node = graph.node.iter().find(|node| node.output[0] == name).unwrap();
            node.op_type == "Cast" && node.attribute[0].i == Some(DataType::Float as i64)
        };
        let squares: Vec<_> = graph.node.iter().filter(|node| node.op_type == "Pow").collect();
        assert_eq!(squares.len(), 7, "two layers of three norms, and the last");
        assert!(squares.iter().all(|node| wide(&node.input[0])));
        let closed = graph.initializer.iter().find(|tensor| tensor.name == "mask.closed").unwrap();
        let bytes = closed.raw_data.as_ref().unwrap();
        let closed = half::f16::from_le_bytes([bytes[0], bytes[1]]);
        assert!((closed + half::f16::from_f32(-1000.0)).is_finite() && closed.to_f32() < -5000.0, "{closed}");
    }

    #[test]
    fn small_models_stay_in_one_file() {
        let (_, data) = written(&small(), Extras::default(), &GraphOptions::new(Layout::Shared, Precision::INT8));
        assert!(data.is_none());
    }

    #[test]
    fn options_that_cannot_be_written_leave_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let config = small();
        let weights = Weights::random(&config, Extras::default(), 3.0, 1).unwrap();
        let bad = [
            Precision::INT8X8_STATIC,
            Precision { io: FloatType::F16, ..Precision::INT8X8 },
            Precision::uniform(WeightFormat::Int4 { block: 24 }, FloatType::F32),
            Precision { embedding: Precision::INT8X8.layers, ..Precision::INT8X8 },
        ];
        for precision in bad {
            let options = GraphOptions::new(Layout::Shared, precision);
            let result = write_model(&folder.path().join("model.onnx"), &config, &weights, &options);
            assert!(matches!(result, Err(Error::Option { .. })), "{precision:?}");
        }
        let holed = Weights { final_norm: vec![f32::NAN; 64], ..weights.clone() };
        let options = GraphOptions::new(Layout::Shared, Precision::FP32);
        assert!(write_model(&folder.path().join("model.onnx"), &config, &holed, &options).is_err());
        let huge = Weights { final_norm: vec![1e5; 64], ..weights };
        let options =
            GraphOptions { external_data: ExternalData::Always, ..GraphOptions::new(Layout::Shared, Precision::FP16) };
        assert!(write_model(&folder.path().join("model.onnx"), &config, &huge, &options).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
