//! Folders that are replaced whole or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::IoContext;
use crate::{Error, Result};

/// Writes a folder beside `path` with `fill`, then puts it in the place of `path`.
///
/// If `fill` or the system fails, what was at `path` stays and the partial folder is removed. A kill between the two
/// renames leaves the former folder aside, where [`recover`] finds it.
///
/// # Errors
/// Of `fill`, or `Io`; `Setting` if `path` is no name for a folder, or holds what the new folder does not and is no pack:
/// such a folder was not written by this function.
pub fn replace(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    replace_own(path, |partial| fill(partial).and_then(|()| check_replaceable(path, partial)))
}

/// As [`replace`], of a folder inside a run's, whatever somebody has laid into it.
///
/// # Errors
/// Of `fill`, or `Io`.
pub(crate) fn replace_own(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if path.file_name().is_none() {
        return Err(Error::setting("out", format!("{}: give the folder to write a name", path.display())));
    }
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

/// Nothing but what `new` has too, or a pack, is deleted.
fn check_replaceable(path: &Path, new: &Path) -> Result<()> {
    if !path.exists() || path.join(drafthorse_pack::MANIFEST_FILE).exists() {
        return Ok(());
    }
    for entry in fs::read_dir(path).at(path)? {
        let name = entry.at(path)?.file_name();
        if !new.join(&name).exists() {
            let (folder, name) = (path.display(), name.display());
            return Err(Error::setting(
                "out",
                format!("{folder} holds {name}, which would be lost; name another folder"),
            ));
        }
    }
    Ok(())
}

/// Checks that `out` is not the folder or file `input`, which would be replaced by what is made of it.
///
/// # Errors
/// `Setting` if they are the same.
pub fn check_apart(out: &Path, input: &Path) -> Result<()> {
    match (out.canonicalize(), input.canonicalize()) {
        (Ok(to), Ok(from)) if to == from => {
            Err(Error::setting("out", format!("{} is what is read; name another folder", out.display())))
        }
        _ => Ok(()),
    }
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
    fn what_others_have_written_is_not_deleted() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("work");
        fs::create_dir_all(path.join("notes")).unwrap();
        let error = replace(&path, put("one")).unwrap_err().to_string();
        assert!(error.contains("work holds notes"), "{error}");
        assert!(path.join("notes").exists() && fs::read_dir(root.path()).unwrap().count() == 1);
        replace_own(&path, put("one")).unwrap();
        assert!(!path.join("notes").exists());
        fs::create_dir_all(path.join("notes")).unwrap();
        // A pack is replaced by another, whatever files it has.
        fs::write(path.join(drafthorse_pack::MANIFEST_FILE), "{}").unwrap();
        replace(&path, put("one")).unwrap();
        assert!(!path.join("notes").exists());
        assert!(replace(Path::new(".."), put("one")).is_err());
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
