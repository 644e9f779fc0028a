//! llama2.c's legacy files: seven int32, then fp32 tensors; a SentencePiece vocabulary beside them.

use std::path::Path;

use burn::tensor::Device;

use crate::error::IoContext;
use crate::model::{HostTensor, Llama, ModelConfig};
use crate::{Error, Result};

/// Loads a legacy (version 0) file.
///
/// Rotation pairs neighbours there and halves here, so the rows of query and key projections are reordered.
///
/// # Errors
/// `Format` if the header is absurd or the length does not fit it.
pub fn load(path: &Path, device: &Device) -> Result<Llama> {
    let bytes = std::fs::read(path).at(path)?;
    let (config, mut values) = header(&bytes).map_err(|reason| Error::format(path, reason))?;
    config.check().map_err(|error| Error::format(path, error.to_string()))?;
    let rope = config.context_len * config.head_len;
    let expected = 4 * (config.parameters() as usize + rope);
    if values.len() != expected {
        return Err(Error::format(path, format!("{} bytes of weights, the header needs {expected}", values.len())));
    }
    let mut stored = std::collections::BTreeMap::new();
    for (name, [rows, columns]) in file_order(&config) {
        let (head, rest) = values.split_at(4 * rows * columns);
        let floats = head.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        stored.insert(name.clone(), HostTensor { name, shape: [rows, columns], values: floats });
        values = rest;
        if stored.len() == config.shapes().len() - usize::from(!config.tied_head) {
            values = &values[4 * rope..];
        }
    }
    let head_len = config.head_len;
    Llama::build(config, device, |name, _| {
        let tensor = stored.remove(name).expect("file_order has every name");
        let rotated = name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight");
        Ok(if rotated { halves_from_pairs(tensor, head_len) } else { tensor }.to_device(device))
    })
}

/// The shape from the seven integers, and the bytes after them.
fn header(bytes: &[u8]) -> Result<(ModelConfig, &[u8]), String> {
    if bytes.len() < 28 {
        return Err(format!("{} bytes are no llama2.c file", bytes.len()));
    }
    let field = |index: usize| i32::from_le_bytes(bytes[4 * index..4 * index + 4].try_into().expect("four bytes"));
    let size = |index: usize, name: &str| {
        usize::try_from(field(index)).ok().filter(|size| *size > 0).ok_or(format!("{name} is {}", field(index)))
    };
    let (hidden_len, heads) = (size(0, "dim")?, size(3, "n_heads")?);
    if !hidden_len.is_multiple_of(heads) {
        return Err(format!("dim {hidden_len} is not a multiple of {heads} heads"));
    }
    let config = ModelConfig {
        hidden_len,
        ffn_len: size(1, "hidden_dim")?,
        layers: size(2, "n_layers")?,
        heads,
        kv_heads: size(4, "n_kv_heads")?,
        vocab_len: field(5).unsigned_abs() as usize,
        context_len: size(6, "seq_len")?,
        head_len: hidden_len / heads,
        rope_theta: 10_000.0,
        rope_scaling: None,
        norm_eps: 1e-5,
        tied_head: field(5) > 0,
        qkv_bias: false,
        qk_norm: false,
        bos_token: Some(1),
        // The training texts were separated by token 1, and 2 never occurs in them.
        eos_tokens: vec![1, 2],
        head_tokens: None,
    };
    Ok((config, &bytes[28..]))
}

/// Names in the order of the file: each kind of tensor for all layers, then the next kind.
fn file_order(config: &ModelConfig) -> Vec<(String, [usize; 2])> {
    const KINDS: [&str; 9] = [
        "input_layernorm.weight",
        "self_attn.q_proj.weight",
        "self_attn.k_proj.weight",
        "self_attn.v_proj.weight",
        "self_attn.o_proj.weight",
        "post_attention_layernorm.weight",
        "mlp.gate_proj.weight",
        "mlp.down_proj.weight",
        "mlp.up_proj.weight",
    ];
    let shapes = config.shapes();
    let mut ordered = vec![shapes[0].clone()];
    for kind in KINDS {
        ordered.extend(shapes.iter().filter(|(name, _)| name.ends_with(kind)).cloned());
    }
    ordered.extend(shapes.into_iter().skip_while(|(name, _)| name != "model.norm.weight"));
    ordered
}

/// Reorders the rows of each head from (0, 1), (2, 3), … pairs to a first and a second half.
fn halves_from_pairs(tensor: HostTensor, head_len: usize) -> HostTensor {
    let [rows, columns] = tensor.shape;
    let mut values = Vec::with_capacity(tensor.values.len());
    for row in 0..rows {
        let (head, within) = (row / head_len, row % head_len);
        let half = head_len / 2;
        let source = if within < half { 2 * within } else { 2 * (within - half) + 1 };
        let start = (head * head_len + source) * columns;
        values.extend_from_slice(&tensor.values[start..start + columns]);
    }
    HostTensor { values, ..tensor }
}

#[cfg(test)]
mod tests {
    use drafthorse_graph::reference;

    use super::*;
    use crate::distill::rollout::{Limits, Request, Sampling, rollout};
    use crate::export::decoder::decoder;
    use crate::model::{host, token_tensor};

