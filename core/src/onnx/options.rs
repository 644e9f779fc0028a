//! How a model is to be opened, and what came of it: plain data, no runtime types.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::{Error, Result};

/// Something that computes a graph, or a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Provider {
    /// MLAS, with KleidiAI on ARM: everywhere, every operator.
    Cpu,
    /// Google's floating-point kernels.
    Xnnpack,
    /// Apple's Core ML.
    CoreMl,
    /// Android's neural-network API, deprecated since Android 15.
    Nnapi,
    /// Qualcomm's neural processor.
    Qnn,
    /// WebGPU over Vulkan, Metal or Direct3D 12.
    WebGpu,
    /// NVIDIA's GPUs.
    Cuda,
}

impl Provider {
    /// Every provider that this library knows.
    pub const ALL: [Self; 7] =
        [Self::Cpu, Self::Xnnpack, Self::CoreMl, Self::Nnapi, Self::Qnn, Self::WebGpu, Self::Cuda];

    /// Short name, as in options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Xnnpack => "xnnpack",
            Self::CoreMl => "coreml",
            Self::Nnapi => "nnapi",
            Self::Qnn => "qnn",
            Self::WebGpu => "webgpu",
            Self::Cuda => "cuda",
        }
    }

    /// Name that ONNX Runtime knows it by.
    pub const fn runtime_name(self) -> &'static str {
        match self {
            Self::Cpu => "CPUExecutionProvider",
            Self::Xnnpack => "XnnpackExecutionProvider",
            Self::CoreMl => "CoreMLExecutionProvider",
            Self::Nnapi => "NnapiExecutionProvider",
            Self::Qnn => "QNNExecutionProvider",
            Self::WebGpu => "WebGpuExecutionProvider",
            Self::Cuda => "CUDAExecutionProvider",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Provider {
    type Err = Error;

    /// Takes the short name or the runtime's, in any case.
    fn from_str(name: &str) -> Result<Self> {
        let named = |provider: &Self| {
            name.eq_ignore_ascii_case(provider.name()) || name.eq_ignore_ascii_case(provider.runtime_name())
        };
        Self::ALL.into_iter().find(named).ok_or_else(|| Error::InvalidOption {
            option: "provider",
            reason: format!("{name:?}: one of {}", Self::ALL.map(Self::name).join(", ")),
        })
    }
}

/// One entry of an ordered preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderChoice {
    /// Which provider.
    pub provider: Provider,
    /// Options in the provider's own words; they win over the defaults of this library.
    pub options: Vec<(String, String)>,
    /// Refuse the provider unless it runs every node.
    pub strict: bool,
    /// Library of a provider that is a plug-in; `None` for one that is part of the runtime.
    pub library: Option<PathBuf>,
}

impl From<Provider> for ProviderChoice {
    fn from(provider: Provider) -> Self {
        Self { provider, options: Vec::new(), strict: false, library: None }
    }
}

/// Where the keys and values of past tokens live between passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheLayout {
    /// One buffer per tensor, input and output at once; a rollback only shortens the mask.
    Shared,
    /// A pass copies what it was given and appends; a rollback copies again.
    Growing,
}

/// How long worker threads look for work before they sleep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spinning {
    /// Not at all: least energy, slowest start of an operator.
    Never,
    /// Only while a pass is under way, so that two models take turns without fighting for cores.
    #[default]
    WithinPass,
    /// Between passes too: only for a model that runs alone.
    Always,
}

/// How to open a model.
#[derive(Clone, Debug)]
pub struct ModelOptions {
    /// "target" or "drafter": named in errors.
    pub role: &'static str,
    /// The ONNX Runtime library; `None` uses the one already loaded, `ORT_DYLIB_PATH`, or what `cargo xtask setup` placed.
    pub runtime_library: Option<PathBuf>,
    /// Ordered preference; empty is the CPU. Each is proved with a dummy pass, the first that passes is taken.
    pub providers: Vec<ProviderChoice>,
    /// Threads within an operator; `None` leaves it to the runtime (one per core), 1 computes on the caller's thread.
    pub threads: Option<usize>,
    /// What worker threads do while they wait.
    pub spinning: Spinning,
    /// Session options in the runtime's own words (`config_entries` of genai_config.json); they win over ours.
    pub session_entries: Vec<(String, String)>,
    /// Names of inputs and outputs that differ from the usual ones.
    pub names: NameHints,
    /// Cache layout; `None` finds it out: shared if every layer attends with GroupQueryAttention.
    pub layout: Option<CacheLayout>,
    /// Tokens that the model was made for.
    pub context_len_max: usize,
    /// Tokens that the cache must hold; `None` takes as many as model and budget allow.
    pub context_len: Option<usize>,
    /// Most bytes for the KV cache of one session.
    pub cache_bytes_max: u64,
    /// Tokens per pass of a prefill; `None` chooses by the width of the vocabulary.
    pub chunk_len: Option<usize>,
    /// Widths that short passes are padded to, ascending; empty leaves it to the provider: those that compile a graph
    /// per shape have some.
    pub width_buckets: Vec<usize>,
    /// Where compiled graphs are kept between starts, for providers that compile.
    pub compiled_cache: Option<CompiledCache>,
    /// A folder that may be written to for a moment while a provider other than the CPU is proved; `None` is the
    /// system's, which apps on Android may not write to.
    pub scratch_folder: Option<PathBuf>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            role: "target",
            runtime_library: None,
            providers: Vec::new(),
            threads: None,
            spinning: Spinning::default(),
            session_entries: Vec::new(),
            names: NameHints::default(),
            layout: None,
            context_len_max: 4096,
            context_len: None,
            cache_bytes_max: 512 << 20,
            chunk_len: None,
            width_buckets: Vec::new(),
            compiled_cache: None,
            scratch_folder: None,
        }
    }
}

/// Where compiled graphs are kept. One file per model, runtime, provider and device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledCache {
    /// The folder; made if missing.
    pub folder: PathBuf,
    /// Digest of the model's files, in hexadecimal: another model never meets this one's compiled graph.
    pub model_digest: String,
    /// The device and its driver, in any words that change when they do.
    pub device: String,
}

/// Names of inputs and outputs as a genai_config.json gives them; `%d` stands for the layer. `None` tries the usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameHints {
    /// Usually `input_ids`.
    pub input_ids: Option<String>,
    /// Usually `attention_mask`.
    pub attention_mask: Option<String>,
    /// Usually `position_ids`.
    pub position_ids: Option<String>,
    /// Usually `past_key_values.%d.key`.
    pub past_key: Option<String>,
    /// Usually `past_key_values.%d.value`.
    pub past_value: Option<String>,
    /// Usually `logits`.
    pub logits: Option<String>,
    /// Usually `present.%d.key`.
    pub present_key: Option<String>,
    /// Usually `present.%d.value`.
    pub present_value: Option<String>,
}

/// What really computes a model, and what was tried before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementReport {
    /// The choice that passed its proof.
    pub provider: Provider,
    /// Nodes by provider (the runtime's names) as they really ran, most nodes first. The provider list of a session
    /// says nothing: a provider may be listed and run no node.
    pub nodes: Vec<(String, usize)>,
    /// Earlier choices, each with the reason why it was refused.
    pub refused: Vec<(Provider, String)>,
    /// The cache layout in use.
    pub layout: CacheLayout,
    /// Tokens per pass of a prefill; fewer than asked for where wide passes come out wrong.
    pub chunk_len: usize,
}
