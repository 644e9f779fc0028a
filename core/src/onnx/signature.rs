//! What a decoder graph takes and gives, read from its names, types and shapes; nothing is assumed.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::Path;

use ort::session::Session;
use ort::value::{Outlet, TensorElementType, ValueType};

use super::options::NameHints;
use super::raw::Element;
use crate::{Error, Result};

/// Most layers looked for; a graph with more is not a decoder that we know.
const LAYERS_MAX: usize = 1024;

/// Names of past and present tensors that exporters use; `%d` is the layer.
const PAST_KEYS: [&str; 3] = ["past_key_values.%d.key", "past_key_%d", "past.%d.key"];
const PAST_VALUES: [&str; 3] = ["past_key_values.%d.value", "past_value_%d", "past.%d.value"];
const PRESENT_KEYS: [&str; 3] = ["present.%d.key", "present_key_values.%d.key", "present_key_%d"];
const PRESENT_VALUES: [&str; 3] = ["present.%d.value", "present_key_values.%d.value", "present_value_%d"];

/// The interface of a decoder graph.
#[derive(Debug)]
pub(super) struct Signature {
    /// int64 `[1, width]`.
    pub(super) input_ids: CString,
    /// int64 `[1, past + width]`.
    pub(super) attention_mask: Option<CString>,
    /// int64 `[1, width]`.
    pub(super) position_ids: Option<CString>,
    /// int64 scalar or `[1]`: how many last rows of logits to compute, 0 for all. The rank is kept beside it.
    pub(super) logits_to_keep: Option<(CString, usize)>,
    /// `[1, width, vocab_len]`, or `[1, 1, vocab_len]` where only the last row is given.
    pub(super) logits: CString,
    pub(super) logits_element: Element,
    pub(super) cache_element: Element,
    pub(super) layers: Vec<Layer>,
}

/// Keys and values of one layer, each `[1, heads, tokens, head_len]`.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) past: [CString; 2],
    pub(super) present: [CString; 2],
    pub(super) shapes: [HeadShape; 2],
}

/// What does not change in a `[1, heads, tokens, head_len]` tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeadShape {
    pub(super) heads: usize,
    pub(super) head_len: usize,
}

impl Signature {
    /// Reads the interface of `session`, opened from `path`.
    ///
    /// # Errors
    /// `UnsupportedGraph` with the input or output that cannot be driven.
    pub(super) fn read(session: &Session, path: &Path, hints: &NameHints) -> Result<Self> {
        Self::from_ports(&ports(session.inputs()), &ports(session.outputs()), hints)
            .map_err(|reason| Error::UnsupportedGraph { path: path.to_owned(), reason })
    }

    /// Bytes that one token takes in one copy of the cache.
    pub(super) fn cache_bytes_per_token(&self) -> usize {
        let elements: usize = self.layers.iter().flat_map(|layer| layer.shapes).map(|s| s.heads * s.head_len).sum();
        elements * self.cache_element.size_bytes()
    }

    fn from_ports(inputs: &Ports, outputs: &Ports, hints: &NameHints) -> Result<Self, String> {
        refuse_other_families(inputs)?;
        let mut known = Vec::new();
        let mut optional = |hint: &Option<String>, usual: &str| -> Result<Option<(CString, Port)>, String> {
            let name = hint.as_deref().unwrap_or(usual);
            let Some(port) = inputs.get(name) else { return Ok(None) };
            known.push(name.to_owned());
            port.expect(name, Element::I64)?;
            Ok(Some((c_name(name)?, port.clone())))
        };
        let (input_ids, _) = optional(&hints.input_ids, "input_ids")?
            .ok_or_else(|| format!("no input input_ids; inputs are {}", list(inputs)))?;
        let attention_mask = optional(&hints.attention_mask, "attention_mask")?.map(|(name, _)| name);
        let position_ids = optional(&hints.position_ids, "position_ids")?;
        if let Some((_, port)) = &position_ids
            && port.shape.len() != 2
        {
            return Err(format!("position_ids has {} dimensions; only [batch, width] is driven", port.shape.len()));
        }
        let logits_to_keep = optional(&None, "num_logits_to_keep")?.map(|(name, port)| (name, port.shape.len().min(1)));

        let (layers, cache_element, cache_names) = read_layers(inputs, outputs, hints)?;
        known.extend(cache_names);
        if let Some(unknown) = inputs.keys().find(|name| !known.contains(name)) {
            return Err(format!("input {unknown} is one that the runtime cannot fill"));
        }
        let (logits, logits_element) = read_logits(outputs, hints)?;
        Ok(Self {
            input_ids,
            attention_mask,
            position_ids: position_ids.map(|(name, _)| name),
            logits_to_keep,
            logits,
            logits_element,
            cache_element,
            layers,
        })
    }
}

