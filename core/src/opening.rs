//! From a folder's description and the caller's options to the options of each model.

use std::{env, path::PathBuf};

use drafthorse_pack::{Folder, ModelFiles, OpenOptions, SessionSettings};
use serde::{Deserialize, Serialize};

use crate::{
    CacheLayout, CompiledCache, CostProfile, Error, ModelOptions, NameHints, Provider, ProviderChoice, Result, Spinning,
};

/// What to do with a drafter that does not fit the memory budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrafterMisfit {
    /// Open without it, and say so.
    #[default]
    RunWithout,
    /// `OutOfMemory`.
    Fail,
}

/// How to open a pack.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Which of several models of a Hugging Face folder, where to look for a drafter, and where links may lead.
    pub folder: OpenOptions,
    /// Do not open the drafter model, even if there is one.
    pub without_drafter: bool,
    /// Execution providers for the target, best first; empty means what the pack asks for, then the CPU.
    pub target_providers: Vec<ProviderChoice>,
    /// The same for the drafter.
    pub drafter_providers: Vec<ProviderChoice>,
    /// Threads within an operator of the target; `None` leaves it to the pack, then to the runtime.
    pub target_threads: Option<usize>,
    /// The same for the drafter.
    pub drafter_threads: Option<usize>,
    /// What worker threads of both models do while they wait.
    pub spinning: Spinning,
    /// Tokens that a session must hold, at most as many as the target was made for; `None` takes what models and budget
    /// allow, at most 4,096 and at least 256 (or as many as the target was made for, if those are fewer).
    pub context_len: Option<usize>,
    /// Most bytes for the KV caches of one session, target's and drafter's together.
    pub cache_bytes_max: u64,
    /// What to do with a drafter that does not fit.
    pub drafter_misfit: DrafterMisfit,
    /// Compare every file with the pack's digests before anything is loaded. With a `cache_folder`, files that were found
    /// intact once are not read again as long as the system says that nobody has changed them.
    pub check_digests: bool,
    /// The ONNX Runtime library; `None` looks at `ORT_DYLIB_PATH` and then where `cargo xtask setup` places it.
    pub runtime_library: Option<PathBuf>,
    /// Where measured costs, compiled graphs and which files are intact are kept between starts, and where a provider's
    /// proof may write for a moment; `None` finds everything out at every start, and proves in the system's folder for
    /// temporary files.
    pub cache_folder: Option<PathBuf>,
    /// The device and its drivers in any words that change when they do: compiled graphs are kept for one of them.
    pub device: Option<String>,
    /// Costs known from elsewhere; nothing is measured then.
    pub costs: Option<CostProfile>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            folder: OpenOptions::default(),
            without_drafter: false,
            target_providers: Vec::new(),
            drafter_providers: Vec::new(),
            target_threads: None,
            drafter_threads: None,
            spinning: Spinning::default(),
            context_len: None,
            cache_bytes_max: 1 << 30,
            drafter_misfit: DrafterMisfit::default(),
            check_digests: true,
            runtime_library: None,
            cache_folder: None,
            device: None,
            costs: None,
        }
    }
}

/// A model of fewer bytes computes on one thread unless somebody asks for more: its operators are done before a second
/// thread is awake.
const SINGLE_THREAD_BYTES: u64 = 4 << 20;

/// Context where nobody says how long it should be: enough for a conversation, small enough for a phone.
const CONTEXT_LEN_DEFAULT: usize = 4096;

/// Context below which opening fails where nobody says how long it should be: a question and a short answer.
const CONTEXT_LEN_MIN: usize = 256;

/// How the memory budget is divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Tokens that a session holds, in both caches.
    pub(crate) context_len: usize,
    /// Why there is no room for the drafter, or why it is not wanted.
    pub(crate) drafter_missing: Option<String>,
}

