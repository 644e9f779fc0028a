//! Safetensors files: reading any float type as f32, writing f32.

use std::collections::HashMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::error::IoContext;
use crate::model::HostTensor;
use crate::{Error, Result};

/// Reads every tensor of a file; vectors become one row.
///
/// # Errors
/// `Format` if the file is damaged, a tensor has more than two dimensions, or its type is not a float.
pub fn read(path: &Path) -> Result<Vec<HostTensor>> {
    let bytes = std::fs::read(path).at(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| Error::format(path, format!("damaged: {error}")))?;
    file.iter()
        .map(|(name, view)| {
            let shape = match *view.shape() {
                [rows, columns] => [rows, columns],
                [len] => [1, len],
                ref other => return Err(Error::format(path, format!("tensor {name} has shape {other:?}"))),
            };
            let values = floats(&view).ok_or_else(|| {
                Error::format(path, format!("tensor {name} is {:?}; F32, F16 and BF16 are read", view.dtype()))
            })?;
            Ok(HostTensor { name: name.to_owned(), shape, values })
        })
        .collect()
}

/// Writes tensors as F32. Names that end in `norm.weight` or `bias` become vectors, as others expect them.
///
/// # Errors
/// `Io` if the disk is full or the file cannot be written.
pub fn write(path: &Path, tensors: &[HostTensor], metadata: &[(&str, String)]) -> Result<()> {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|tensor| tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|(tensor, bytes)| {
        let vector = tensor.name.ends_with("norm.weight") || tensor.name.ends_with("bias");
        let shape = if vector { vec![tensor.shape[1]] } else { tensor.shape.to_vec() };
        TensorView::new(Dtype::F32, shape, bytes).map(|view| (tensor.name.clone(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(|error| Error::format(path, error.to_string()))?;
    let mut notes: HashMap<String, String> = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    notes.extend(metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    let file = safetensors::serialize(views, Some(notes)).map_err(|error| Error::format(path, error.to_string()))?;
    std::fs::write(path, file).at(path)
}

fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::BF16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let tensor = HostTensor { name: "a".into(), shape: [2, 2], values: vec![1.0, 2.0, 3.0, 4.0] };
        write(&path, std::slice::from_ref(&tensor), &[]).unwrap();
        assert_eq!(read(&path).unwrap(), [tensor]);
        let whole = std::fs::read(&path).unwrap();
        let mut long_header = whole.clone();
        long_header[7] = 0xff;
        for damaged in [&whole[..whole.len() - 3], &whole[..6], b"", &long_header] {
            std::fs::write(&path, damaged).unwrap();
            assert!(matches!(read(&path), Err(Error::Format { .. })), "{} bytes", damaged.len());
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_a_clear_error() {
        let tensor = HostTensor { name: "a".into(), shape: [1, 4], values: vec![0.0; 4] };
        let error = write(Path::new("/dev/full"), &[tensor], &[]).unwrap_err();
        assert!(error.to_string().contains("/dev/full"), "{error}");
    }
}
