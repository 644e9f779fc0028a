//! The decoder's weights: building, naming, visiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::{ModelConfig, Precision};
use crate::random::Stream;
use crate::{Error, Result};

/// A named matrix in host memory, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Hugging Face's name, or the optimiser's.
    pub name: String,
    /// `[rows, columns]`.
    pub shape: [usize; 2],
    /// `rows * columns` values.
    pub values: Vec<f32>,
}

impl HostTensor {
    /// The same on `device`.
    pub fn to_device(self, device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.values, self.shape), device)
    }
}

/// One layer's weights; projections are `[out, in]`, vectors `[1, len]`.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Before attention.
    pub attention_norm: Tensor<2>,
    /// `[heads * head_len, hidden_len]`.
    pub query: Tensor<2>,
    /// `[kv_heads * head_len, hidden_len]`.
    pub key: Tensor<2>,
    /// `[kv_heads * head_len, hidden_len]`.
    pub value: Tensor<2>,
    /// `[hidden_len, heads * head_len]`.
    pub output: Tensor<2>,
    /// Biases of query, key and value, if the family has them.
    pub qkv_bias: Option<[Tensor<2>; 3]>,
    /// Norms of query and key heads, if the family has them.
    pub qk_norm: Option<[Tensor<2>; 2]>,
    /// Before the feed-forward part.
    pub ffn_norm: Tensor<2>,
    /// `[ffn_len, hidden_len]`, through SiLU.
    pub gate: Tensor<2>,
    /// `[ffn_len, hidden_len]`.
    pub up: Tensor<2>,
    /// `[hidden_len, ffn_len]`.
    pub down: Tensor<2>,
}

/// A Llama-family decoder. Names of tensors are Hugging Face's.
#[derive(Clone, Debug)]
pub struct Llama {
    pub(super) config: ModelConfig,
    pub(super) embedding: Tensor<2>,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Tensor<2>,
    pub(super) head: Option<Tensor<2>>,
    /// `[context_len, head_len / 2]`.
    pub(super) cos: Tensor<2>,
    pub(super) sin: Tensor<2>,
    /// The same tables in host memory.
    pub(super) rotary: Rotary,
    /// Of its products.
    pub(super) precision: Precision,
}

impl Llama {
    /// Asks `make` for every tensor by name and `[rows, columns]`.
    ///
    /// # Errors
    /// Of the configuration, or of `make`.
    pub fn build(
        config: ModelConfig,
        device: &Device,
        mut make: impl FnMut(&str, [usize; 2]) -> Result<Tensor<2>>,
    ) -> Result<Self> {
        config.check()?;
        let mut made = BTreeMap::new();
        for (name, shape) in config.shapes() {
            let tensor = make(&name, shape)?;
            if tensor.dims() != shape {
                let reason = format!("tensor {name} has shape {:?}, expected {shape:?}", tensor.dims());
                return Err(Error::Unsupported { reason });
            }
            made.insert(name, tensor);
        }
        let (cos, sin, rotary) = rotary_tables(&config, device);
        Ok(Self::assemble(config, made, cos, sin, rotary))
    }

    /// `made` has every name of `config.shapes()`.
    fn assemble(
        config: ModelConfig,
        mut made: BTreeMap<String, Tensor<2>>,
        cos: Tensor<2>,
        sin: Tensor<2>,
        rotary: Rotary,
    ) -> Self {
        let mut take = |name: &str| made.remove(name).expect("every name of shapes() was made");
        let embedding = take("model.embed_tokens.weight");
        let layers = (0..config.layers)
            .map(|layer| {
                let mut take = |name: &str| take(&format!("model.layers.{layer}.{name}"));
                Layer {
                    attention_norm: take("input_layernorm.weight"),
                    query: take("self_attn.q_proj.weight"),
                    key: take("self_attn.k_proj.weight"),
                    value: take("self_attn.v_proj.weight"),
                    output: take("self_attn.o_proj.weight"),
                    qkv_bias: config
                        .qkv_bias
                        .then(|| ["q", "k", "v"].map(|name| take(&format!("self_attn.{name}_proj.bias")))),
                    qk_norm: config
                        .qk_norm
                        .then(|| ["q", "k"].map(|name| take(&format!("self_attn.{name}_norm.weight")))),
                    ffn_norm: take("post_attention_layernorm.weight"),
                    gate: take("mlp.gate_proj.weight"),
                    up: take("mlp.up_proj.weight"),
                    down: take("mlp.down_proj.weight"),
                }
            })
            .collect();
        let norm = take("model.norm.weight");
        let head = (!config.tied_head).then(|| take("lm_head.weight"));
        Self { config, embedding, layers, norm, head, cos, sin, rotary, precision: Precision::F32 }
    }

