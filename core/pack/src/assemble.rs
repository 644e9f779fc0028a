//! Making a pack from a target and a drafter, and writing manifests.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{
    Card, DrafterRecord, Error, FileDigest, Folder, FolderKind, IdMap, MANIFEST_FILE, Manifest, ModelFiles,
    OpenOptions, Result, SpeculativeSettings,
    digest::{self, Meter, OnProgress, hexadecimal, list_files},
    error::io,
    genai, genai_write, hugging_face,
    json::{self, CONFIG_BYTES_MAX},
};

/// Folder of the drafter within a pack.
const DRAFTER_FOLDER: &str = "drafter";

/// Files beside a tokenizer that go with it into a pack, where there are any.
const COMPANIONS: [&str; 11] = [
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
];

/// How to make a pack.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AssembleOptions {
    /// As in [`OpenOptions`], for the target.
    pub target_variant: Option<String>,
    /// As in [`OpenOptions`], for the drafter.
    pub drafter_variant: Option<String>,
    /// As in [`OpenOptions`].
    pub allowed_roots: Vec<PathBuf>,
    /// True to replace a pack, or an empty folder, at the place of the new one.
    pub overwrite: bool,
    /// How to speculate; what the target's folder says, or the defaults, where absent.
    pub speculative: Option<SpeculativeSettings>,
    /// What a person should know; the drafter's card where absent.
    pub card: Option<Card>,
    /// Program and version that the manifest names.
    pub written_by: String,
}

/// Makes a pack at `out` from the folder of a target and the folder (or ONNX file) of a drafter.
///
/// The target's files lie at the top, the drafter's in `drafter/`. The drafter becomes `model.draft` of genai_config.json
/// where onnxruntime-genai takes it (logits as wide as the target's, the same cache layout and providers); otherwise the
/// manifest alone names it, so that the folder still opens there. The pack is made beside `out`, opened to see that it is sound, and renamed.
///
/// # Errors
/// Those of opening either folder, `VocabularyMismatch` with the first difference, `Exists`, `Io` or `Cancelled`. `out`
/// is then as it was.
pub fn assemble(
    target: &Path,
    drafter: &Path,
    out: &Path,
    options: &AssembleOptions,
    progress: OnProgress<'_>,
) -> Result<Manifest> {
    check_place(out, options.overwrite)?;
    let folder = crate::open(
        target,
        &OpenOptions {
            variant: options.target_variant.clone(),
            drafter: Some(drafter.to_owned()),
            drafter_variant: options.drafter_variant.clone(),
            allowed_roots: options.allowed_roots.clone(),
        },
    )?;
    let draft = Partial::beside(out)?;
    let manifest = fill(&folder, options, &draft.path, progress)?;
    // What was written must open again by the rules that the runtime goes by.
    crate::open(&draft.path, &OpenOptions::default())?;
    draft.replace(out)?;
    Ok(manifest)
}

/// Refuses a place that holds anything but an old pack.
fn check_place(out: &Path, overwrite: bool) -> Result<()> {
    if out.symlink_metadata().is_err() {
        return Ok(());
    }
    let is_empty = || out.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    let replaceable = !out.is_symlink() && (out.join(MANIFEST_FILE).is_file() || is_empty());
    if overwrite && replaceable { Ok(()) } else { Err(Error::Exists { path: out.to_owned() }) }
}

