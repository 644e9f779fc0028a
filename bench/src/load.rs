//! Opens the pack as an app would, and says what that takes in time and memory.

use std::path::{Path, PathBuf};
use std::time::Instant;

use drafthorse::{CostProfile, Drafting, Engine, EngineOptions, GenerationOptions, Prompt, SessionOptions};
use drafthorse_pack::{Folder, FolderKind, ModelFiles, OpenOptions};
use tempfile::TempDir;

use crate::memory;
use crate::plan::{Plan, ProviderPair};
use crate::probe::Probe;
use crate::reading::Reading;
use crate::report::{Load, Memory, Pack};
use crate::statistics::median;
use crate::{Error, Result};

/// Openings of which the median counts as warm.
const WARM_OPENINGS: usize = 3;

/// Tokens of the generation after which memory is read.
const TOKENS: usize = 16;

/// An opened engine with what opening it took.
pub(crate) struct Opened {
    /// What the engine kept between its openings; removed with this.
    pub kept: TempDir,
    pub engine: Engine,
    pub load: Load,
    pub memory: Memory,
}

/// Opens the plan's pack on `provider`, first cold and then warm, and runs one generation for its memory.
///
/// # Errors
/// Those of the engine; `Plan` for a provider that nobody knows; `Io` if there is no place for what is kept.
pub(crate) fn open(plan: &Plan, provider: Option<&ProviderPair>, probe: &Probe<'_>) -> Result<Opened> {
    let kept = folder_of_the_run(plan.cache_folder.clone().unwrap_or_else(std::env::temp_dir))?;
    let mut options = EngineOptions { cache_folder: Some(kept.path().to_owned()), ..engine_options(plan, provider)? };
    let folder = drafthorse_pack::open(&plan.pack, &options.folder).map_err(drafthorse::Error::from)?;
    let before_bytes = probe.resident_bytes();
    let forgot = memory::forget_peak();
    let cold = memory::forget_files(model_paths(&folder));
    // Costs are measured later and more often; an app finds them in its cache. Any will do here.
    options.costs = Some(CostProfile::new(vec![(1, 1.0)], None));
    let read = memory::read_bytes();
    let (cold_ms, engine) = timed(|| Engine::open(&plan.pack, &options))?;
    let read_bytes = match (read, memory::read_bytes()) {
        (Reading::Present { value: before, source }, Reading::Present { value: after, .. }) => {
            Reading::present(after.saturating_sub(before), source)
        }
        (_, absent) => absent,
    };
    drop(engine);
    let mut warm_ms = Vec::new();
    for _ in 0..WARM_OPENINGS {
        warm_ms.push(timed(|| Engine::open(&plan.pack, &options))?.0);
    }
    options.costs = None;
    let engine = Engine::open(&plan.pack, &options)?;
    one_generation(&engine)?;
    let peak_bytes = match (memory::peak_bytes(), forgot) {
        (Reading::Present { value, source }, false) => {
            Reading::present(value, format!("{source}; over the whole life of the process"))
        }
        (reading, _) => reading,
    };
    let report = engine.report();
    let memory = Memory {
        before_bytes,
        open_bytes: probe.resident_bytes(),
        peak_bytes,
        cache_bytes: report.cache_bytes,
        context_len: report.context_len,
    };
    let load = Load { cold_ms: Reading::present(cold_ms, cold), cold_read_bytes: read_bytes, warm_ms: median(warm_ms) };
    Ok(Opened { kept, engine, load, memory })
}

/// An empty folder in `parent`: what an earlier run kept would make a cold opening half a warm one.
fn folder_of_the_run(parent: PathBuf) -> Result<TempDir> {
    let made = std::fs::create_dir_all(&parent);
    let made = made.and_then(|()| tempfile::Builder::new().prefix("drafthorse-bench-").tempdir_in(&parent));
    made.map_err(Error::io(parent))
}

fn timed<T>(work: impl FnOnce() -> drafthorse::Result<T>) -> Result<(f64, T)> {
    let start = Instant::now();
    let made = work()?;
    Ok((start.elapsed().as_secs_f64() * 1e3, made))
}

fn one_generation(engine: &Engine) -> Result<()> {
    let session = engine.session(&SessionOptions { drafting: Drafting::Auto, ..SessionOptions::default() })?;
    let options =
        GenerationOptions { max_tokens: Some(TOKENS), temperature: Some(0.0), ..GenerationOptions::default() };
    for event in session.generate(Prompt::Text("Once upon a time"), &options)? {
        event?;
    }
    Ok(())
}

fn engine_options(plan: &Plan, provider: Option<&ProviderPair>) -> Result<EngineOptions> {
    let (target_providers, drafter_providers) = match provider.map(ProviderPair::parsed).transpose()? {
        None => (Vec::new(), Vec::new()),
        Some((target, drafter)) => (vec![target.into()], vec![drafter.into()]),
    };
    Ok(EngineOptions {
        folder: OpenOptions { drafter: plan.drafter.clone(), ..OpenOptions::default() },
        target_providers,
        drafter_providers,
        target_threads: plan.threads,
        drafter_threads: plan.threads,
        context_len: plan.context_len,
        runtime_library: plan.runtime_library.clone(),
        ..EngineOptions::default()
    })
}