    /// Normal weights of deviation 0.02, residual projections divided by √(2·layers), norms 1, biases 0.
    ///
    /// # Errors
    /// Of the configuration.
    pub fn random(config: ModelConfig, seed: u64, device: &Device) -> Result<Self> {
        let residual = 0.02 / (2.0 * config.layers as f32).sqrt();
        let mut index = 0;
        Self::build(config, device, |name, [rows, columns]| {
            index += 1;
            let mut stream = Stream::new(seed, 0x696e_6974, index);
            let values: Vec<f32> = if name.ends_with("norm.weight") {
                vec![1.0; rows * columns]
            } else if name.ends_with("bias") {
                vec![0.0; rows * columns]
            } else {
                let residual_out = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
                let deviation = if residual_out { residual } else { 0.02 };
                (0..rows * columns).map(|_| deviation * stream.normal()).collect()
            };
            Ok(Tensor::from_data(TensorData::new(values, [rows, columns]), device))
        })
    }

    /// The shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Changes what the configuration says beside the shapes: end tokens, longest context.
    pub fn with_config(self, change: impl FnOnce(&mut ModelConfig)) -> Self {
        let device = self.device();
        let mut config = self.config.clone();
        change(&mut config);
        assert_eq!(config.shapes(), self.config.shapes(), "with_config must not change shapes");
        let (cos, sin, rotary) = rotary_tables(&config, &device);
        Self { config, cos, sin, rotary, ..self }
    }

    /// Where the weights are, without autodiff.
    pub fn device(&self) -> Device {
        self.cos.device()
    }

    /// Every tensor by name, in the order of `config.shapes()`.
    pub fn tensors(&self) -> Vec<(String, Tensor<2>)> {
        let mut tensors = vec![("model.embed_tokens.weight".to_owned(), self.embedding.clone())];
        for (index, layer) in self.layers.iter().enumerate() {
            let mut add =
                |name: &str, tensor: &Tensor<2>| tensors.push((format!("model.layers.{index}.{name}"), tensor.clone()));
            add("input_layernorm.weight", &layer.attention_norm);
            add("self_attn.q_proj.weight", &layer.query);
            add("self_attn.k_proj.weight", &layer.key);
            add("self_attn.v_proj.weight", &layer.value);
            add("self_attn.o_proj.weight", &layer.output);
            if let Some([query, key, value]) = &layer.qkv_bias {
                add("self_attn.q_proj.bias", query);
                add("self_attn.k_proj.bias", key);
                add("self_attn.v_proj.bias", value);
            }
            if let Some([query, key]) = &layer.qk_norm {
                add("self_attn.q_norm.weight", query);
                add("self_attn.k_norm.weight", key);
            }
            add("post_attention_layernorm.weight", &layer.ffn_norm);
            add("mlp.gate_proj.weight", &layer.gate);
            add("mlp.up_proj.weight", &layer.up);
            add("mlp.down_proj.weight", &layer.down);
        }
        tensors.push(("model.norm.weight".to_owned(), self.norm.clone()));
        if let Some(head) = &self.head {
            tensors.push(("lm_head.weight".to_owned(), head.clone()));
        }
        tensors
    }

