//! Hugging Face folders: `config.json` and one or several safetensors files. Checkpoints here have the same form.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use burn::tensor::Device;
use serde_json::Value;

use crate::error::IoContext;
use crate::model::{Llama, ModelConfig};
use crate::{Error, Result, folder, safetensors_file};

/// Loads a model without autodiff from a folder with `config.json` and `model.safetensors` or its shards.
///
/// # Errors
/// `Unsupported` for a family or variant that would be computed wrongly; `Format` for damage, missing or
/// surplus tensors and wrong shapes, by name.
pub fn load(path: &Path, device: &Device) -> Result<Llama> {
    folder::recover(path)?;
    let config = ModelConfig::from_hugging_face(&path.join("config.json"))?;
    let mut tensors = BTreeMap::new();
    for file in shards(path)? {
        for tensor in safetensors_file::read(&file)? {
            tensors.insert(tensor.name.clone(), tensor);
        }
    }
    let tied = config.tied_head;
    let model = Llama::build(config, device, |name, shape| {
        let tensor = tensors.remove(name).ok_or_else(|| Error::format(path, format!("tensor {name} is missing")))?;
        if tensor.shape != shape {
            return Err(Error::format(path, format!("tensor {name} is {:?}, expected {shape:?}", tensor.shape)));
        }
        Ok(tensor.to_device(device))
    })?;
    // Some exporters write the tied head again and old ones the rotary frequencies; anything else would be ignored.
    tensors.retain(|name, _| !(name.ends_with("rotary_emb.inv_freq") || tied && name == "lm_head.weight"));
    match tensors.keys().next() {
        None => Ok(model),
        Some(name) => Err(Error::Unsupported { reason: format!("tensor {name} has no place in this family's graph") }),
    }
}

/// What describes a tokenizer beside its own file: special tokens and conversations.
const BESIDE_TOKENIZER: [&str; 3] = ["tokenizer_config.json", "chat_template.jinja", "chat_template.json"];

/// Copies the tokenizer's file `from` to `folder` as `tokenizer.json`, with its settings and chat template if they lie
/// beside it.
///
/// # Errors
/// `Io`.
pub fn copy_tokenizer(from: &Path, folder: &Path) -> Result<()> {
    std::fs::copy(from, folder.join("tokenizer.json")).at(from)?;
    for name in BESIDE_TOKENIZER {
        let beside = from.with_file_name(name);
        if beside.exists() {
            std::fs::copy(&beside, folder.join(name)).at(&beside)?;
        }
    }
    Ok(())
}

/// Adds the end tokens that `generation_config.json` names beside those of `config.json`: chat models end their turns
/// with tokens that only stand there.
///
/// # Errors
/// `Io`, or `Format` if it names something else than tokens of the model.
pub(super) fn with_generation_ends(model: Llama, from: &Path) -> Result<Llama> {
    let path = from.join("generation_config.json");
    if !path.exists() {
        return Ok(model);
    }
    let text = std::fs::read_to_string(&path).at(&path)?;
    let value: Value = serde_json::from_str(&text).map_err(|error| Error::format(&path, error.to_string()))?;
    let ends = match &value["eos_token_id"] {
        Value::Null => &[][..],
        Value::Array(ends) => ends,
        one => std::slice::from_ref(one),
    };
    let mut eos_tokens = model.config().eos_tokens.clone();
    for end in ends {
        let token = end.as_u64().and_then(|end| u32::try_from(end).ok());
        let token = token.filter(|&token| (token as usize) < model.config().vocab_len);
        let token =
            token.ok_or_else(|| Error::format(&path, format!("eos_token_id {end} is no token of the model")))?;
        if !eos_tokens.contains(&token) {
            eos_tokens.push(token);
        }
    }
    Ok(model.with_config(|config| config.eos_tokens = eos_tokens))
}

/// Writes `config.json`, `model.safetensors` and, if given, a copy of the tokenizer's file and what lies beside it into
/// `folder`.
///
/// # Errors
/// `Io`.
pub fn save(folder: &Path, model: &Llama, tokenizer: Option<&Path>) -> Result<()> {
    write_config(folder, model.config())?;
    safetensors_file::write_model(&folder.join("model.safetensors"), model)?;
    match tokenizer {
        Some(from) => copy_tokenizer(from, folder),
        None => Ok(()),
    }
}