    fn file(vocab: i32) -> Vec<u8> {
        let mut bytes: Vec<u8> = [8, 12, 2, 2, 1, vocab, 4].iter().flat_map(|x: &i32| x.to_le_bytes()).collect();
        let config = header(&[bytes.clone(), vec![0]].concat()).unwrap().0;
        let floats = config.parameters() as usize + 4 * 4;
        bytes.extend((0..floats).flat_map(|x| (x as f32 * 1e-3).to_le_bytes()));
        bytes
    }

    #[test]
    fn tied_and_untied_files_load_and_damage_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.bin");
        for vocab in [16, -16] {
            std::fs::write(&path, file(vocab)).unwrap();
            let model = load(&path, &Device::flex()).unwrap();
            assert_eq!(model.config().tied_head, vocab > 0);
        }
        let whole = file(16);
        for damaged in [&whole[..20], &whole[..whole.len() - 4], &[0xff; 64][..]] {
            std::fs::write(&path, damaged).unwrap();
            assert!(matches!(load(&path, &Device::flex()), Err(Error::Format { .. })));
        }
    }

    /// Largest difference between a loaded file's logits and those of the plain decoder over the file's own rows, which
    /// rotates neighbours as llama2.c does.
    fn strayed(path: &Path, tokens: &[u32]) -> f32 {
        let model = load(path, &Device::flex()).unwrap();
        let (mut config, mut weights) = decoder(&model).unwrap();
        config.rope.interleaved = true;
        let bytes = std::fs::read(path).unwrap();
        let floats: Vec<f32> =
            bytes[28..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let (hidden, layers) = (config.hidden_len, config.layer_count);
        let (query, key) = (hidden * hidden, config.kv_head_count * config.head_len * hidden);
        // The embedding and the first norms come before them.
        let queries = config.vocab_len * hidden + layers * hidden;
        for (index, layer) in weights.layers.iter_mut().enumerate() {
            layer.query.weight = floats[queries + index * query..][..query].to_vec();
            layer.key.weight = floats[queries + layers * query + index * key..][..key].to_vec();
        }
        let wanted = reference::logits(&config, &weights, tokens);
        let found = host(model.forward(token_tensor(&[tokens], &Device::flex())));
        assert_eq!(found.len(), wanted.len());
        found.iter().zip(&wanted).map(|(found, wanted)| (found - wanted).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn logits_are_those_of_neighbours_rotated_in_pairs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.bin");
        // Eight tokens of context: width 16, two heads on one pair of keys and values.
        let mut bytes: Vec<u8> = [16, 24, 2, 2, 1, 32, 8].iter().flat_map(|x: &i32| x.to_le_bytes()).collect();
        let config = header(&[bytes.clone(), vec![0]].concat()).unwrap().0;
        let mut stream = crate::random::Stream::new(3, 0, 0);
        let floats = config.parameters() as usize + config.context_len * config.head_len;
        bytes.extend((0..floats).flat_map(|_| (0.5 * stream.normal()).to_le_bytes()));
        std::fs::write(&path, bytes).unwrap();
        let strayed = strayed(&path, &[1, 30, 2, 17, 9, 9, 4, 25]);
        assert!(strayed < 1e-4, "{strayed}");
    }

    /// The model itself, where it is: `DRAFTHORSE_STORIES260K` names the folder of `stories260K.bin` and `tok512.bin`.
    #[test]
    fn stories260k_computes_what_its_file_says_and_tells_its_story() {
        let Some(folder) = std::env::var_os("DRAFTHORSE_STORIES260K").map(std::path::PathBuf::from) else {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "SKIPPED stories260k_…: DRAFTHORSE_STORIES260K names no folder");
            return;
        };
        let path = folder.join("stories260K.bin");
        let strayed =
            strayed(&path, &[1, 403, 407, 261, 378, 31, 285, 360, 310, 300, 5, 9, 70, 12, 44, 301, 22, 7, 411, 88]);
        assert!(strayed < 1e-4, "{strayed}");

        let imported = tempfile::tempdir().unwrap();
        let to = imported.path().join("model");
        crate::import::import(&path, Some(&folder.join("tok512.bin")), &to, &Device::flex()).unwrap();
        let model = crate::import::hugging_face::load(&to, &Device::flex()).unwrap();
        let tokenizer = crate::tokenizer::Tokenizer::open(&to.join("tokenizer.json")).unwrap();
        let request = Request { prompt: &[1], sampling: Sampling { temperature: 0.0, top_p: 1.0 }, key: 0 };
        let limits = Limits { completion_len_max: 60, batch_rows: 1 };
        let story = tokenizer.decode(&rollout(&model, &[request], limits, 0).unwrap()[0]).unwrap();
        let wanted = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park.";
        assert!(story.trim_start().starts_with(wanted), "{story}");
    }

    #[test]
    fn reordering_moves_even_rows_to_the_first_half() {
        let tensor = HostTensor { name: String::new(), shape: [8, 1], values: (0..8).map(|x| x as f32).collect() };
        assert_eq!(halves_from_pairs(tensor, 4).values, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    }
}
