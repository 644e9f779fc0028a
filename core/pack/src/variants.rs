//! Which of a Hugging Face folder's ONNX files to open.

use crate::{Error, Result, error::io, root::Root};

/// An ONNX file and the name it is asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    /// "fp32" for model.onnx, else what follows `model_`.
    pub(crate) name: String,
    /// Path relative to the folder.
    pub(crate) file: String,
}

/// The variant asked for, or the only one.
pub(crate) fn choose(root: &Root, asked: Option<&str>) -> Result<Variant> {
    let mut found = list(root, "onnx")?;
    if found.is_empty() {
        found = list(root, "")?;
    }
    if found.is_empty() {
        return Err(root.missing("onnx/model*.onnx", "export the model to ONNX, or fetch the folder's onnx files"));
    }
    let error = |found: &[Variant]| Error::Variant {
        folder: root.folder().to_owned(),
        asked: asked.map(str::to_owned),
        found: found.iter().map(|variant| variant.name.clone()).collect(),
    };
    match (asked, found.as_slice()) {
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(error(&found)),
        (Some(asked), _) => {
            let is_asked = |variant: &&Variant| {
                let file = variant.file.rsplit('/').next().unwrap_or_default();
                variant.name == asked
                    || variant.file == asked
                    || file == asked
                    || file.strip_suffix(".onnx") == Some(asked)
            };
            found.iter().find(is_asked).cloned().ok_or_else(|| error(&found))
        }
    }
}

/// The `model*.onnx` in a folder below the root, sorted.
fn list(root: &Root, below: &str) -> Result<Vec<Variant>> {
    let folder = root.folder().join(below);
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    for entry in folder.read_dir().map_err(io(&folder))? {
        let name = entry.map_err(io(&folder))?.file_name();
        let Some(file) = name.to_str() else { continue };
        let Some(stem) = file.strip_suffix(".onnx") else { continue };
        let name = match stem.strip_prefix("model").or_else(|| stem.strip_prefix("decoder_model_merged")) {
            Some("") => "fp32",
            Some(rest) => rest.trim_start_matches('_'),
            None => continue,
        };
        let file = if below.is_empty() { file.to_owned() } else { format!("{below}/{file}") };
        found.push(Variant { name: name.to_owned(), file });
    }
    found.sort_by(|a, b| (&a.name, &a.file).cmp(&(&b.name, &b.file)));
    Ok(found)
}