    /// Every tensor's values in host memory, in the order of `config.shapes()`.
    pub fn values(&self) -> Vec<HostTensor> {
        self.tensors()
            .into_iter()
            .map(|(name, tensor)| HostTensor { name, shape: tensor.dims(), values: host(tensor) })
            .collect()
    }

    /// The matrix of the output head, `[head_rows, hidden_len]`, and its name.
    pub fn head(&self) -> (&'static str, Tensor<2>) {
        match &self.head {
            Some(head) => ("lm_head.weight", head.clone()),
            None => ("model.embed_tokens.weight", self.embedding.clone()),
        }
    }

    /// The same model with every tensor passed through `change`, which keeps its shape.
    pub fn map(self, mut change: impl FnMut(&str, Tensor<2>) -> Tensor<2>) -> Self {
        let tensors = self.tensors();
        // Only one handle may remain, or in-place updates would copy.
        let config = self.config;
        drop((self.embedding, self.layers, self.norm, self.head));
        let made = tensors
            .into_iter()
            .map(|(name, tensor)| {
                let tensor = change(&name, tensor);
                (name, tensor)
            })
            .collect();
        let precision = self.precision;
        Self { precision, ..Self::assemble(config, made, self.cos, self.sin, self.rotary) }
    }

    /// The same weights, multiplied in these numbers.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Numbers of the products.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// The same model without the rows of embedding and head from token `vocab_len` on.
    ///
    /// # Errors
    /// Of the configuration.
    pub fn narrowed(self, vocab_len: usize) -> Result<Self> {
        let (device, precision) = (self.device(), self.precision);
        let mut tensors: BTreeMap<_, _> = self.tensors().into_iter().collect();
        let model = Self::build(ModelConfig { vocab_len, ..self.config }, &device, |name, [rows, _]| {
            Ok(tensors.remove(name).expect("the same names").narrow(0, 0, rows))
        })?;
        Ok(Self { precision, ..model })
    }

    /// Weights that ask for gradients.
    pub fn trainable(self) -> Self {
        self.map(|_, tensor| tensor.inner().autodiff().require_grad())
    }

    /// Weights without autodiff: forward passes record nothing.
    pub fn frozen(self) -> Self {
        self.map(|_, tensor| tensor.inner())
    }
}

/// Values of a tensor in host memory.
pub(crate) fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.inner().into_data_as::<f32>().try_to_vec::<f32>().expect("the data was just converted to f32")
}

type Rotary = Arc<(Vec<f32>, Vec<f32>)>;

fn rotary_tables(config: &ModelConfig, device: &Device) -> (Tensor<2>, Tensor<2>, Rotary) {
    let frequencies = config.rope_frequencies();
    let table = |function: fn(f64) -> f64| -> Vec<f32> {
        (0..config.context_len)
            .flat_map(|position| frequencies.iter().map(move |f| function(position as f64 * f) as f32))
            .collect()
    };
    let tables = (table(f64::cos), table(f64::sin));
    let shape = [config.context_len, frequencies.len()];
    let tensor = |values: &Vec<f32>| Tensor::from_data(TensorData::new(values.clone(), shape), device);
    (tensor(&tables.0), tensor(&tables.1), Arc::new(tables))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_come_in_the_order_and_shape_of_the_configuration() {
        let config = ModelConfig { qkv_bias: true, tied_head: false, ..ModelConfig::tiny() };
        let model = Llama::random(config.clone(), 1, &Device::flex()).unwrap();
        let found: Vec<_> = model.tensors().into_iter().map(|(name, tensor)| (name, tensor.dims())).collect();
        assert_eq!(found, config.shapes());
        assert_eq!(model.values().iter().map(|tensor| tensor.values.len() as u64).sum::<u64>(), config.parameters());
    }

    #[test]
    fn a_wrong_shape_is_named() {
        let device = Device::flex();
        let error = Llama::build(ModelConfig::tiny(), &device, |_, [rows, columns]| {
            Ok(Tensor::zeros([rows, columns + 1], &device))
        });
        assert!(error.unwrap_err().to_string().contains("embed_tokens"));
    }
}
