//! Opens a model on the first provider of the preference that computes it, and computes it right.

use std::path::Path;
use std::sync::Arc;

use ort::environment::Environment;

use super::environment::environment;
use super::feeds::NARROW_WIDTH_MAX;
use super::graph::{OnnxGraph, Plan};
use super::kv_cache::{bytes_per_token, capacity};
use super::model::OnnxModel;
use super::options::{ModelOptions, PlacementReport, Provider, ProviderChoice};
use super::placement::Placement;
use super::proof;
use super::providers;
use super::session::{Refusal, SharedSession};
use crate::{Error, Result};

/// Bytes of f32 logits that a pass of a prefill may make, where the graph makes them for every row. The runtime keeps
/// the room for them, and half as much again for attention; wider passes are hardly faster.
const CHUNK_LOGITS_BYTES: usize = 8 << 20;

/// Most threads of a session: more have never been worth the memory that each of them takes.
const THREADS_MAX: usize = 1024;

impl OnnxModel {
    /// Opens the decoder graph at `path` for one model: [`OnnxGraph::open`] and [`OnnxGraph::model`].
    ///
    /// # Errors
    /// Those of the two.
    pub fn open(path: &Path, options: &ModelOptions) -> Result<(Self, PlacementReport)> {
        let (graph, report) = OnnxGraph::open(path, options)?;
        Ok((graph.model()?, report))
    }
}

impl OnnxGraph {
    /// Opens the decoder graph at `path`; external data is found beside it.
    ///
    /// # Errors
    /// `RuntimeLibrary` if ONNX Runtime cannot be loaded; `UnsupportedGraph` if the graph cannot be driven;
    /// `ExecutionProvider` if no provider of the preference passes its proof; `OutOfMemory` if the cache does not fit;
    /// `InvalidOption` for widths or sizes that make no sense.
    pub fn open(path: &Path, options: &ModelOptions) -> Result<(Self, PlacementReport)> {
        check(options)?;
        let environment = environment(options.runtime_library.as_deref())?;
        if !path.is_file() {
            return Err(Error::UnsupportedGraph { path: path.to_owned(), reason: "there is no such file".to_owned() });
        }
        let cpu = [ProviderChoice::from(Provider::Cpu)];
        let choices = if options.providers.is_empty() { &cpu[..] } else { &options.providers };
        let mut refused = Vec::new();
        for choice in choices {
            match open_on(&environment, path, options, choice) {
                Ok((graph, placement)) => {
                    let report = PlacementReport {
                        provider: choice.provider,
                        nodes: placement.ranked(),
                        refused,
                        layout: graph.layout(),
                        chunk_len: graph.chunk_len(),
                    };
                    return Ok((graph, report));
                }
                Err(Refusal::Graph(error)) => return Err(error),
                Err(Refusal::Provider(reason)) => {
                    log::warn!("{} refused for the {}: {reason}", choice.provider, options.role);
                    refused.push((choice.provider, reason));
                }
            }
        }
        let reasons: Vec<_> = refused.iter().map(|(provider, reason)| format!("{provider}: {reason}")).collect();
        Err(Error::ExecutionProvider { model: options.role, reason: reasons.join("; ") })
    }
}

fn open_on(
    environment: &Environment,
    path: &Path,
    options: &ModelOptions,
    choice: &ProviderChoice,
) -> Result<(OnnxGraph, Placement), Refusal> {
    let (shared, placement) = SharedSession::build(environment, path, options, choice)?;
    let per_token = bytes_per_token(&shared.signature, shared.layout);
    let capacity = capacity(per_token, options.context_len_max, options.context_len, options.cache_bytes_max)
        .map_err(Refusal::Graph)?;
    let plan = Plan {
        chunk_len: options.chunk_len.unwrap_or_else(|| chunk_len(&shared)),
        width_buckets: match &options.width_buckets[..] {
            [] => providers::width_buckets(choice.provider),
            asked => asked.to_vec(),
        },
        capacity,
    };
    let mut graph = OnnxGraph::new(Arc::new(shared), plan);
    // The CPU's kernels are the measure; another pass over them would only make opening slower.
    if choice.provider != Provider::Cpu && proof::check(&graph)? == proof::Outcome::ShortPassesOnly {
        let plan = graph.plan_mut();
        plan.chunk_len = plan.chunk_len.min(NARROW_WIDTH_MAX);
    }
    Ok((graph, placement))
}

fn chunk_len(shared: &SharedSession) -> usize {
    if shared.signature.logits_to_keep.is_some() || !shared.scores_every_row {
        return 256;
    }
    let rows = CHUNK_LOGITS_BYTES / (shared.vocab_len * size_of::<f32>());
    (rows / 16 * 16).clamp(32, 256)
}

fn check(options: &ModelOptions) -> Result<()> {
    let refuse = |option, reason: String| Err(Error::InvalidOption { option, reason });
    if options.context_len_max == 0 || options.context_len == Some(0) {
        return refuse("context_len", "0 tokens: at least 1".to_owned());
    }
    if options.chunk_len == Some(0) {
        return refuse("chunk_len", "0 tokens: at least 1".to_owned());
    }
    if let Some(threads) = options.threads
        && !(1..=THREADS_MAX).contains(&threads)
    {
        return refuse("threads", format!("{threads}: from 1 to {THREADS_MAX}; leave it out for one per core"));
    }
    let buckets = &options.width_buckets;
    if !buckets.is_sorted() || buckets.iter().any(|width| !(1..=NARROW_WIDTH_MAX).contains(width)) {
        return refuse("width_buckets", format!("{buckets:?}: ascending, from 1 to {NARROW_WIDTH_MAX}"));
    }
    Ok(())
}
