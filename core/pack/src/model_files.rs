//! One model on disk: its ONNX file, its external data, and what both say.

use std::path::{Path, PathBuf};

use crate::{
    Error, Result,
    error::io,
    genai::DecoderConfig,
    header::{ATTENTION, Dimension, ElementType, Header},
    root::{NamedBy, Root},
    settings::{IoNames, SessionSettings, Shape, layer_name},
    vocabulary::IdMap,
};

/// A model on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFiles {
    /// The ONNX file. Sessions must be made from this path, so that external data are mapped and not copied.
    pub path: PathBuf,
    /// Files of external data, by location.
    pub external: Vec<ExternalFile>,
    /// Bytes of all files together.
    pub bytes: u64,
    /// What the ONNX file says.
    pub header: Header,
    /// Names of inputs and outputs; the graph has been checked to have those that every decoder needs.
    pub io: IoNames,
    /// Session options that the folder asks for.
    pub session: SessionSettings,
    /// Sizes, the graph's own before those that the folder declares.
    pub shape: Shape,
    /// True if the folder says that past and present share one buffer; `None` if it does not say.
    pub shared_buffer: Option<bool>,
    /// Target ids of a trimmed head. Without it ids are the target's, whatever the width of the logits.
    pub id_map: Option<IdMap>,
}

/// A file of external data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its name in the ONNX file.
    pub location: String,
    /// Its length.
    pub bytes: u64,
    /// End of the last tensor in it, at most `bytes`.
    pub bytes_needed: u64,
}

impl ModelFiles {
    /// Reads the ONNX file at `path`, which lies in `root`, and checks its external data and its inputs and outputs.
    pub(crate) fn read(root: &Root, path: PathBuf, config: DecoderConfig, notes: &mut Vec<String>) -> Result<Self> {
        let header = Header::read(&path)?;
        let external = external_files(root, &path, &header)?;
        let bytes = path.metadata().map_err(io(&path))?.len();
        let bytes = external.iter().fold(bytes, |total, file| total.saturating_add(file.bytes));
        let of_graph = check_signature(&path, &header, &config.io)?;
        note_differences(&path, of_graph, config.shape, notes);
        note_arithmetic(&path, &header, notes);
        Ok(Self {
            path,
            external,
            bytes,
            header,
            io: config.io,
            session: config.session,
            shape: of_graph.or(config.shape),
            shared_buffer: None,
            id_map: None,
        })
    }

    /// The ONNX file and then its external data.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.path.as_path()).chain(self.external.iter().map(|file| file.path.as_path()))
    }

    /// Element type of the logits.
    pub fn logits_element(&self) -> Option<ElementType> {
        self.header.output(&self.io.logits)?.element
    }

    /// Element type of the KV cache.
    pub fn cache_element(&self) -> Option<ElementType> {
        let template = self.io.past.as_ref().unwrap_or(&self.io.past_key);
        self.header.input(&layer_name(template, 0))?.element
    }

    /// True if every layer's attention can update a cache in place, so that past and present may share one buffer.
    pub fn can_share_buffer(&self) -> bool {
        self.header.count(ATTENTION) >= self.shape.layers.unwrap_or(1).max(1) as u64
    }

    /// True if past and present share one buffer: the graph can, and the folder does not say otherwise. A cache that
    /// grows instead is there twice while a pass runs.
    pub fn shares_buffer(&self) -> bool {
        self.shared_buffer != Some(false) && self.can_share_buffer()
    }

    /// Bytes that one token takes in the KV cache of all layers, in both copies of one that grows, where the graph states
    /// its sizes.
    pub fn cache_bytes_per_token(&self) -> Option<u64> {
        let templates = match &self.io.past {
            Some(past) => vec![past],
            None => vec![&self.io.past_key, &self.io.past_value],
        };
        let mut bits = 0_u64;
        for layer in 0..self.shape.layers? {
            for template in &templates {
                let value = self.header.input(&layer_name(template, layer))?;
                let elements = match value.dimensions.as_slice() {
                    [_, heads, _, len] => heads.fixed()?.checked_mul(len.fixed()?)?,
                    // Keys and values in one tensor.
                    [_, _, heads, _, len] => heads.fixed()?.checked_mul(len.fixed()?)?.checked_mul(2)?,
                    _ => return None,
                };
                bits = bits.checked_add((elements as u64).checked_mul(value.element?.bits()?)?)?;
            }
        }
        let copies = if self.shares_buffer() { 1 } else { 2 };
        (bits / 8).checked_mul(copies)
    }

    /// True if the graph returns the logits of the last token only: it cannot verify drafts.
    pub fn last_row_only(&self) -> bool {
        let logits = self.header.output(&self.io.logits);
        logits.is_some_and(|value| matches!(value.dimensions.as_slice(), [_, Dimension::Fixed(1), _]))
    }
}

fn external_files(root: &Root, path: &Path, header: &Header) -> Result<Vec<ExternalFile>> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files = Vec::new();
    for (location, &bytes_needed) in &header.external {
        let by = NamedBy { path, field: "external_data.location" };
        if crate::root::climbs(location) {
            return Err(Error::OutsideFolder {
                path: path.to_owned(),
                field: by.field.to_owned(),
                target: location.clone(),
                reason: "climbs out with `..`; external data must lie beside their ONNX file".into(),
            });
        }
        let external = root.named_from(folder, location, by)?;
        let bytes = external.metadata().map_err(io(&external))?.len();
        if bytes < bytes_needed {
            return Err(Error::Truncated { path: external, bytes, bytes_needed, named_by: path.to_owned() });
        }
        files.push(ExternalFile { path: external, location: location.clone(), bytes, bytes_needed });
    }
    Ok(files)
}

