//! What was opened, what computes it, and what a pass costs.

use crate::number::count;

/// What was opened. Providers stand as their short names: cpu, xnnpack, coreml, nnapi, qnn, webgpu, cuda.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct EngineReport {
    /// The opened folder.
    pub path: String,
    /// Version and build of ONNX Runtime, as it describes itself.
    pub runtime: String,
    /// What computes the target.
    pub target: Placement,
    /// What computes the drafter, if there is one.
    pub drafter: Option<Placement>,
    /// Why there is no drafter, where the folder has one.
    pub drafter_missing: Option<String>,
    /// Tokens that a session holds.
    pub context_len: u64,
    /// Bytes of the KV caches of one session.
    pub cache_bytes: u64,
    /// Bytes of the opened models' files.
    pub weight_bytes: u64,
    /// Bytes by which the process grew while models and tokenizer were loaded; absent where the system does not tell.
    pub resident_bytes: Option<u64>,
    /// What a pass of the target costs, by rows.
    pub target_costs: Vec<PassCost>,
    /// Milliseconds of the drafter's pass over one row.
    pub drafter_ms: Option<f64>,
    /// What was noticed about the folder.
    pub notes: Vec<String>,
}

/// What really computes a model, and what was tried before.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Placement {
    /// The provider that passed its proof.
    pub provider: String,
    /// Nodes by provider (the runtime's names) as they really ran, most nodes first.
    pub nodes: Vec<NodeCount>,
    /// Earlier choices, each with the reason why it was refused.
    pub refused: Vec<Refusal>,
    /// Where keys and values live between passes.
    pub cache_layout: CacheLayout,
    /// Tokens per pass of a prefill.
    pub chunk_len: u64,
}

/// Nodes that one provider runs.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct NodeCount {
    /// The runtime's name of the provider.
    pub provider: String,
    /// Nodes of the graph.
    pub nodes: u64,
}

/// A provider that could not run the model.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Refusal {
    /// Its short name.
    pub provider: String,
    /// Why.
    pub reason: String,
}

/// Where the keys and values of past tokens live between passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum CacheLayout {
    /// One buffer per tensor, input and output at once.
    Shared,
    /// A pass copies what it was given and appends.
    Growing,
}

/// The time of one forward pass.
#[derive(Clone, Copy, Debug, PartialEq, uniffi::Record)]
pub struct PassCost {
    /// Tokens scored in the pass.
    pub rows: u64,
    /// Milliseconds.
    pub ms: f64,
}

/// Widths that are told: those that the runtime measures.
const COST_ROWS: [usize; 4] = [1, 2, 4, 8];

impl From<&drafthorse::Engine> for EngineReport {
    fn from(engine: &drafthorse::Engine) -> Self {
        let report = engine.report();
        Self {
            path: engine.folder().path.display().to_string(),
            runtime: report.runtime.clone(),
            target: (&report.target).into(),
            drafter: report.drafter.as_ref().map(Into::into),
            drafter_missing: report.drafter_missing.clone(),
            context_len: count(report.context_len),
            cache_bytes: report.cache_bytes,
            weight_bytes: report.weight_bytes,
            resident_bytes: report.resident_bytes,
            target_costs: COST_ROWS
                .map(|rows| PassCost { rows: count(rows), ms: report.costs.target_ms(rows) })
                .to_vec(),
            drafter_ms: report.costs.drafter_ms(),
            notes: engine.folder().notes.clone(),
        }
    }
}

impl From<&drafthorse::PlacementReport> for Placement {
    fn from(report: &drafthorse::PlacementReport) -> Self {
        let nodes = report.nodes.iter();
        let refused = report.refused.iter();
        Self {
            provider: report.provider.name().to_owned(),
            nodes: nodes.map(|(name, nodes)| NodeCount { provider: name.clone(), nodes: count(*nodes) }).collect(),
            refused: refused
                .map(|(provider, reason)| Refusal { provider: provider.name().to_owned(), reason: reason.clone() })
                .collect(),
            cache_layout: match report.layout {
                drafthorse::CacheLayout::Shared => CacheLayout::Shared,
                drafthorse::CacheLayout::Growing => CacheLayout::Growing,
            },
            chunk_len: count(report.chunk_len),
        }
    }
}
