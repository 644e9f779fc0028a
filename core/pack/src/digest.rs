//! SHA-256 of files, and a pack compared with its manifest.

use std::{
    fmt,
    fs::File,
    io::Read,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{
    Error, FileDigest, MANIFEST_FILE, Manifest, ModelFiles, Result,
    error::io,
    root::{NamedBy, Root},
};

/// How far a digest check has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The file being read.
    pub file: &'a str,
    /// Bytes read so far, over all files.
    pub bytes_done: u64,
    /// Bytes to read in all.
    pub bytes_total: u64,
}

/// Called as bytes are read; `ControlFlow::Break` ends the work with `Cancelled`.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress<'_>) -> ControlFlow<()>;

/// How a folder differs from its manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files whose length and digest are as recorded.
    pub intact: usize,
    /// Files that are there but differ.
    pub changed: Vec<ChangedFile>,
    /// Files in the manifest that are not there.
    pub missing: Vec<String>,
    /// Files there that the manifest does not list.
    pub extra: Vec<String>,
}

/// A file that is not as its manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedFile {
    /// Path within the folder.
    pub path: String,
    /// Recorded and found length or digest.
    pub reason: String,
}

impl Report {
    /// True if every listed file is as recorded. Files that are not listed do no harm: a pack that opens one is refused.
    pub fn is_intact(&self) -> bool {
        self.changed.is_empty() && self.missing.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} files intact", self.intact)?;
        for file in &self.changed {
            write!(formatter, "; changed: {} ({})", file.path, file.reason)?;
        }
        for file in &self.missing {
            write!(formatter, "; missing: {file}")?;
        }
        for file in &self.extra {
            write!(formatter, "; not listed in {MANIFEST_FILE}: {file}")?;
        }
        Ok(())
    }
}

/// Compares every file of the pack in `folder` with its manifest.
///
/// # Errors
/// `Missing` without a manifest, an error of reading it, `Io` on an unreadable file, or `Cancelled`. Differences are no
/// error: they are in the report.
pub fn verify(folder: &Path, progress: OnProgress<'_>) -> Result<Report> {
    let root = Root::new(folder, &[])?;
    let manifest = Manifest::read(&root.required(MANIFEST_FILE, "only a pack with a manifest can be verified")?)?;
    verify_against(&root, &manifest, progress)
}

pub(crate) fn verify_against(root: &Root, manifest: &Manifest, progress: OnProgress<'_>) -> Result<Report> {
    let mut report = Report::default();
    let manifest_path = root.folder().join(MANIFEST_FILE);
    let mut meter = Meter { progress, bytes_done: 0, bytes_total: 0 };
    meter.bytes_total = manifest.files.values().fold(0, |total: u64, file| total.saturating_add(file.bytes));
    for (name, recorded) in &manifest.files {
        match root.named(name, NamedBy { path: &manifest_path, field: "files" }) {
            Ok(path) => match difference(&path, name, recorded, &mut meter)? {
                None => report.intact += 1,
                Some(reason) => report.changed.push(ChangedFile { path: name.clone(), reason }),
            },
            Err(Error::Missing { .. }) => report.missing.push(name.clone()),
            Err(error) => return Err(error),
        }
    }
    let present = list_files(root.folder())?;
    report.extra =
        present.into_iter().filter(|name| name != MANIFEST_FILE && !manifest.files.contains_key(name)).collect();
    Ok(report)
}

fn difference(path: &Path, name: &str, recorded: &FileDigest, meter: &mut Meter<'_>) -> Result<Option<String>> {
    let bytes = path.metadata().map_err(io(path))?.len();
    if bytes != recorded.bytes {
        meter.bytes_total = meter.bytes_total.saturating_sub(recorded.bytes);
        return Ok(Some(format!("{bytes} bytes, recorded {}", recorded.bytes)));
    }
    let found = hash(path, name, meter)?;
    Ok((found.sha256 != recorded.sha256).then(|| format!("SHA-256 {}, recorded {}", found.sha256, recorded.sha256)))
}

/// Length and digest of the file at `path`.
///
/// # Errors
/// `Io`, or `Cancelled`.
pub fn digest_file(path: &Path, progress: OnProgress<'_>) -> Result<FileDigest> {
    let bytes_total = path.metadata().map_err(io(path))?.len();
    let name = path.display().to_string();
    hash(path, &name, &mut Meter { progress, bytes_done: 0, bytes_total })
}

/// Digest of a model: SHA-256 over the digests of its ONNX file and its external data, in the order of their names.
/// The same weights in another folder have the same digest.
///
/// # Errors
/// `Io`, or `Cancelled`.
pub fn model_digest(model: &ModelFiles, progress: OnProgress<'_>) -> Result<String> {
    let mut meter = Meter { progress, bytes_done: 0, bytes_total: model.bytes };
    let mut digests = Vec::new();
    for path in model.paths() {
        digests.push(hash(path, &path.display().to_string(), &mut meter)?.sha256);
    }
    Ok(joint_digest(&digests))
}

/// SHA-256 over hexadecimal digests, each ended by a line break.
pub(crate) fn joint_digest(digests: &[String]) -> String {
    let mut hasher = Sha256::new();
    for digest in digests {
        hasher.update(digest.as_bytes());
        hasher.update(b"\n");
    }
    hexadecimal(&hasher.finalize())
}

/// Progress over several files.
pub(crate) struct Meter<'a> {
    pub(crate) progress: OnProgress<'a>,
    pub(crate) bytes_done: u64,
    pub(crate) bytes_total: u64,
}

impl Meter<'_> {
    pub(crate) fn advance(&mut self, file: &str, bytes: u64) -> Result<()> {
        self.bytes_done = self.bytes_done.saturating_add(bytes);
        let progress = Progress { file, bytes_done: self.bytes_done, bytes_total: self.bytes_total };
        match (self.progress)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}

/// Streams the file through SHA-256.
pub(crate) fn hash(path: &Path, name: &str, meter: &mut Meter<'_>) -> Result<FileDigest> {
    let mut file = File::open(path).map_err(io(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer).map_err(io(path))?;
        if read == 0 {
            return Ok(FileDigest { bytes, sha256: hexadecimal(&hasher.finalize()) });
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
        meter.advance(name, read as u64)?;
    }
}

/// Bytes as two lower-case digits each, as every digest here is written.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Most files and folders looked at in one folder.
const ENTRIES_MAX: usize = 100_000;

/// Every file in `folder` and below, as paths with `/`, sorted. Links are listed and not followed.
pub(crate) fn list_files(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let mut open = vec![(PathBuf::from(folder), String::new())];
    let mut entries = 0;
    while let Some((path, prefix)) = open.pop() {
        for entry in path.read_dir().map_err(io(&path))? {
            let entry = entry.map_err(io(&path))?;
            entries += 1;
            if entries > ENTRIES_MAX {
                let reason = format!("holds more than {ENTRIES_MAX} files");
                return Err(Error::UnknownFolder { folder: folder.to_owned(), reason });
            }
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().map_err(io(&entry.path()))?.is_dir() {
                open.push((entry.path(), format!("{name}/")));
            } else {
                files.push(name);
            }
        }
    }
    files.sort();
    Ok(files)
}