/// Checks that the graph is a decoder over token ids with a KV cache, and returns the sizes that it states.
fn check_signature(path: &Path, header: &Header, io: &IoNames) -> Result<Shape> {
    let unsupported =
        |field: &str, reason: String| Error::Unsupported { path: path.to_owned(), field: field.to_owned(), reason };
    let has = |name: &str| header.input(name).is_some();
    if has("use_cache_branch") {
        let reason = "a merged decoder with two branches; export it again with a current optimum";
        return Err(unsupported("input use_cache_branch", reason.into()));
    }
    if has("encoder_hidden_states") {
        return Err(unsupported(
            "input encoder_hidden_states",
            "the model has an encoder; only decoders run here".into(),
        ));
    }
    let Some(input_ids) = header.input(&io.input_ids) else {
        let reason = if has("inputs_embeds") {
            "the graph takes inputs_embeds instead; export it with its embedding".to_owned()
        } else {
            format!("there is no such input; the graph has {}", names(&header.inputs))
        };
        return Err(unsupported(&format!("input {}", io.input_ids), reason));
    };
    if !matches!(input_ids.element, Some(ElementType::I64 | ElementType::I32)) {
        let reason = format!("is {}, must be i64 or i32", element(input_ids.element));
        return Err(unsupported(&format!("input {}", io.input_ids), reason));
    }
    let Some(logits) = header.output(&io.logits) else {
        let reason = format!("there is no such output; the graph has {}", names(&header.outputs));
        return Err(unsupported(&format!("output {}", io.logits), reason));
    };
    let rank = logits.dimensions.len();
    if !logits.element.is_some_and(ElementType::is_float) || !(rank == 0 || rank == 3) {
        let found = element(logits.element);
        let reason = format!("is {found} of {rank} dimensions, must be f32, f16 or bf16 of [batch, rows, vocabulary]");
        return Err(unsupported(&format!("output {}", io.logits), reason));
    }
    let cache = check_cache(path, header, io)?;
    Ok(Shape { vocab_len: logits.dimensions.get(2).and_then(Dimension::fixed), ..cache })
}

/// Checks that every layer's cache goes in and comes out.
fn check_cache(path: &Path, header: &Header, io: &IoNames) -> Result<Shape> {
    let unsupported = |field: String, reason: String| Error::Unsupported { path: path.to_owned(), field, reason };
    let (pasts, presents) = match (&io.past, &io.present) {
        (Some(past), Some(present)) => (vec![past], vec![present]),
        _ => (vec![&io.past_key, &io.past_value], vec![&io.present_key, &io.present_value]),
    };
    let layers = (0..).take_while(|&layer| header.input(&layer_name(pasts[0], layer)).is_some()).count();
    if layers == 0 {
        let reason = format!("there is no KV cache; the graph has {}", names(&header.inputs));
        return Err(unsupported(format!("input {}", pasts[0]), reason));
    }
    for layer in 0..layers {
        for (names, side) in [(&pasts, "input"), (&presents, "output")] {
            for template in names {
                let name = layer_name(template, layer);
                let value = if side == "input" { header.input(&name) } else { header.output(&name) };
                let Some(value) = value else {
                    return Err(unsupported(format!("{side} {name}"), "is missing, other layers have it".into()));
                };
                if !value.element.is_some_and(ElementType::is_float) {
                    let reason = format!("is {}, a KV cache must be f32, f16 or bf16", element(value.element));
                    return Err(unsupported(format!("{side} {name}"), reason));
                }
            }
        }
    }
    let first = header.input(&layer_name(pasts[0], 0)).map_or(&[][..], |value| &value.dimensions);
    let (kv_heads, head_len) = match first {
        [_, heads, _, len] => (heads.fixed(), len.fixed()),
        _ => (None, None),
    };
    let heads = header.query_heads.and_then(|heads| usize::try_from(heads).ok());
    Ok(Shape { layers: Some(layers), heads, kv_heads, head_len, ..Shape::default() })
}

fn element(element: Option<ElementType>) -> String {
    element.map_or("no tensor".into(), |element| element.to_string())
}

fn names(values: &[crate::header::ValueInfo]) -> String {
    const SHOWN: usize = 8;
    let mut names: Vec<_> = values.iter().take(SHOWN).map(|value| value.name.as_str()).collect();
    if values.len() > SHOWN {
        names.push("…");
    }
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

fn note_differences(path: &Path, graph: Shape, declared: Shape, notes: &mut Vec<String>) {
    let sizes = [
        ("vocabulary", graph.vocab_len, declared.vocab_len),
        ("layers", graph.layers, declared.layers),
        ("KV heads", graph.kv_heads, declared.kv_heads),
        ("head size", graph.head_len, declared.head_len),
    ];
    for (name, graph, declared) in sizes {
        if let (Some(graph), Some(declared)) = (graph, declared)
            && graph != declared
        {
            notes.push(format!(
                "{}: {name} {graph}, the configuration says {declared}; the graph's is used",
                path.display()
            ));
        }
    }
}

fn note_arithmetic(path: &Path, header: &Header, notes: &mut Vec<String>) {
    if header.per_tensor_activations() {
        notes.push(format!(
            "{}: activations are quantised per tensor, so a rejected draft changes its neighbours: not lossless",
            path.display()
        ));
    }
    if header.block_quantisation.keys().any(|settings| settings.accuracy_level != 4) {
        notes.push(format!(
            "{}: MatMulNBits without accuracy_level 4 is slow on CPUs; export it again with accuracy level 4",
            path.display()
        ));
    }
}
