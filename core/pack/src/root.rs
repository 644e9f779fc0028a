//! The folder that the caller gave: nothing outside it is opened.

use std::path::{Component, Path, PathBuf};

use crate::{Error, Result, error::io};

/// A folder whose files may be opened, and the further roots that the caller allowed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Root {
    folder: PathBuf,
    /// Canonical forms: the folder first, then the allowed roots.
    within: Vec<PathBuf>,
}

/// Where a path was written down: a file and a field in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NamedBy<'a> {
    pub(crate) path: &'a Path,
    pub(crate) field: &'a str,
}

impl Root {
    /// # Errors
    /// `Io` if `folder` or an allowed root does not exist; `UnknownFolder` if `folder` is not a folder.
    pub(crate) fn new(folder: &Path, allowed_roots: &[PathBuf]) -> Result<Self> {
        let real = folder.canonicalize().map_err(io(folder))?;
        if !real.is_dir() {
            return Err(Error::UnknownFolder { folder: folder.to_owned(), reason: "is not a folder".into() });
        }
        let mut within = vec![real];
        for root in allowed_roots {
            within.push(root.canonicalize().map_err(io(root))?);
        }
        Ok(Self { folder: folder.to_owned(), within })
    }

    /// The folder as the caller wrote it.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file `relative` to the folder, if there is one.
    pub(crate) fn optional(&self, relative: &str) -> Result<Option<PathBuf>> {
        let path = self.folder.join(relative);
        if path.symlink_metadata().is_err() {
            return Ok(None);
        }
        let by = NamedBy { path: &self.folder, field: relative };
        self.checked(path, relative, by).map(Some)
    }

    /// The file `name` in `folder`, which lies in this root, if there is one.
    pub(crate) fn beside(&self, folder: &Path, name: &str) -> Result<Option<PathBuf>> {
        match self.named_from(folder, name, NamedBy { path: folder, field: name }) {
            Ok(path) => Ok(Some(path)),
            Err(Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The file `relative` to the folder, which `reason` needs.
    pub(crate) fn required(&self, relative: &str, reason: &str) -> Result<PathBuf> {
        self.optional(relative)?.ok_or_else(|| self.missing(relative, reason))
    }

    pub(crate) fn missing(&self, file: &str, reason: &str) -> Error {
        Error::Missing { folder: self.folder.clone(), file: file.to_owned(), reason: reason.to_owned() }
    }

    /// The file that a field names, relative to the folder. `..` is allowed only into an allowed root.
    pub(crate) fn named(&self, relative: &str, by: NamedBy<'_>) -> Result<PathBuf> {
        self.named_from(&self.folder, relative, by)
    }

    /// The file that a field names, relative to `base`, which lies in this root.
    pub(crate) fn named_from(&self, base: &Path, relative: &str, by: NamedBy<'_>) -> Result<PathBuf> {
        let outside = |reason: &str| Error::OutsideFolder {
            path: by.path.to_owned(),
            field: by.field.to_owned(),
            target: relative.to_owned(),
            reason: reason.to_owned(),
        };
        if relative.is_empty() || relative.contains('\0') {
            return Err(Error::Malformed {
                path: by.path.to_owned(),
                field: by.field.to_owned(),
                reason: format!("{relative:?} is not a file name"),
            });
        }
        if !is_relative(relative) {
            return Err(outside("is absolute; paths must be relative to the folder"));
        }
        if climbs(relative) && self.within.len() == 1 {
            return Err(outside("climbs out with `..`; open the parent folder, or allow the other root"));
        }
        let path = base.join(relative);
        if path.symlink_metadata().is_err() {
            return Err(self.missing(relative, &format!("named by {} in {}", by.field, by.path.display())));
        }
        self.checked(path, relative, by)
    }

    /// `path`, if its real place is in an allowed root and it is a regular file.
    fn checked(&self, path: PathBuf, relative: &str, by: NamedBy<'_>) -> Result<PathBuf> {
        let real = path.canonicalize().map_err(io(&path))?;
        if !self.within.iter().any(|root| real.starts_with(root)) {
            return Err(Error::OutsideFolder {
                path: by.path.to_owned(),
                field: by.field.to_owned(),
                target: relative.to_owned(),
                reason: leaves(&real),
            });
        }
        if !real.metadata().map_err(io(&path))?.is_file() {
            return Err(Error::Malformed {
                path: by.path.to_owned(),
                field: by.field.to_owned(),
                reason: format!("{relative:?} is not a regular file"),
            });
        }
        Ok(path)
    }
}

/// Where a link leads and what to do about it; a Hugging Face hub cache keeps all files in `blobs`.
fn leaves(real: &Path) -> String {
    let cache = real.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "blobs"));
    match cache.and_then(Path::parent) {
        Some(repository) => format!(
            "is a link into a Hugging Face hub cache ({}); allow that folder as a further root, or copy the files out",
            repository.display()
        ),
        None => format!("leaves the folder (it leads to {})", real.display()),
    }
}

/// True if `relative` is no absolute path on any of the systems that packs travel between.
pub(crate) fn is_relative(relative: &str) -> bool {
    let bytes = relative.as_bytes();
    let drive = bytes.len() >= 2 && bytes[1] == b':' && bytes[0].is_ascii_alphabetic();
    !drive
        && !relative.starts_with(['/', '\\'])
        && !Path::new(relative).components().any(|part| matches!(part, Component::RootDir | Component::Prefix(_)))
}

/// True if `relative` has a `..` in it.
pub(crate) fn climbs(relative: &str) -> bool {
    relative.split(['/', '\\']).any(|part| part == "..")
}