fn write_config(folder: &Path, config: &ModelConfig) -> Result<()> {
    let path = folder.join("config.json");
    let text = serde_json::to_string_pretty(&config.to_hugging_face()).expect("a JSON value is always printable");
    std::fs::write(&path, text).at(&path)
}

/// The weight files of a folder: the single one, or those of the index; none outside the folder.
pub(crate) fn shards(path: &Path) -> Result<Vec<PathBuf>> {
    let single = path.join("model.safetensors");
    let index = path.join("model.safetensors.index.json");
    if single.exists() || !index.exists() {
        return Ok(vec![single]);
    }
    let text = std::fs::read_to_string(&index).at(&index)?;
    let value: Value = serde_json::from_str(&text).map_err(|error| Error::format(&index, error.to_string()))?;
    let map = value["weight_map"].as_object().ok_or_else(|| Error::format(&index, "weight_map is missing"))?;
    let mut files = BTreeSet::new();
    for file in map.values() {
        let file = file.as_str().ok_or_else(|| Error::format(&index, "weight_map must name files"))?;
        let mut parts = Path::new(file).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(Error::format(&index, format!("{file:?} is not a file of this folder")));
        }
        files.insert(path.join(file));
    }
    Ok(files.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HostTensor;

    fn saved(config: ModelConfig) -> (tempfile::TempDir, Llama) {
        let folder = tempfile::tempdir().unwrap();
        let model = Llama::random(config, 9, &Device::flex()).unwrap();
        save(folder.path(), &model, None).unwrap();
        (folder, model)
    }

    fn rewrite(folder: &Path, change: impl FnOnce(&mut Vec<HostTensor>)) {
        let path = folder.join("model.safetensors");
        let mut tensors = safetensors_file::read(&path).unwrap();
        change(&mut tensors);
        safetensors_file::write(&path, &tensors).unwrap();
    }

    #[test]
    fn a_saved_model_loads_bit_for_bit() {
        for (tied_head, qkv_bias) in [(true, false), (false, true)] {
            let (folder, model) = saved(ModelConfig { tied_head, qkv_bias, ..ModelConfig::tiny() });
            assert_eq!(load(folder.path(), &Device::flex()).unwrap().values(), model.values());
        }
    }

    #[test]
    fn shards_are_read_by_the_index_and_only_inside_the_folder() {
        let (folder, model) = saved(ModelConfig::tiny());
        let tensors = safetensors_file::read(&folder.path().join("model.safetensors")).unwrap();
        std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
        let mut map = serde_json::Map::new();
        for (index, part) in tensors.chunks(5).enumerate() {
            let name = format!("model-{index}.safetensors");
            safetensors_file::write(&folder.path().join(&name), part).unwrap();
            map.extend(part.iter().map(|tensor| (tensor.name.clone(), Value::from(name.clone()))));
        }
        let index = folder.path().join("model.safetensors.index.json");
        std::fs::write(&index, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
        assert_eq!(load(folder.path(), &Device::flex()).unwrap().values(), model.values());
        std::fs::write(&index, r#"{"weight_map": {"a": "../model.safetensors"}}"#).unwrap();
        assert!(load(folder.path(), &Device::flex()).unwrap_err().to_string().contains(".."));
    }

    #[test]
    fn missing_surplus_and_misshapen_tensors_are_named() {
        type Change = fn(&mut Vec<HostTensor>);
        let cases: [(Change, &str); 3] = [
            (|tensors| tensors.retain(|tensor| tensor.name != "model.norm.weight"), "model.norm.weight"),
            (|tensors| tensors.push(HostTensor { name: "x.bias".into(), shape: [1, 1], values: vec![0.0] }), "x.bias"),
            (
                |tensors| {
                    let up = tensors.iter_mut().find(|tensor| tensor.name.contains("0.mlp.up")).unwrap();
                    up.shape.swap(0, 1);
                },
                "0.mlp.up",
            ),
        ];
        for (change, name) in cases {
            let (folder, _) = saved(ModelConfig::tiny());
            rewrite(folder.path(), change);
            let error = load(folder.path(), &Device::flex()).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