fn fill(folder: &Folder, options: &AssembleOptions, out: &Path, progress: OnProgress<'_>) -> Result<Manifest> {
    let Some(drafter) = &folder.drafter else {
        let reason = "assembling needs a drafter".to_owned();
        return Err(Error::UnknownFolder { folder: folder.path.clone(), reason });
    };
    let bytes_total = folder.target.bytes.saturating_add(drafter.bytes);
    let mut copy = Copy { out, files: BTreeMap::new(), meter: Meter { progress, bytes_done: 0, bytes_total } };
    let target_name = copy.model(&folder.target, "")?;
    let drafter_name = copy.model(drafter, DRAFTER_FOLDER)?;
    copy.tokenizer(folder)?;
    // It says more of a generation than genai_config.json has keys for.
    if folder.kind == FolderKind::HuggingFace
        && let Some(path) = folder.file_beside(&folder.path, hugging_face::GENERATION_FILE)?
    {
        copy.file(&path, hugging_face::GENERATION_FILE)?;
    }

    let source = folder.drafter_source.as_ref().and_then(|source| source.manifest.as_ref());
    let mut record = source.and_then(|manifest| manifest.drafter.clone()).unwrap_or_default();
    record.id_map = None;
    if let Some(map) = &drafter.id_map {
        let name = format!("{DRAFTER_FOLDER}/{}", IdMap::FILE);
        copy.text(&name, &map.to_json())?;
        record.id_map = Some(name);
    }
    let block = genai_write::decoder_block(drafter, &drafter_name);
    let mut config = target_config(folder, &target_name)?;
    let (draft, decoder) =
        if genai_write::is_pair(&folder.target, drafter) { (Some(block), None) } else { (None, Some(block)) };
    complete_config(&mut config, draft, options.speculative.or(folder.speculative).unwrap_or_default());
    copy.text(genai::FILE, &pretty(&Value::Object(config)))?;

    let mut manifest = Manifest::new(options.written_by.clone());
    manifest.files = copy.files;
    manifest.drafter = Some(DrafterRecord { decoder, ..record });
    manifest.acceptance = source.map(|manifest| manifest.acceptance.clone()).unwrap_or_default();
    manifest.card = options.card.clone().or_else(|| source.and_then(|manifest| manifest.card.clone()));
    let path = out.join(MANIFEST_FILE);
    write_whole(&path, manifest.to_json().as_bytes()).map_err(io(&path))?;
    Ok(manifest)
}

/// The target's own genai_config.json with its ONNX file renamed, or a new one for a folder without.
fn target_config(folder: &Folder, filename: &str) -> Result<Map<String, Value>> {
    if folder.kind == FolderKind::HuggingFace {
        return Ok(genai_write::config(folder, filename));
    }
    let path = folder.path.join(genai::FILE);
    let mut config = json::parse_object(&path, &json::read_bounded(&path, CONFIG_BYTES_MAX)?)?;
    if let Some(model) = config.get_mut("model").and_then(Value::as_object_mut) {
        model.remove("tokenizer_dir");
        if let Some(decoder) = model.get_mut("decoder").and_then(Value::as_object_mut) {
            decoder.insert("filename".into(), filename.into());
        }
    }
    Ok(config)
}

/// Sets `model.draft` and `speculative`.
fn complete_config(config: &mut Map<String, Value>, draft: Option<Map<String, Value>>, settings: SpeculativeSettings) {
    if let Some(model) = config.get_mut("model").and_then(Value::as_object_mut) {
        match draft {
            Some(block) => model.insert("draft".into(), Value::Object(block)),
            None => model.remove("draft"),
        };
    }
    config.insert("speculative".into(), genai_write::speculative(&settings));
}

/// Files on their way into a pack.
struct Copy<'a> {
    out: &'a Path,
    files: BTreeMap<String, FileDigest>,
    meter: Meter<'a>,
}

