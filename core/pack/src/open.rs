//! The way in: a folder of any kind, with its own drafter or one from elsewhere that has the same vocabulary.

use std::path::{Path, PathBuf};

use crate::{
    Folder, Result,
    folder::{self, DrafterSource},
    genai::DecoderConfig,
    model_files::ModelFiles,
    root::{NamedBy, Root},
    settings::{IoNames, SessionSettings, Shape},
    vocabulary::{self, IdMap, Vocabulary},
};

/// What to open, where the folder leaves a choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Which of the `model*.onnx` of a Hugging Face folder: "q4", "fp16", … ("fp32" for model.onnx).
    pub variant: Option<String>,
    /// A drafter from elsewhere: a folder of any kind, or an ONNX file. It replaces the folder's own.
    pub drafter: Option<PathBuf>,
    /// As `variant`, for `drafter`.
    pub drafter_variant: Option<String>,
    /// Further folders that links and `..` may lead into, such as the repository in a Hugging Face hub cache.
    pub allowed_roots: Vec<PathBuf>,
}

/// Opens the folder at `path`: finds out its kind, reads what describes it, and checks every file that it names.
///
/// # Errors
/// Each with the file, the field and the reason: see [`Error`](crate::Error). Nothing outside the folder, the drafter's folder and the
/// allowed roots is opened.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Folder> {
    let mut opened = folder::open_one(path, options.variant.as_deref(), &options.allowed_roots)?;
    if let Some(drafter) = &options.drafter {
        take(&mut opened, drafter, options)?;
    }
    check_widths(&opened)?;
    Ok(opened)
}

/// Puts the drafter at `path` in place of the folder's own, if it has the same vocabulary.
fn take(folder: &mut Folder, path: &Path, options: &OpenOptions) -> Result<()> {
    if path.is_file() {
        return take_bare(folder, path, &options.allowed_roots);
    }
    let other = folder::open_one(path, options.drafter_variant.as_deref(), &options.allowed_roots)?;
    vocabulary::compare_vocabularies(&folder.tokenizer.path, &other.tokenizer.path)?;
    folder.notes.extend(other.notes);
    folder.unknown_keys.extend(other.unknown_keys);
    // A folder that has a drafter lends it; one that has none is the drafter.
    let mut drafter = other.drafter.unwrap_or(other.target);
    find_id_map(&other.root, &mut drafter)?;
    folder.drafter = Some(drafter);
    folder.drafter_source = Some(DrafterSource { path: path.to_owned(), manifest: other.manifest, root: other.root });
    Ok(())
}

/// A drafter of which there is only an ONNX file.
fn take_bare(folder: &mut Folder, path: &Path, allowed_roots: &[PathBuf]) -> Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let root = Root::new(parent, allowed_roots)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let onnx = root.named(&name, NamedBy { path: parent, field: "drafter" })?;
    let decoder = DecoderConfig {
        filename: name.into_owned(),
        io: IoNames::default(),
        session: SessionSettings::default(),
        shape: Shape::default(),
    };
    let mut drafter = ModelFiles::read(&root, onnx, decoder, &mut folder.notes)?;
    find_id_map(&root, &mut drafter)?;
    match root.optional("tokenizer.json")? {
        Some(tokenizer) => vocabulary::compare_vocabularies(&folder.tokenizer.path, &tokenizer)?,
        None if drafter.id_map.is_none() && drafter.shape.vocab_len != folder.target.shape.vocab_len => {
            let width = |len: Option<usize>| len.map_or("unknown".to_owned(), |len| len.to_string());
            let reason = format!(
                "logits are {} and {} wide, and there is no tokenizer.json beside the drafter to compare",
                width(folder.target.shape.vocab_len),
                width(drafter.shape.vocab_len)
            );
            return Err(vocabulary::mismatch(&folder.target.path, path, reason));
        }
        None => folder.notes.push(format!(
            "{}: no tokenizer.json beside the drafter, so only the width of the vocabularies was compared",
            path.display()
        )),
    }
    folder.drafter = Some(drafter);
    folder.drafter_source = Some(DrafterSource { path: parent.to_owned(), manifest: None, root });
    Ok(())
}

/// Takes the id map beside the drafter's ONNX file, if there is one and no manifest has named it.
fn find_id_map(root: &Root, drafter: &mut ModelFiles) -> Result<()> {
    let beside = drafter.path.parent().unwrap_or(Path::new(""));
    if drafter.id_map.is_none()
        && let Some(file) = root.beside(beside, IdMap::FILE)?
    {
        drafter.id_map = Some(IdMap::read(&file)?);
    }
    Ok(())
}

/// The drafter's columns must all be tokens of the target: as they are, or through an id map.
fn check_widths(folder: &Folder) -> Result<()> {
    let Some(drafter) = &folder.drafter else { return Ok(()) };
    let refuse = |reason| Err(vocabulary::mismatch(&folder.target.path, &drafter.path, reason));
    match (&drafter.id_map, drafter.shape.vocab_len, folder.target.shape.vocab_len) {
        (Some(map), Some(width), _) if width != map.len() => {
            refuse(format!("the drafter's logits are {width} wide, its id map has {} entries", map.len()))
        }
        (Some(map), _, Some(width)) => match map.target_ids().iter().find(|&&id| id as usize >= width) {
            Some(id) => refuse(format!("the id map names token {id}, the target's logits are {width} wide")),
            None => Ok(()),
        },
        (None, Some(drafter_width), Some(width)) if drafter_width < width => {
            // A narrower head is sound if only padding is left out.
            let tokens = Vocabulary::read(&folder.tokenizer.path)?.len();
            if drafter_width < tokens {
                refuse(format!(
                    "the drafter's logits are {drafter_width} wide, the tokenizer has {tokens} tokens, and there is no {}",
                    IdMap::FILE
                ))
            } else {
                Ok(())
            }
        }
        _ => Ok(()),
    }
}