/// An input or output; `element` is `None` for types that no decoder of ours has.
#[derive(Clone, Debug)]
struct Port {
    element: Option<Element>,
    type_name: String,
    /// Unknown dimensions are below 0.
    shape: Vec<i64>,
}

type Ports = BTreeMap<String, Port>;

impl Port {
    fn expect(&self, name: &str, element: Element) -> Result<(), String> {
        if self.element == Some(element) {
            return Ok(());
        }
        Err(format!("{name} is {}, expected {element:?}", self.type_name))
    }

    fn float(&self, name: &str) -> Result<Element, String> {
        self.element
            .filter(|element| *element != Element::I64)
            .ok_or_else(|| format!("{name} is {}; fp32, fp16 and bf16 can be read", self.type_name))
    }
}

fn ports(outlets: &[Outlet]) -> Ports {
    let port = |outlet: &Outlet| {
        let port = match outlet.dtype() {
            ValueType::Tensor { ty, shape, .. } => {
                let element = match ty {
                    TensorElementType::Int64 => Some(Element::I64),
                    TensorElementType::Float32 => Some(Element::F32),
                    TensorElementType::Float16 => Some(Element::F16),
                    TensorElementType::Bfloat16 => Some(Element::Bf16),
                    _ => None,
                };
                Port { element, type_name: format!("{ty:?}"), shape: shape.to_vec() }
            }
            other => Port { element: None, type_name: format!("{other:?}"), shape: Vec::new() },
        };
        (outlet.name().to_owned(), port)
    };
    outlets.iter().map(port).collect()
}

/// Says in words why well-known kinds of graph cannot be driven, before the details do.
fn refuse_other_families(inputs: &Ports) -> Result<(), String> {
    let has = |part: &str| inputs.keys().any(|name| name.contains(part));
    if has("inputs_embeds") {
        return Err("it takes inputs_embeds: multimodal and split models are not supported".to_owned());
    }
    if has("use_cache_branch") {
        return Err("it takes use_cache_branch: export it without the merged no-cache branch".to_owned());
    }
    if has("past_conv") || has("past_ssm") || has("conv_state") || has("recurrent_state") {
        return Err(
            "it keeps a recurrent state, which cannot be rolled back; hybrid models are not supported".to_owned()
        );
    }
    Ok(())
}

type Layers = (Vec<Layer>, Element, Vec<String>);