impl Room {
    /// Divides the budget of one session over the caches of `folder`'s models.
    ///
    /// # Errors
    /// `OutOfMemory` if the context asked for does not fit, or too little of one where none is; `InvalidOption` if the
    /// models were made for less than was asked for.
    pub(crate) fn of(folder: &Folder, options: &EngineOptions) -> Result<Self> {
        let target = folder.target.cache_bytes_per_token().unwrap_or(0);
        let drafter = match &folder.drafter {
            Some(drafter) if !options.without_drafter => drafter.cache_bytes_per_token().unwrap_or(0),
            _ => 0,
        };
        let (asked, declared) = (options.context_len, folder.context_len());
        if let (Some(asked), Some(declared)) = (asked, declared)
            && asked > declared
        {
            let reason = format!("{asked} tokens: the target was made for {declared} at most");
            return Err(Error::InvalidOption { option: "context_len", reason });
        }
        let wanted = asked.unwrap_or_else(|| declared.map_or(CONTEXT_LEN_DEFAULT, |len| len.min(CONTEXT_LEN_DEFAULT)));
        // Without a wish the context gives way to the budget before the drafter does.
        let least = if asked.is_some() { wanted } else { wanted.min(CONTEXT_LEN_MIN) };
        let fits = |per_token: u64| options.cache_bytes_max.checked_div(per_token).map_or(wanted, |n| n as usize);
        let not_wanted = options.without_drafter.then(|| "not wanted by the caller".to_owned());

        let (together, alone) = (fits(target + drafter), fits(target));
        if together >= least {
            return Ok(Self { context_len: wanted.min(together), drafter_missing: not_wanted });
        }
        let out_of_memory = Error::OutOfMemory {
            needed_bytes: (target + drafter).saturating_mul(least as u64),
            allowed_bytes: options.cache_bytes_max,
            tokens: least,
        };
        if drafter > 0 && options.drafter_misfit == DrafterMisfit::RunWithout && alone >= least {
            let reason = format!("its cache does not fit: {out_of_memory}");
            return Ok(Self { context_len: wanted.min(alone), drafter_missing: Some(reason) });
        }
        Err(out_of_memory)
    }
}

/// How to open `files`, which are `role`.
///
/// # Errors
/// `InvalidOption` for a provider that the folder asks for and nobody knows.
pub(crate) fn model_options(
    role: &'static str,
    folder: &Folder,
    files: &ModelFiles,
    room: &Room,
    options: &EngineOptions,
) -> Result<ModelOptions> {
    let (providers, threads) = match role {
        "target" => (&options.target_providers, options.target_threads),
        _ => (&options.drafter_providers, options.drafter_threads),
    };
    let io = &files.io;
    Ok(ModelOptions {
        role,
        runtime_library: options.runtime_library.clone(),
        providers: if providers.is_empty() { folder_providers(&files.session)? } else { providers.clone() },
        threads: threads.or(files.session.intra_op_threads).or((files.bytes < SINGLE_THREAD_BYTES).then_some(1)),
        spinning: options.spinning,
        session_entries: files.session.config_entries.clone().into_iter().collect(),
        names: NameHints {
            input_ids: Some(io.input_ids.clone()),
            attention_mask: Some(io.attention_mask.clone()),
            position_ids: Some(io.position_ids.clone()),
            past_key: Some(io.past_key.clone()),
            past_value: Some(io.past_value.clone()),
            logits: Some(io.logits.clone()),
            present_key: Some(io.present_key.clone()),
            present_value: Some(io.present_value.clone()),
        },
        layout: Some(if files.shares_buffer() { CacheLayout::Shared } else { CacheLayout::Growing }),
        context_len_max: files.shape.context_len.unwrap_or(room.context_len),
        context_len: Some(files.shape.context_len.map_or(room.context_len, |own| own.min(room.context_len))),
        cache_bytes_max: options.cache_bytes_max,
        compiled_cache: compiled_cache(folder, files, options),
        // An app may write there, and on Android not into the system's.
        scratch_folder: options.cache_folder.clone().filter(|folder| std::fs::create_dir_all(folder).is_ok()),
        ..ModelOptions::default()
    })
}

/// Where compiled graphs of `files` are kept: only of models that a manifest tells apart.
fn compiled_cache(folder: &Folder, files: &ModelFiles, options: &EngineOptions) -> Option<CompiledCache> {
    let device = options.device.clone().unwrap_or_else(|| format!("{} {}", env::consts::OS, env::consts::ARCH));
    let folder_kept = options.cache_folder.as_ref()?.join("compiled");
    Some(CompiledCache { folder: folder_kept, model_digest: folder.recorded_digest(files)?, device })
}

/// The providers that the folder asks for, with the CPU as the last resort.
fn folder_providers(session: &SessionSettings) -> Result<Vec<ProviderChoice>> {
    let mut choices = Vec::new();
    for wanted in &session.providers {
        let options = wanted.options.clone().into_iter().collect();
        let strict = session.cpu_fallback == Some(false);
        choices.push(ProviderChoice { options, strict, ..wanted.name.parse::<Provider>()?.into() });
    }
    if !choices.iter().any(|choice: &ProviderChoice| choice.provider == Provider::Cpu) {
        choices.push(Provider::Cpu.into());
    }
    Ok(choices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_wants_no_fallback_gets_strict_providers() {
        for (cpu_fallback, strict) in [(None, false), (Some(true), false), (Some(false), true)] {
            let wanted = drafthorse_pack::ProviderChoice { name: "webgpu".to_owned(), options: Default::default() };
            let session = SessionSettings { cpu_fallback, providers: vec![wanted], ..SessionSettings::default() };
            let choices = folder_providers(&session).unwrap();
            assert_eq!(choices[0], ProviderChoice { strict, ..Provider::WebGpu.into() });
            assert_eq!(choices[1..], [Provider::Cpu.into()], "the CPU computes it all, where the other cannot");
        }
    }
}
