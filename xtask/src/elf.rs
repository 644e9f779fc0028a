//! What a shared library of Linux or Android exports, leaves open, and asks of the system's pages.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use object::read::elf::{FileHeader, ProgramHeader, Sym};
use object::{Endianness, elf};

/// What was found in a library.
pub(crate) struct Library {
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Smallest alignment of a segment that is loaded.
    pub(crate) alignment_min: u64,
    /// Symbols that it exports.
    pub(crate) defined: BTreeSet<String>,
    /// Symbols that it needs from elsewhere, weak ones left out.
    pub(crate) undefined: BTreeSet<String>,
}

/// Reads the 64-bit library at `path`.
///
/// # Errors
/// If it cannot be read, or is none.
pub(crate) fn read(path: &Path) -> Result<Library> {
    let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let data = data.as_slice();
    let header = elf::FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let loaded = header.program_headers(endian, data)?.iter().filter(|part| part.p_type(endian) == elf::PT_LOAD);
    let alignment_min = loaded.map(|part| part.p_align(endian)).min().context("it loads nothing")?;
    let sections = header.sections(endian, data)?;
    let symbols = sections.symbols(endian, data, elf::SHT_DYNSYM)?;
    let (mut defined, mut undefined) = (BTreeSet::new(), BTreeSet::new());
    for symbol in symbols.iter() {
        let name = String::from_utf8_lossy(symbol.name(endian, symbols.strings())?).into_owned();
        if name.is_empty() {
            continue;
        }
        if !symbol.is_undefined(endian) {
            defined.insert(name);
        } else if symbol.st_bind() != elf::STB_WEAK {
            undefined.insert(name);
        }
    }
    Ok(Library { bytes: data.len() as u64, alignment_min, defined, undefined })
}