impl Copy<'_> {
    /// Copies a model into `below`, and returns the path of its ONNX file within the pack. External data keep their
    /// place relative to it, since the graph names them.
    fn model(&mut self, model: &ModelFiles, below: &str) -> Result<String> {
        let within = |name: &str| if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        let name = within(&model.path.file_name().unwrap_or_default().to_string_lossy());
        self.file(&model.path, &name)?;
        for file in &model.external {
            let location: Vec<_> = file.location.split(['/', '\\']).filter(|part| !matches!(*part, "" | ".")).collect();
            self.file(&file.path, &within(&location.join("/")))?;
        }
        Ok(name)
    }

    /// Copies the tokenizer, and what lies beside it that belongs to it.
    fn tokenizer(&mut self, folder: &Folder) -> Result<()> {
        self.file(&folder.tokenizer.path, "tokenizer.json")?;
        let beside = folder.tokenizer.path.parent().unwrap_or(Path::new(""));
        for name in COMPANIONS {
            if let Some(path) = folder.file_beside(beside, name)? {
                self.file(&path, name)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &Path, name: &str) -> Result<()> {
        let mut source = File::open(from).map_err(io(from))?;
        self.write(name, |buffer| source.read(buffer).map_err(io(from)))
    }

    fn text(&mut self, name: &str, text: &str) -> Result<()> {
        let mut source = text.as_bytes();
        self.write(name, |buffer| source.read(buffer).map_err(io(Path::new(name))))
    }

    /// Writes what `read` gives to a new file, and notes its digest.
    fn write(&mut self, name: &str, mut read: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<()> {
        let path = self.out.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io(folder))?;
        }
        // `create_new`: two files of one name would silently become one.
        let mut file = File::create_new(&path).map_err(io(&path))?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            let len = read(&mut buffer)?;
            if len == 0 {
                break;
            }
            file.write_all(&buffer[..len]).map_err(io(&path))?;
            hasher.update(&buffer[..len]);
            bytes += len as u64;
            self.meter.advance(name, len as u64)?;
        }
        file.sync_all().map_err(io(&path))?;
        self.files.insert(name.to_owned(), FileDigest { bytes, sha256: hexadecimal(&hasher.finalize()) });
        Ok(())
    }
}

/// A folder in the making, removed unless it reaches its place.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn beside(out: &Path) -> Result<Self> {
        let path = sibling(out, "partial");
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(io(parent))?;
        }
        fs::create_dir(&path).map_err(io(&path))?;
        Ok(Self { path })
    }

    /// Moves the folder to `out`; what was there goes only once the new one is in place.
    fn replace(self, out: &Path) -> Result<()> {
        let old = sibling(out, "replaced");
        let replaces = out.symlink_metadata().is_ok();
        if replaces {
            fs::rename(out, &old).map_err(io(out))?;
        }
        if let Err(source) = fs::rename(&self.path, out) {
            if replaces {
                fs::rename(&old, out).map_err(io(out))?;
            }
            return Err(Error::Io { path: out.to_owned(), source });
        }
        if replaces {
            fs::remove_dir_all(&old).map_err(io(&old))?;
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone already if it was moved to its place.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A hidden name beside `path` that nobody else uses, in this process or another, for what is not whole yet.
pub fn sibling(path: &Path, purpose: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{purpose}-{}-{number}", std::process::id()))
}

/// Writes drafthorse.json for the files that lie in `folder`: their lengths and digests replace those of `manifest`.
///
/// # Errors
/// `Malformed` if a measurement is not a finite number, `OutsideFolder` on a link, `Io` or `Cancelled`. An old manifest
/// is then still there.
pub fn write_manifest(folder: &Path, mut manifest: Manifest, progress: OnProgress<'_>) -> Result<Manifest> {
    let path = folder.join(MANIFEST_FILE);
    manifest.files.clear();
    let mut paths = Vec::new();
    let mut meter = Meter { progress, bytes_done: 0, bytes_total: 0 };
    for name in list_files(folder)?.into_iter().filter(|name| name != MANIFEST_FILE) {
        let file = folder.join(&name);
        let metadata = file.symlink_metadata().map_err(io(&file))?;
        if !metadata.is_file() {
            let reason = "is a link or no regular file; a pack holds its files themselves".to_owned();
            return Err(Error::OutsideFolder { path: folder.to_owned(), field: "files".into(), target: name, reason });
        }
        meter.bytes_total = meter.bytes_total.saturating_add(metadata.len());
        paths.push((name, file));
    }
    for (name, file) in paths {
        let digest = digest::hash(&file, &name, &mut meter)?;
        manifest.files.insert(name, digest);
    }
    manifest.check(&path)?;
    write_whole(&path, manifest.to_json().as_bytes()).map_err(io(&path))?;
    Ok(manifest)
}

/// Writes a file beside its place and renames it, so that no half of it is ever seen.
///
/// # Errors
/// What the system says; what was at `path` then stays.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let partial = sibling(path, "partial");
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().inspect_err(|_| {
        // What is left of it is of no use; the error that matters is the first.
        let _ = fs::remove_file(&partial);
    })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