fn read_layers(inputs: &Ports, outputs: &Ports, hints: &NameHints) -> Result<Layers, String> {
    let past_key = template("past key input", inputs, &hints.past_key, &PAST_KEYS)?;
    let past_value = template("past value input", inputs, &hints.past_value, &PAST_VALUES)?;
    let present_key = template("present key output", outputs, &hints.present_key, &PRESENT_KEYS)?;
    let present_value = template("present value output", outputs, &hints.present_value, &PRESENT_VALUES)?;

    let mut layers = Vec::new();
    let mut names = Vec::new();
    let mut cache_element = None;
    for index in 0..LAYERS_MAX {
        let past = [named(&past_key, index), named(&past_value, index)];
        let present = [named(&present_key, index), named(&present_value, index)];
        let Some(key) = inputs.get(&past[0]) else { break };
        let value = inputs.get(&past[1]).ok_or_else(|| format!("input {} is missing", past[1]))?;
        let shapes = [head_shape(&past[0], key)?, head_shape(&past[1], value)?];
        for (name, port) in past.iter().zip([key, value]).chain(
            present
                .iter()
                .map(|name| Ok((name, outputs.get(name).ok_or_else(|| format!("output {name} is missing"))?)))
                .collect::<Result<Vec<_>, String>>()?,
        ) {
            let element = port.float(name)?;
            if *cache_element.get_or_insert(element) != element {
                return Err(format!("{name} is {}, unlike the rest of the cache", port.type_name));
            }
        }
        let c_names = |names: &[String; 2]| Ok::<_, String>([c_name(&names[0])?, c_name(&names[1])?]);
        layers.push(Layer { past: c_names(&past)?, present: c_names(&present)?, shapes });
        names.extend(past);
    }
    let element = cache_element.ok_or_else(|| format!("no cache inputs; inputs are {}", list(inputs)))?;
    Ok((layers, element, names))
}

/// The template whose layer 0 is there; a hint that is not there is an error, not a reason to guess.
fn template(what: &str, ports: &Ports, hint: &Option<String>, usual: &[&str]) -> Result<String, String> {
    if let Some(hint) = hint {
        if !hint.contains("%d") {
            return Err(format!("{what} {hint:?} has no %d for the layer"));
        }
        if !ports.contains_key(&named(hint, 0)) {
            return Err(format!("{what} {} is missing; there are {}", named(hint, 0), list(ports)));
        }
        return Ok(hint.clone());
    }
    let there = usual.iter().find(|template| ports.contains_key(&named(template, 0)));
    there.map(|template| (*template).to_owned()).ok_or_else(|| format!("no {what}; there are {}", list(ports)))
}

fn named(template: &str, layer: usize) -> String {
    template.replacen("%d", &layer.to_string(), 1)
}

fn head_shape(name: &str, port: &Port) -> Result<HeadShape, String> {
    let size = |dimension: i64| usize::try_from(dimension).ok().filter(|size| *size > 0);
    let unusable = || {
        format!(
            "{name} has shape {:?}, expected [batch, heads, tokens, head size] with heads and size known",
            port.shape
        )
    };
    let [_, heads, tokens, head_len] = port.shape[..] else { return Err(unusable()) };
    if tokens > 0 {
        return Err(format!("{name} holds exactly {tokens} tokens; static caches are not supported"));
    }
    match (size(heads), size(head_len)) {
        (Some(heads), Some(head_len)) => Ok(HeadShape { heads, head_len }),
        _ => Err(unusable()),
    }
}

fn read_logits(outputs: &Ports, hints: &NameHints) -> Result<(CString, Element), String> {
    let name = hints.logits.as_deref().unwrap_or("logits");
    let port = outputs.get(name).ok_or_else(|| format!("no output {name}; outputs are {}", list(outputs)))?;
    let element = port.float(name)?;
    if port.shape.len() != 3 {
        return Err(format!("{name} has shape {:?}, expected [batch, width, vocabulary]", port.shape));
    }
    Ok((c_name(name)?, element))
}

fn c_name(name: &str) -> Result<CString, String> {
    CString::new(name).map_err(|_| format!("the name {name:?} has a NUL"))
}

