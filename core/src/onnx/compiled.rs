//! Compiled graphs kept between starts: one file per model, runtime, provider and device.

use std::fs;
use std::path::{Path, PathBuf};

use ort::session::Session;
use ort::session::builder::SessionBuilder;
use sha2::{Digest, Sha256};

use super::environment::build_info;
use super::options::{CompiledCache, Provider, ProviderChoice};
use super::providers;
use super::raw::runtime_error;
use crate::Result;

/// Where the compiled graph of one candidate lies, if it is to be kept.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    folder: Option<PathBuf>,
    /// The graph that the runtime's context mechanism writes; other providers keep their own files in the folder.
    context: Option<Context>,
}

#[derive(Debug)]
struct Context {
    path: PathBuf,
    /// Where this opening, and no other, writes it before it is whole.
    temporary: PathBuf,
}

/// Makes the folder for `choice`; nothing is kept without a cache.
///
/// # Errors
/// The reason, if the folder cannot be made.
pub(super) fn prepare(cache: Option<&CompiledCache>, choice: &ProviderChoice) -> Result<Compiled, String> {
    let Some(cache) = cache.filter(|_| choice.provider != Provider::Cpu) else { return Ok(Compiled::default()) };
    let folder = cache.folder.join(key(cache, choice, build_info()));
    fs::create_dir_all(&folder).map_err(|error| format!("compiled graphs: {}: {error}", folder.display()))?;
    let context = providers::compiles_contexts(choice.provider).then(|| Context::in_folder(&folder));
    Ok(Compiled { folder: Some(folder), context })
}

impl Compiled {
    /// The folder, for a provider that fills it itself.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Session entries that make the runtime write a compiled graph where there is none yet.
    pub(super) fn entries(&self) -> Vec<(&'static str, String)> {
        match &self.context {
            Some(context) if !context.path.is_file() => vec![
                ("ep.context_enable", "1".to_owned()),
                ("ep.context_file_path", context.temporary.display().to_string()),
                // One file, so that it can be moved into place at once.
                ("ep.context_embed_mode", "1".to_owned()),
            ],
            _ => Vec::new(),
        }
    }

    /// Builds the session from the compiled graph, or from `model`, and keeps what was compiled.
    pub(super) fn commit(&self, mut builder: SessionBuilder, model: &Path) -> Result<Session> {
        let failed = |error| runtime_error("build the session", &error);
        let Some(Context { path: context, temporary }) = &self.context else {
            return builder.commit_from_file(model).map_err(failed);
        };
        if context.is_file() {
            match builder.commit_from_file(context) {
                Ok(session) => return Ok(session),
                // Made by another driver, or damaged: the next start compiles anew.
                Err(error) => {
                    log::warn!("the compiled graph is dropped: {}: {error}", context.display());
                    let _ = fs::remove_file(context);
                    return builder.commit_from_file(model).map_err(failed);
                }
            }
        }
        let session = builder.commit_from_file(model);
        if session.is_ok() && temporary.is_file() {
            if let Err(error) = fs::rename(temporary, context) {
                log::warn!("the compiled graph is not kept: {}: {error}", context.display());
            }
        } else if temporary.exists() {
            // Half a graph is of no use; a leftover is never looked up.
            let _ = fs::remove_file(temporary);
        }
        session.map_err(failed)
    }
}

impl Context {
    fn in_folder(folder: &Path) -> Self {
        let path = folder.join("context.onnx");
        Self { temporary: drafthorse_pack::sibling(&path, "tmp"), path }
    }
}

/// Hexadecimal digest of everything that a compiled graph depends on.
fn key(cache: &CompiledCache, choice: &ProviderChoice, runtime: &str) -> String {
    let mut digest = Sha256::new();
    let mut part = |text: &str| {
        // The length keeps ("ab", "c") apart from ("a", "bc").
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text.as_bytes());
    };
    part(&cache.model_digest);
    part(runtime);
    part(choice.provider.runtime_name());
    part(&choice.library.as_deref().unwrap_or(Path::new("")).display().to_string());
    part(&cache.device);
    for (name, value) in &choice.options {
        part(name);
        part(value);
    }
    drafthorse_pack::hexadecimal(&digest.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_changes_with_everything_that_a_compiled_graph_depends_on() {
        let cache =
            CompiledCache { folder: "c".into(), model_digest: "m".to_owned(), device: "sm8650 driver 1".to_owned() };
        let choice = ProviderChoice::from(Provider::Qnn);
        let mut keys = vec![
            key(&cache, &choice, "1.31.1"),
            key(&cache, &choice, "1.31.2"),
            key(&CompiledCache { model_digest: "n".to_owned(), ..cache.clone() }, &choice, "1.31.1"),
            key(&CompiledCache { device: "sm8650 driver 2".to_owned(), ..cache.clone() }, &choice, "1.31.1"),
            key(&cache, &Provider::CoreMl.into(), "1.31.1"),
            key(&cache, &ProviderChoice { options: vec![("a".into(), "bc".into())], ..choice.clone() }, "1.31.1"),
            key(&cache, &ProviderChoice { options: vec![("ab".into(), "c".into())], ..choice.clone() }, "1.31.1"),
        ];
        assert_eq!(keys[0], key(&CompiledCache { folder: "d".into(), ..cache.clone() }, &choice, "1.31.1"));
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }
}
