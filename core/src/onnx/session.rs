//! Builds the runtime's session for a graph on one provider, and sees whether it runs, and where.

use std::ffi::c_char;
use std::path::Path;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use drafthorse_pack::Header;
use ort::environment::Environment;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session};
use ort::sys;

use super::kv_cache::KvCache;
use super::options::{CacheLayout, ModelOptions, Provider, ProviderChoice, Spinning};
use super::placement::{Placement, Profile, RECORD_ENTRY};
use super::raw::{self, CpuMemory, Element, Tensor, runtime_error};
use super::signature::Signature;
use super::{compiled, providers};
use crate::{Error, Result};

/// Tokens of the first pass: two, so that logits of the last row alone can be told from logits of every row.
const FIRST_WIDTH: usize = 2;
/// Capacity of its cache.
const FIRST_CAPACITY: usize = 8;

/// A session with its weights, shared by a model and its forks.
pub(super) struct SharedSession {
    pub(super) session: Session,
    pub(super) signature: Signature,
    pub(super) layout: CacheLayout,
    pub(super) vocab_len: usize,
    pub(super) scores_every_row: bool,
    pub(super) memory: CpuMemory,
    /// Held during a pass where the provider cannot run two at once.
    gate: Option<Mutex<()>>,
}

impl SharedSession {
    /// Builds a session for `path` on one provider, runs a first pass, and reads which nodes ran where.
    ///
    /// # Errors
    /// A refusal of the provider, or of the graph whatever computes it.
    pub(super) fn build(
        environment: &Environment,
        path: &Path,
        options: &ModelOptions,
        choice: &ProviderChoice,
    ) -> Result<(Self, Placement), Refusal> {
        let compiled = compiled::prepare(options.compiled_cache.as_ref(), choice)?;
        let profile = match choice.provider {
            Provider::Cpu => None,
            _ => Some(Profile::begin(options.scratch_folder.as_ref().unwrap_or(&std::env::temp_dir()))?),
        };
        let builder = builder(environment, options, choice, &compiled, profile.as_ref())?;
        let session = compiled.commit(builder, path)?;
        let signature = Signature::read(&session, path, &options.names).map_err(Refusal::Graph)?;
        let layout = layout(&signature, path, options).map_err(Refusal::Graph)?;
        let gate = (!providers::runs_concurrently(choice.provider)).then(Mutex::default);
        let memory = CpuMemory::new()?;
        let mut shared = Self { session, signature, layout, vocab_len: 0, scores_every_row: true, memory, gate };
        (shared.vocab_len, shared.scores_every_row) = first_pass(&shared)?;
        let placement = match profile {
            None => Placement::assigned(&shared.session)?,
            Some(profile) => profile.end(&mut shared.session)?,
        };
        check_placement(&placement, choice)?;
        Ok((shared, placement))
    }

    /// Names in the order that `Feeds` and the cache write their handles.
    pub(super) fn input_names(&self) -> Vec<*const c_char> {
        let signature = &self.signature;
        let optional = [&signature.attention_mask, &signature.position_ids].into_iter().flatten();
        let keep = signature.logits_to_keep.iter().map(|(name, _)| name);
        let cache = signature.layers.iter().flat_map(|layer| &layer.past);
        std::iter::once(&signature.input_ids).chain(optional).chain(keep).chain(cache).map(|n| n.as_ptr()).collect()
    }

    /// Logits first, then the cache.
    pub(super) fn output_names(&self) -> Vec<*const c_char> {
        let cache = self.signature.layers.iter().flat_map(|layer| &layer.present);
        std::iter::once(&self.signature.logits).chain(cache).map(|name| name.as_ptr()).collect()
    }

    /// One forward pass.
    ///
    /// # Safety
    /// As [`raw::run`].
    pub(super) unsafe fn run(
        &self,
        options: &RunOptions,
        inputs: (&[*const c_char], &[*const sys::OrtValue]),
        outputs: (&[*const c_char], &mut [*mut sys::OrtValue]),
    ) -> Result<()> {
        let _held = self.gate.as_ref().map(|gate| gate.lock().unwrap_or_else(PoisonError::into_inner));
        // SAFETY: this function's contract; passes of other models wait where the provider needs it.
        unsafe { raw::run(&self.session, options, inputs, outputs) }
    }
}