fn list(ports: &Ports) -> String {
    const SHOWN: usize = 12;
    let mut text = ports.keys().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if ports.len() > SHOWN {
        text.push_str(&format!(" and {} more", ports.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(element: Option<Element>, shape: &[i64]) -> Port {
        Port { element, type_name: format!("{element:?}"), shape: shape.to_vec() }
    }

    fn decoder(layers: usize, past: &str, present: &str) -> (Ports, Ports) {
        let mut inputs = Ports::from([("input_ids".to_owned(), port(Some(Element::I64), &[-1, -1]))]);
        let mut outputs = Ports::from([("logits".to_owned(), port(Some(Element::F32), &[-1, -1, 64]))]);
        for layer in 0..layers {
            for kind in ["key", "value"] {
                let name = |template: &str| template.replace("%d", &layer.to_string()).replace("%k", kind);
                inputs.insert(name(past), port(Some(Element::F16), &[-1, 2, -1, 8]));
                outputs.insert(name(present), port(Some(Element::F16), &[-1, 2, -1, 8]));
            }
        }
        (inputs, outputs)
    }

    fn read((inputs, outputs): &(Ports, Ports)) -> Result<Signature, String> {
        Signature::from_ports(inputs, outputs, &NameHints::default())
    }

    #[test]
    fn finds_layers_under_every_usual_name() {
        for (past, present) in [
            ("past_key_values.%d.%k", "present.%d.%k"),
            ("past_%k_%d", "present_%k_%d"),
            ("past.%d.%k", "present_key_values.%d.%k"),
        ] {
            let signature = read(&decoder(11, past, present)).unwrap();
            assert_eq!(signature.layers.len(), 11);
            assert_eq!(signature.layers[10].shapes[1], HeadShape { heads: 2, head_len: 8 });
            assert_eq!(signature.cache_bytes_per_token(), 11 * 2 * 2 * 8 * 2);
            assert_eq!((signature.cache_element, signature.logits_element), (Element::F16, Element::F32));
            assert!(signature.attention_mask.is_none() && signature.position_ids.is_none());
        }
    }

    #[test]
    fn names_from_a_configuration_win() {
        let mut graph = decoder(1, "kv.%d.%k", "kv_out.%d.%k");
        let ids = graph.0.remove("input_ids").unwrap();
        graph.0.insert("tokens".into(), ids);
        let hints = NameHints {
            input_ids: Some("tokens".into()),
            past_key: Some("kv.%d.key".into()),
            past_value: Some("kv.%d.value".into()),
            present_key: Some("kv_out.%d.key".into()),
            present_value: Some("kv_out.%d.value".into()),
            ..NameHints::default()
        };
        let signature = Signature::from_ports(&graph.0, &graph.1, &hints).unwrap();
        assert_eq!(signature.input_ids.to_str(), Ok("tokens"));
        let missing = NameHints { past_key: Some("gone.%d.key".into()), ..hints };
        let reason = Signature::from_ports(&graph.0, &graph.1, &missing).unwrap_err();
        assert!(reason.contains("gone.0.key"), "{reason}");
    }

    #[test]
    fn says_what_it_cannot_drive() {
        type Spoil = fn(&mut (Ports, Ports));
        let cases: [(&str, Spoil); 9] = [
            ("inputs_embeds", |g| drop(g.0.insert("inputs_embeds".into(), port(Some(Element::F32), &[-1, -1, 8])))),
            ("pixel_values", |g| drop(g.0.insert("pixel_values".into(), port(Some(Element::F32), &[-1])))),
            ("input_ids is None", |g| drop(g.0.insert("input_ids".into(), port(None, &[-1, -1])))),
            ("no output logits", |g| drop(g.1.remove("logits"))),
            ("present.1.value is missing", |g| drop(g.1.remove("present.1.value"))),
            ("no past key input", |g| g.0.retain(|name, _| name == "input_ids")),
            ("heads and size known", |g| {
                drop(g.0.insert("past_key_values.0.key".into(), port(Some(Element::F16), &[-1, -1, -1, 8])))
            }),
            ("unlike the rest", |g| {
                drop(g.0.insert("past_key_values.1.key".into(), port(Some(Element::F32), &[-1, 2, -1, 8])))
            }),
            ("position_ids has 3", |g| drop(g.0.insert("position_ids".into(), port(Some(Element::I64), &[3, -1, -1])))),
        ];
        for (expected, spoil) in cases {
            let mut graph = decoder(2, "past_key_values.%d.%k", "present.%d.%k");
            spoil(&mut graph);
            let reason = read(&graph).unwrap_err();
            assert!(reason.contains(expected), "{expected}: {reason}");
        }
    }
}