fn model_paths(folder: &Folder) -> impl Iterator<Item = &Path> {
    folder.target.paths().chain(folder.drafter.iter().flat_map(ModelFiles::paths))
}

/// Describes the pack by its digests, reading the files where the manifest has none.
///
/// # Errors
/// Those of reading.
pub(crate) fn describe(plan: &Plan) -> Result<Pack> {
    let options = engine_options(plan, None)?;
    let folder = drafthorse_pack::open(&plan.pack, &options.folder).map_err(drafthorse::Error::from)?;
    let digest = |files: &ModelFiles| -> Result<Reading<String>> {
        if let Some(recorded) = folder.recorded_digest(files) {
            return Ok(Reading::present(recorded, "SHA-256 over the files, as the manifest has it"));
        }
        let found = drafthorse_pack::model_digest(files, &mut |_| std::ops::ControlFlow::Continue(()))
            .map_err(drafthorse::Error::from)?;
        Ok(Reading::present(found, "SHA-256 over the files"))
    };
    let none = || Ok(Reading::absent("the folder has no drafter model"));
    let manifest = folder.manifest.as_ref();
    let lineage = manifest.and_then(|manifest| manifest.drafter.as_ref()?.lineage.as_ref());
    let drafter_bytes = folder.drafter.as_ref().map(|files| files.bytes);
    let parameters = lineage.and_then(|lineage| Some((lineage.parameters?, lineage.target_parameters?)));
    let parameter_ratio = match (parameters, drafter_bytes) {
        (Some((own, target)), _) if target > 0 => {
            Reading::present(own as f64 / target as f64, "parameters of the lineage")
        }
        (_, Some(own)) if folder.target.bytes > 0 => {
            Reading::present(own as f64 / folder.target.bytes as f64, "bytes of the files, for want of a lineage")
        }
        _ => Reading::absent("the folder has no drafter model"),
    };
    let card = manifest.and_then(|manifest| manifest.card.as_ref()).map(|card| card.name.clone());
    Ok(Pack {
        name: card.filter(|name| !name.is_empty()).unwrap_or_else(|| last_name(&folder.path)),
        kind: kind(folder.kind).to_owned(),
        model_type: folder.model_type.clone(),
        target_digest: digest(&folder.target)?,
        drafter_digest: folder.drafter.as_ref().map_or_else(none, digest)?,
        target_bytes: folder.target.bytes,
        drafter_bytes,
        parameter_ratio,
        files: manifest
            .map(|m| m.files.iter().map(|(name, file)| (name.clone(), file.sha256.clone())).collect())
            .unwrap_or_default(),
        lineage: lineage.map(|lineage| serde_json::to_value(lineage).unwrap_or_default()),
        inflated: plan.inflated.clone(),
    })
}

fn kind(kind: FolderKind) -> &'static str {
    match kind {
        FolderKind::Pack => "pack",
        FolderKind::Genai => "genai",
        FolderKind::HuggingFace => "hugging_face",
    }
}

/// The last part of a path: reports travel, and where somebody keeps files is nobody's business.
pub(crate) fn last_name(path: &Path) -> String {
    let whole: PathBuf = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    whole.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// What the runtime says, with the last parts of the plan's paths for the whole of them.
pub(crate) fn without_folders(text: &str, plan: &Plan) -> String {
    let named = [Some(&plan.pack), plan.drafter.as_ref()].into_iter().flatten();
    let forms = named.flat_map(|path| [path.canonicalize().ok(), Some(path.clone())]).flatten();
    // A single name tells of no folder, and may be part of any word.
    let folders = forms.filter(|path| path.components().count() > 1);
    folders.fold(text.to_owned(), |text, path| text.replace(&path.display().to_string(), &last_name(&path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_is_told_by_its_manifest_and_another_folder_by_its_files() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/packs/demo");
        let pack = |pack: &Path| describe(&Plan { pack: pack.to_owned(), ..Plan::default() }).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut files = 0;
        for entry in std::fs::read_dir(&demo).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_file() && entry.file_name() != drafthorse_pack::MANIFEST_FILE {
                std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
                files += 1;
            }
        }
        assert!(files > 3, "the demo pack has no folders within");
        let (recorded, read) = (pack(&demo), pack(folder.path()));
        assert!(recorded.target_digest.explanation().contains("manifest"));
        assert_eq!(read.target_digest.explanation(), "SHA-256 over the files");
        assert_eq!(recorded.target_digest.value(), read.target_digest.value());
        assert_eq!(recorded.drafter_digest.value(), read.drafter_digest.value());
    }

    #[test]
    fn reasons_travel_without_folders() {
        let folder = tempfile::tempdir().unwrap();
        let pack = folder.path().join("pack");
        std::fs::create_dir(&pack).unwrap();
        let text = format!("cannot load {}", pack.join("model.onnx").display());
        let plan = Plan { pack, ..Plan::default() };
        assert_eq!(
            without_folders(&text, &plan),
            "cannot load pack/model.onnx".replace('/', std::path::MAIN_SEPARATOR_STR)
        );
        let plan = Plan { pack: "an".into(), ..Plan::default() };
        assert_eq!(without_folders(&text, &plan), text);
    }
}