/// A session as the runtime makes it by itself: the floor that opening is compared with.
#[doc(hidden)]
pub struct BareSession(#[expect(dead_code, reason = "held for as long as it is measured")] Session);

impl BareSession {
    /// Builds a session for the graph at `path` on the CPU with `threads` threads, and nothing else.
    ///
    /// # Errors
    /// `RuntimeLibrary`, or an error of the runtime.
    pub fn new(path: &Path, threads: usize) -> Result<Self> {
        fn failed<R>(error: ort::Error<R>) -> Error {
            runtime_error("build the session", &error)
        }
        let builder = SessionBuilder::new(&super::environment::environment(None)?).map_err(failed)?;
        let mut builder = builder.with_intra_threads(threads).map_err(failed)?;
        builder.commit_from_file(path).map(Self).map_err(failed)
    }
}

/// Why a candidate was not taken.
pub(super) enum Refusal {
    /// The graph cannot be driven, whatever computes it.
    Graph(Error),
    /// This provider cannot compute it.
    Provider(String),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Provider(error.to_string())
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Provider(reason)
    }
}

fn builder(
    environment: &Environment,
    options: &ModelOptions,
    choice: &ProviderChoice,
    compiled: &compiled::Compiled,
    profile: Option<&Profile>,
) -> Result<SessionBuilder, Refusal> {
    fn failed<R>(error: ort::Error<R>) -> Error {
        runtime_error("configure the session", &error)
    }
    let mut builder = SessionBuilder::new(environment)
        .map_err(failed)?
        // Providers are named by the caller; the runtime must not pick one itself.
        .with_auto_device(AutoDevicePolicy::Default)
        .map_err(failed)?
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(failed)?
        // The mask is longer in every pass, so a pattern would be made and kept for each length.
        .with_memory_pattern(false)
        .map_err(failed)?;
    if let Some(threads) = providers::session_threads(choice.provider, options.threads) {
        builder = builder.with_intra_threads(threads).map_err(failed)?;
    }
    if let Some(profile) = profile {
        builder = builder.with_profiling(profile.prefix()).map_err(failed)?;
    }
    let mut entries = vec![(RECORD_ENTRY, "1".to_owned())];
    entries.extend(spinning_entries(options.spinning));
    if choice.strict && choice.provider != Provider::Cpu {
        entries.push(("session.disable_cpu_ep_fallback", "1".to_owned()));
    }
    entries.extend(providers::entries(choice.provider));
    entries.extend(compiled.entries());
    let theirs = options.session_entries.iter().map(|(key, value)| (key.as_str(), value.clone()));
    for (key, value) in entries.into_iter().chain(theirs) {
        if key.contains('\0') || value.contains('\0') {
            return Err(Refusal::Graph(Error::InvalidOption {
                option: "session_entries",
                reason: format!("{key:?} contains a NUL"),
            }));
        }
        builder = builder.with_config_entry(key, value).map_err(failed)?;
    }
    let context = providers::Context { threads: options.threads, compiled_folder: compiled.folder() };
    Ok(providers::register(builder, environment, choice, context)?)
}

fn spinning_entries(spinning: Spinning) -> Vec<(&'static str, String)> {
    match spinning {
        Spinning::Never => vec![("session.intra_op.allow_spinning", "0".to_owned())],
        Spinning::WithinPass => vec![("session.force_spinning_stop", "1".to_owned())],
        Spinning::Always => Vec::new(),
    }
}

/// A session may list a provider that runs nothing: a broken backend, or a graph that it has no operator for.
fn check_placement(placement: &Placement, choice: &ProviderChoice) -> Result<(), Refusal> {
    let (own, all) = (placement.nodes_on(choice.provider.runtime_name()), placement.nodes());
    if own == 0 {
        return Err(Refusal::Provider(format!("the session was built, but none of its {all} nodes runs there")));
    }
    if choice.strict && own < all {
        return Err(Refusal::Provider(format!("strict: only {own} of {all} nodes run there")));
    }
    Ok(())
}

