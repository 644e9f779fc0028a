//! Folders that are replaced whole or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::Result;
use crate::error::IoContext;

/// Writes a folder beside `path` with `fill`, then puts it in the place of `path`.
///
/// If `fill` or the system fails, what was at `path` stays and the partial folder is removed. A kill between the two
/// renames leaves the former folder aside, where [`recover`] finds it.
///
/// # Errors
/// Of `fill`, or `Io`.
pub fn replace(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let (partial, former) = (sibling(path, "partial"), sibling(path, "former"));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).at(parent)?;
    }
    remove(&partial)?;
    fs::create_dir(&partial).at(&partial)?;
    let filled = fill(&partial).and_then(|()| sync(&partial));
    if let Err(error) = filled {
        let _ = fs::remove_dir_all(&partial);
        return Err(error);
    }
    recover(path)?;
    if path.exists() {
        fs::rename(path, &former).at(path)?;
    }
    fs::rename(&partial, path).at(path)?;
    remove(&former)
}

/// Puts the former folder back if a kill came between the renames of [`replace`].
///
/// # Errors
/// `Io`.
pub fn recover(path: &Path) -> Result<()> {
    let former = sibling(path, "former");
    if !former.exists() {
        return Ok(());
    }
    if path.exists() { remove(&former) } else { fs::rename(&former, path).at(&former) }
}

/// Writes a file by temporary name and rename.
///
/// # Errors
/// `Io`; what was at `path` then stays.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    drafthorse_pack::write_whole(path, bytes).at(path)
}

/// A hidden name beside `path`.
pub(crate) fn sibling(path: &Path, kind: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{kind}"))
}

fn remove(path: &Path) -> Result<()> {
    if path.exists() { fs::remove_dir_all(path).at(path) } else { Ok(()) }
}

fn sync(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).at(folder)? {
        let path = entry.at(folder)?.path();
        if path.is_file() {
            File::open(&path).and_then(|file| file.sync_all()).at(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn put(text: &str) -> impl FnOnce(&Path) -> Result<()> {
        move |folder| fs::write(folder.join("file"), text).at(folder)
    }

    #[test]
    fn a_failure_keeps_the_former_folder() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("checkpoint");
        replace(&path, put("one")).unwrap();
        let failed = replace(&path, |folder| {
            put("half")(folder)?;
            Err(Error::setting("disk", "full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "one");
        replace(&path, put("two")).unwrap();
        assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "two");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_kill_between_the_renames_is_recovered() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("checkpoint");
        replace(&path, put("one")).unwrap();
        fs::rename(&path, sibling(&path, "former")).unwrap();
        recover(&path).unwrap();
        assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "one");
    }
}
