//! Models as people have them: Hugging Face folders and llama2.c files.

pub mod hugging_face;
pub mod llama2c;
pub mod llama2c_tokenizer;

use std::path::Path;

use burn::tensor::Device;

use crate::{Error, Result, folder};

/// Reads a model as people have it and writes it to `to` as a Hugging Face folder with its tokenizer.
///
/// `from` is a Hugging Face folder, or a llama2.c file with its `tokenizer.bin` given as `tokenizer`.
///
/// # Errors
/// `Unsupported`, `Format` or `Io`; `Setting` if a llama2.c file comes without a tokenizer.
pub fn import(from: &Path, tokenizer: Option<&Path>, to: &Path, device: &Device) -> Result<()> {
    if from.is_dir() {
        let model = hugging_face::load(from, device)?;
        let own = from.join("tokenizer.json");
        return folder::replace(to, |folder| hugging_face::save(folder, &model, Some(tokenizer.unwrap_or(&own))));
    }
    let tokenizer = tokenizer.ok_or_else(|| Error::setting("tokenizer", "a llama2.c file needs its tokenizer.bin"))?;
    let model = llama2c::load(from, device)?;
    let json = llama2c_tokenizer::read(tokenizer, model.config().vocab_len)?;
    folder::replace(to, |folder| {
        hugging_face::save(folder, &model, None)?;
        crate::folder::write_file(&folder.join("tokenizer.json"), json.to_string().as_bytes())
    })
}
