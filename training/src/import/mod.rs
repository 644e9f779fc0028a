//! Models as people have them: Hugging Face folders and llama2.c files.

pub mod hugging_face;
pub mod llama2c;
pub mod llama2c_tokenizer;

use std::path::Path;

use burn::tensor::Device;

use crate::model::Llama;
use crate::tokenizer::{END_OF_TEXT, Tokenizer};
use crate::{Error, Result, folder};

/// Reads a model as people have it and writes it to `to` as a Hugging Face folder with its tokenizer, special tokens,
/// chat template and end tokens.
///
/// `from` is a Hugging Face folder, or a llama2.c file with its `tokenizer.bin` given as `tokenizer`. Rows of embedding
/// and head that belong to no token are left out: they are never drawn, and members of a family have unequally many.
///
/// # Errors
/// `Unsupported`, `Format` or `Io`; `Mismatch` if tokens lie outside the model; `Setting` if a llama2.c file comes
/// without a tokenizer, or `to` is `from` or holds other things.
pub fn import(from: &Path, tokenizer: Option<&Path>, to: &Path, device: &Device) -> Result<()> {
    folder::check_apart(to, from)?;
    if from.is_dir() {
        let model = hugging_face::with_generation_ends(hugging_face::load(from, device)?, from)?;
        let own = from.join("tokenizer.json");
        let tokenizer = tokenizer.unwrap_or(&own);
        let model = fitted(model, &Tokenizer::open(tokenizer)?)?;
        return folder::replace(to, |folder| hugging_face::save(folder, &model, Some(tokenizer)));
    }
    let tokenizer = tokenizer.ok_or_else(|| Error::setting("tokenizer", "a llama2.c file needs its tokenizer.bin"))?;
    let model = llama2c::load(from, device)?;
    let json = llama2c_tokenizer::read(tokenizer, model.config().vocab_len)?;
    folder::replace(to, |folder| {
        hugging_face::save(folder, &model, None)?;
        crate::folder::write_file(&folder.join("tokenizer.json"), json.to_string().as_bytes())
    })
}

/// The model with the tokenizer's rows and no more, and with a token that ends its texts.
fn fitted(model: Llama, tokenizer: &Tokenizer) -> Result<Llama> {
    let config = model.config();
    tokenizer.check_rows(config.vocab_len)?;
    let mut ends = config.eos_tokens.clone();
    if ends.is_empty() {
        ends.extend(tokenizer.end_of_text());
    }
    let Some(last) = ends.iter().max().copied() else {
        let reason = format!("no token ends its texts: set eos_token_id in config.json, or have {END_OF_TEXT} a token");
        return Err(Error::Unsupported { reason });
    };
    let named = config.bos_token.map_or(last, |token| last.max(token)) as usize + 1;
    let rows = config.vocab_len.min(tokenizer.vocab_len().max(named));
    let model = if rows < config.vocab_len { model.narrowed(rows)? } else { model };
    Ok(model.with_config(|config| config.eos_tokens = ends))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::CorpusSettings;
    use crate::model::{ModelConfig, host, token_tensor};
    use crate::tokenizer;

    /// A folder `from` with a model of `vocab_len` rows and a tokenizer of 270 tokens.
    fn source(vocab_len: usize) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.txt"), "the cat and the dog and the cat".repeat(20)).unwrap();
        let tokens = root.path().join("t.json");
        tokenizer::train(&[CorpusSettings::text("a.txt")], root.path(), 270, &tokens).unwrap();
        let config = ModelConfig { vocab_len, ..ModelConfig::tiny() };
        let model = Llama::random(config, 1, &Device::flex()).unwrap();
        folder::replace(&root.path().join("from"), |folder| hugging_face::save(folder, &model, Some(&tokens))).unwrap();
        root
    }

    #[test]
    fn special_tokens_the_chat_template_and_further_ends_come_along() {
        let root = source(270);
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        std::fs::write(from.join("tokenizer_config.json"), r#"{"eos_token": "the", "add_bos_token": true}"#).unwrap();
        std::fs::write(from.join("chat_template.jinja"), "{{ messages }}").unwrap();
        std::fs::write(from.join("generation_config.json"), r#"{"eos_token_id": [0, 7]}"#).unwrap();
        import(&from, None, &to, &Device::flex()).unwrap();
        for name in ["tokenizer_config.json", "chat_template.jinja"] {
            assert_eq!(std::fs::read(from.join(name)).unwrap(), std::fs::read(to.join(name)).unwrap());
        }
        let ends = hugging_face::load(&to, &Device::flex()).unwrap().config().eos_tokens.clone();
        assert_eq!(ends, [ModelConfig::tiny().eos_tokens, vec![7]].concat());
        std::fs::write(from.join("generation_config.json"), r#"{"eos_token_id": 270}"#).unwrap();
        let error = import(&from, None, &to, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("generation_config.json") && error.contains("270"), "{error}");
    }

    #[test]
    fn rows_of_no_token_are_left_out_and_change_nothing() {
        let root = source(300);
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        import(&from, None, &to, &Device::flex()).unwrap();
        let [wide, narrow] = [&from, &to].map(|path| hugging_face::load(path, &Device::flex()).unwrap());
        assert_eq!(narrow.config().vocab_len, 270);
        let tokens = || token_tensor(&[[1_u32, 2, 3, 269]], &Device::flex());
        let [wide, narrow] = [host(wide.forward(tokens())), host(narrow.forward(tokens()))];
        for (wide, narrow) in wide.chunks(300).zip(narrow.chunks(270)) {
            assert!(wide.iter().zip(narrow).all(|(x, y)| (x - y).abs() < 1e-6));
        }
    }

    #[test]
    fn a_model_that_names_no_end_takes_the_tokenizers_and_the_source_is_kept() {
        let root = source(270);
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        let path = from.join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["eos_token_id"] = serde_json::Value::Null;
        std::fs::write(&path, config.to_string()).unwrap();
        import(&from, None, &to, &Device::flex()).unwrap();
        assert_eq!(hugging_face::load(&to, &Device::flex()).unwrap().config().eos_tokens, [0]);
        let error = import(&from, None, &from, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("is what is read"), "{error}");
    }

    #[test]
    fn a_tokenizer_with_tokens_outside_the_model_is_refused() {
        for (vocab_len, fits) in [(260, false), (270, true), (300, true)] {
            let root = source(vocab_len);
            let found = import(&root.path().join("from"), None, &root.path().join("to"), &Device::flex());
            match found {
                Ok(()) => assert!(fits, "{vocab_len}"),
                Err(error) => assert!(!fits && matches!(error, Error::Mismatch { .. }), "{vocab_len}: {error}"),
            }
            assert_eq!(root.path().join("to").exists(), fits);
        }
    }
}
