//! Safetensors files: reading any float type as f32, writing f32.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Metadata, TensorInfo, TensorView};
use safetensors::{Dtype, SafeTensors};

use crate::error::IoContext;
use crate::model::{HostTensor, Llama, host};
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
pub fn write(path: &Path, tensors: &[HostTensor]) -> Result<()> {
    let entries = tensors.iter().map(|tensor| Entry {
        name: tensor.name.clone(),
        shape: tensor.shape,
        values: move || Cow::Borrowed(tensor.values.as_slice()),
    });
    write_entries(path, entries.collect())
}

/// Writes a model's weights as [`write()`] does, one tensor at a time brought to host memory.
///
/// # Errors
/// As [`write()`].
pub fn write_model(path: &Path, model: &Llama) -> Result<()> {
    let entries = model.tensors().into_iter().map(|(name, tensor)| Entry {
        name,
        shape: tensor.dims(),
        values: move || Cow::Owned(host(tensor.clone())),
    });
    write_entries(path, entries.collect())
}

/// A tensor whose values are asked for when its turn to be written comes.
struct Entry<F> {
    name: String,
    shape: [usize; 2],
    values: F,
}

/// What the library's `serialize_to_file` writes, but as a file that others than its owner may read.
fn write_entries<'a, F: Fn() -> Cow<'a, [f32]>>(path: &Path, mut entries: Vec<Entry<F>>) -> Result<()> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut end = 0;
    let described = entries.iter().map(|Entry { name, shape: [rows, columns], .. }| {
        let vector = name.ends_with("norm.weight") || name.ends_with("bias");
        let shape = if vector { vec![*columns] } else { vec![*rows, *columns] };
        let start = end;
        end += size_of::<f32>() * rows * columns;
        (name.clone(), TensorInfo { dtype: Dtype::F32, shape, data_offsets: (start, end) })
    });
    let notes = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let header = Metadata::new(Some(notes), described.collect())
        .map_err(|error| Error::format(path, error.to_string()))
        .and_then(|header| serde_json::to_vec(&header).map_err(|error| Error::format(path, error.to_string())))?;
    let write = || {
        let mut file = BufWriter::new(File::create(path)?);
        // The values begin at a multiple of eight bytes.
        let len = header.len().next_multiple_of(8);
        file.write_all(&(len as u64).to_le_bytes())?;
        file.write_all(&header)?;
        file.write_all(&vec![b' '; len - header.len()])?;
        for entry in &entries {
            for value in (entry.values)().iter() {
                file.write_all(&value.to_le_bytes())?;
            }
        }
        file.flush()
    };
    write().at(path)
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
    use burn::tensor::Device;

    use super::*;
    use crate::model::ModelConfig;

    #[test]
    fn a_file_is_what_the_library_would_have_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let model = Llama::random(ModelConfig { qkv_bias: true, ..ModelConfig::tiny() }, 3, &Device::flex()).unwrap();
        let tensors = model.values();
        let bytes: Vec<Vec<u8>> =
            tensors.iter().map(|tensor| tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
        let views = tensors.iter().zip(&bytes).map(|(tensor, bytes)| {
            let vector = tensor.name.contains("norm") || tensor.name.contains("bias");
            let shape = if vector { vec![tensor.shape[1]] } else { tensor.shape.to_vec() };
            (tensor.name.clone(), TensorView::new(Dtype::F32, shape, bytes).unwrap())
        });
        let notes = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let expected = safetensors::serialize(views, Some(notes)).unwrap();
        write(&path, &tensors).unwrap();
        assert!(std::fs::read(&path).unwrap() == expected);
        write_model(&path, &model).unwrap();
        assert!(std::fs::read(&path).unwrap() == expected);
    }

    #[test]
    fn damaged_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let tensor = HostTensor { name: "a".into(), shape: [2, 2], values: vec![1.0, 2.0, 3.0, 4.0] };
        write(&path, std::slice::from_ref(&tensor)).unwrap();
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
        let error = write(Path::new("/dev/full"), &[tensor]).unwrap_err();
        assert!(error.to_string().contains("/dev/full"), "{error}");
    }
}
