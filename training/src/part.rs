//! Work done so far, kept beside a file that is written whole at the end: a kill costs one piece of it, not all.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Result;
use crate::error::IoContext;
use crate::folder::sibling;

/// Pieces of a file to come, as JSON lines below a header that says what they are pieces of.
pub struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    /// Goes on with the pieces of `whole` that a killed run left, if their header is `header`, one line. Returns them in
    /// order; whatever follows the last one that is complete is cut off.
    ///
    /// # Errors
    /// `Io`.
    pub fn open<T: DeserializeOwned>(whole: &Path, header: &str) -> Result<(Self, Vec<T>)> {
        let path = sibling(whole, "part");
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).at(parent)?;
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        let mut lines = bytes.split_inclusive(|&byte| byte == b'\n');
        let (mut pieces, mut kept) = (Vec::new(), 0);
        if lines.next().is_some_and(|line| line.strip_suffix(b"\n") == Some(header.as_bytes())) {
            kept = header.len() + 1;
            for line in lines.filter(|line| line.ends_with(b"\n")) {
                let Ok(piece) = serde_json::from_slice(line) else { break };
                pieces.push(piece);
                kept += line.len();
            }
        }
        let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(&path).at(&path)?;
        file.set_len(kept as u64).and_then(|()| file.seek(SeekFrom::End(0))).at(&path)?;
        if kept == 0 {
            writeln!(file, "{header}").at(&path)?;
        }
        Ok((Self { path, file }, pieces))
    }

    /// The header of the pieces of `whole` that are there, and the file that they lie in.
    pub fn header(whole: &Path) -> Option<(String, PathBuf)> {
        let path = sibling(whole, "part");
        let line = BufReader::new(File::open(&path).ok()?).lines().next()?.ok()?;
        Some((line, path))
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// `Io`.
    pub fn push(&mut self, piece: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(piece).expect("pieces are plain numbers and names");
        writeln!(self.file, "{line}").at(&self.path)
    }

    /// Removes the pieces, once the whole is written.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(self) -> Result<()> {
        drop(self.file);
        std::fs::remove_file(&self.path).at(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pieces_of_the_same_work_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole");
        let open = |header: &str| Part::open::<Vec<u32>>(&whole, header).unwrap();
        let (mut part, pieces) = open("one");
        assert!(pieces.is_empty());
        part.push(&[1, 2]).unwrap();
        part.push(&[3]).unwrap();
        // Killed in the middle of a line.
        part.file.write_all(b"[4, ").unwrap();
        let (mut part, pieces) = open("one");
        assert_eq!(pieces, [vec![1, 2], vec![3]]);
        part.push(&[5]).unwrap();
        assert_eq!(open("one").1, [vec![1, 2], vec![3], vec![5]]);
        let (part, pieces) = open("other");
        assert!(pieces.is_empty(), "pieces of other work");
        assert_eq!(Part::header(&whole).unwrap().0, "other");
        part.finish().unwrap();
        assert!(Part::header(&whole).is_none());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