fn layout(signature: &Signature, path: &Path, options: &ModelOptions) -> Result<CacheLayout> {
    let layout = match options.layout {
        Some(layout) => layout,
        None if Header::read(path)?.count("GroupQueryAttention") >= signature.layers.len() as u64 => {
            CacheLayout::Shared
        }
        None => CacheLayout::Growing,
    };
    if layout == CacheLayout::Shared && signature.attention_mask.is_none() {
        let reason = "it has no attention_mask, so a shared cache could not be shortened".to_owned();
        return Err(Error::UnsupportedGraph { path: path.to_owned(), reason });
    }
    Ok(layout)
}

/// Runs one short pass: a session that builds may still fail to run, or compute nonsense.
///
/// Returns the width of a row, and whether there is a row for every token.
fn first_pass(shared: &SharedSession) -> Result<(usize, bool), Refusal> {
    let signature = &shared.signature;
    let memory = &shared.memory;
    let mut cache = KvCache::new(&shared.session, signature, memory, shared.layout, FIRST_CAPACITY)?;
    let (mut ids, mut positions, mut keep) = ([0_i64; FIRST_WIDTH], [0_i64, 1], [0_i64]);
    let mut mask = [1_i64; FIRST_WIDTH];
    let wide = [1, FIRST_WIDTH as i64];
    // SAFETY: the arrays outlive the tensors, which live in this function only.
    let mut feeds = unsafe { vec![Tensor::over(memory, ids.as_mut_ptr().cast(), &wide, Element::I64)?] };
    if signature.attention_mask.is_some() {
        // SAFETY: as above.
        feeds.push(unsafe { Tensor::over(memory, mask.as_mut_ptr().cast(), &wide, Element::I64) }?);
    }
    if signature.position_ids.is_some() {
        // SAFETY: as above.
        feeds.push(unsafe { Tensor::over(memory, positions.as_mut_ptr().cast(), &wide, Element::I64) }?);
    }
    if let Some((_, rank)) = signature.logits_to_keep {
        // SAFETY: as above.
        feeds.push(unsafe { Tensor::over(memory, keep.as_mut_ptr().cast(), &[1][..rank], Element::I64) }?);
    }
    let (input_names, output_names) = (shared.input_names(), shared.output_names());
    let mut inputs: Vec<*const sys::OrtValue> = feeds.iter().map(|feed| feed.as_ptr().cast_const()).collect();
    inputs.resize(input_names.len(), ptr::null());
    let mut outputs = vec![ptr::null_mut(); output_names.len()];
    cache.bind(memory, (0, FIRST_WIDTH), &mut inputs[feeds.len()..], &mut outputs[1..])?;
    let options = RunOptions::new().map_err(|error| runtime_error("make run options", &error))?;
    // SAFETY: names and tensors pair up and outlive the pass; only the null output is filled in.
    unsafe { shared.run(&options, (&input_names, &inputs), (&output_names, &mut outputs)) }?;
    read_logits(&Tensor::from_run(outputs[0])?, signature)
}

/// Width of a row, and whether there is a row for every token.
fn read_logits(logits: &Tensor, signature: &Signature) -> Result<(usize, bool), Refusal> {
    let shape = logits.shape()?;
    let [1, rows, vocab_len] = shape[..] else {
        return Err(Refusal::Provider(format!("logits came out as {shape:?}, expected [1, rows, vocabulary]")));
    };
    let scores_every_row = rows == FIRST_WIDTH as i64;
    if vocab_len <= 0 || !(scores_every_row || rows == 1) {
        return Err(Refusal::Provider(format!("logits of {FIRST_WIDTH} tokens came out as {shape:?}")));
    }
    let values = super::logits::copied(logits, rows as usize * vocab_len as usize, signature.logits_element)?;
    // A masked logit may be minus infinity.
    if let Some(index) = values.iter().position(|value| value.is_nan() || *value == f32::INFINITY) {
        return Err(Refusal::Provider(format!("logit {index} of the first pass is {}", values[index])));
    }
    Ok((vocab_len as usize, scores_every_row))
}
