//! Weights of a decoder as plain f32 arrays, row-major `[out, in]`.

use crate::{DecoderConfig, Error, Result};

/// All weights of a decoder. Lengths are those of [`DecoderConfig`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// `[vocab_len, hidden_len]`.
    pub embedding: Vec<f32>,
    /// One entry per layer, first layer first.
    pub layers: Vec<LayerWeights>,
    /// `[hidden_len]`.
    pub final_norm: Vec<f32>,
    /// `[head_vocab_len, hidden_len]`; `None` if the head is the embedding.
    pub head: Option<Vec<f32>>,
}

/// Weights of one layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerWeights {
    /// Norm before attention, `[hidden_len]`.
    pub attention_norm: Vec<f32>,
    /// `[head_count · head_len, hidden_len]`.
    pub query: Linear,
    /// `[kv_head_count · head_len, hidden_len]`.
    pub key: Linear,
    /// `[kv_head_count · head_len, hidden_len]`.
    pub value: Linear,
    /// `[hidden_len, head_count · head_len]`.
    pub output: Linear,
    /// Norm of each query head before rotation, `[head_len]`; present together with `key_norm`.
    pub query_norm: Option<Vec<f32>>,
    /// Norm of each key head before rotation, `[head_len]`.
    pub key_norm: Option<Vec<f32>>,
    /// Norm before the feed-forward part, `[hidden_len]`.
    pub ffn_norm: Vec<f32>,
    /// `[ffn_len, hidden_len]`, under the activation.
    pub gate: Linear,
    /// `[ffn_len, hidden_len]`.
    pub up: Linear,
    /// `[hidden_len, ffn_len]`.
    pub down: Linear,
}

/// `y = W x + b`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Linear {
    /// `[out, in]`, row-major.
    pub weight: Vec<f32>,
    /// `[out]`.
    pub bias: Option<Vec<f32>>,
}

impl From<Vec<f32>> for Linear {
    fn from(weight: Vec<f32>) -> Self {
        Self { weight, bias: None }
    }
}

impl Linear {
    /// Rows of several projections of one input, one below the other. Missing biases are zero if any is present.
    pub(crate) fn stack(parts: &[&Self], in_len: usize) -> Self {
        let weight = parts.iter().flat_map(|part| &part.weight).copied().collect();
        let bias = parts.iter().any(|part| part.bias.is_some()).then(|| {
            let zeros = |part: &Self| vec![0.0; part.weight.len() / in_len];
            parts.iter().flat_map(|part| part.bias.clone().unwrap_or_else(|| zeros(part))).collect()
        });
        Self { weight, bias }
    }

    fn check(&self, name: &str, out_len: usize, in_len: usize) -> Result<()> {
        expect(&format!("{name}.weight"), &self.weight, out_len * in_len)?;
        self.bias.as_ref().map_or(Ok(()), |bias| expect(&format!("{name}.bias"), bias, out_len))
    }
}

impl Weights {
    /// Weight of the head: its own, or the embedding.
    #[must_use]
    pub fn head(&self) -> &[f32] {
        self.head.as_deref().unwrap_or(&self.embedding)
    }

    /// Number of weights.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        let linear = |part: &Linear| part.weight.len() + part.bias.as_ref().map_or(0, Vec::len);
        let norm = |norm: &Option<Vec<f32>>| norm.as_ref().map_or(0, Vec::len);
        let layers = self.layers.iter().map(|layer| {
            layer.linears().into_iter().map(|(_, part)| linear(part)).sum::<usize>()
                + layer.attention_norm.len()
                + layer.ffn_norm.len()
                + norm(&layer.query_norm)
                + norm(&layer.key_norm)
        });
        self.embedding.len() + self.final_norm.len() + norm(&self.head) + layers.sum::<usize>()
    }

    /// Checks every length against `config`, and that every number is finite.
    ///
    /// # Errors
    /// `Config` if the configuration is none; `Shape` naming the first weight of another length; `Option` naming the
    /// first that holds a NaN or an infinity.
    pub fn check(&self, config: &DecoderConfig) -> Result<()> {
        config.check()?;
        let hidden = config.hidden_len;
        expect("embedding", &self.embedding, config.vocab_len * hidden)?;
        expect("final_norm", &self.final_norm, hidden)?;
        match &self.head {
            Some(head) => expect("head", head, config.head_vocab_len * hidden)?,
            None if config.head_vocab_len != config.vocab_len => {
                return Err(Error::Config {
                    field: "head_vocab_len",
                    reason: "a tied head is as wide as the vocabulary; give the trimmed head its own weight".into(),
                });
            }
            None => {}
        }
        if self.layers.len() != config.layer_count {
            let (expected, found) = (config.layer_count, self.layers.len());
            return Err(Error::Shape { tensor: "layers".into(), expected, found });
        }
        self.layers.iter().enumerate().try_for_each(|(index, layer)| layer.check(config, index))
    }
}

impl LayerWeights {
    /// The projections with their names.
    fn linears(&self) -> [(&'static str, &Linear); 7] {
        [
            ("query", &self.query),
            ("key", &self.key),
            ("value", &self.value),
            ("output", &self.output),
            ("gate", &self.gate),
            ("up", &self.up),
            ("down", &self.down),
        ]
    }

    fn check(&self, config: &DecoderConfig, index: usize) -> Result<()> {
        let name = |part: &str| format!("layers.{index}.{part}");
        let (hidden, ffn, query, kv) = (config.hidden_len, config.ffn_len, config.query_len(), config.kv_len());
        let shapes =
            [(query, hidden), (kv, hidden), (kv, hidden), (hidden, query), (ffn, hidden), (ffn, hidden), (hidden, ffn)];
        for ((part, linear), (out_len, in_len)) in self.linears().into_iter().zip(shapes) {
            linear.check(&name(part), out_len, in_len)?;
        }
        expect(&name("attention_norm"), &self.attention_norm, hidden)?;
        expect(&name("ffn_norm"), &self.ffn_norm, hidden)?;
        match (&self.query_norm, &self.key_norm) {
            (Some(query_norm), Some(key_norm)) => {
                expect(&name("query_norm"), query_norm, config.head_len)?;
                expect(&name("key_norm"), key_norm, config.head_len)
            }
            (None, None) => Ok(()),
            (given, _) => Err(Error::Shape {
                tensor: name(if given.is_some() { "key_norm" } else { "query_norm" }),
                expected: config.head_len,
                found: 0,
            }),
        }
    }
}

fn expect(tensor: &str, values: &[f32], expected: usize) -> Result<()> {
    if values.len() != expected {
        return Err(Error::Shape { tensor: tensor.into(), expected, found: values.len() });
    }
    if let Some(place) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::Option {
            option: "weights",
            reason: format!("{tensor} holds {} at element {place}", values[place]),
        });
    }
    Ok(())
}
