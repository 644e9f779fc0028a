//! How to open a pack.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::number::size;
use crate::settings::Settings;

/// How to open a pack. Absent fields take the library's defaults.
#[derive(Clone, Debug, Default, uniffi::Record)]
pub struct EngineOptions {
    /// Execution providers for the target, best first; empty means what the pack asks for, then the CPU.
    #[uniffi(default)]
    pub target_providers: Vec<ProviderChoice>,
    /// The same for the drafter.
    #[uniffi(default)]
    pub drafter_providers: Vec<ProviderChoice>,
    /// Threads within an operator of the target; absent leaves it to the pack, then to the runtime.
    #[uniffi(default)]
    pub target_threads: Option<u32>,
    /// The same for the drafter.
    #[uniffi(default)]
    pub drafter_threads: Option<u32>,
    /// What worker threads of both models do while they wait; absent is `WithinPass`.
    #[uniffi(default)]
    pub spinning: Option<Spinning>,
    /// Tokens that a session must hold, no more than the target was made for; absent takes what models and budget allow,
    /// 256 to 4,096.
    #[uniffi(default)]
    pub context_len: Option<u64>,
    /// Most bytes for the KV caches of one session, target's and drafter's together; absent is 1 GiB.
    #[uniffi(default)]
    pub cache_bytes_max: Option<u64>,
    /// What to do with a drafter that does not fit the budget; absent runs without it and says so.
    #[uniffi(default)]
    pub drafter_misfit: Option<DrafterMisfit>,
    /// Do not open the drafter model, even if there is one.
    #[uniffi(default = false)]
    pub without_drafter: bool,
    /// Compare every file with the pack's digests before anything is loaded.
    #[uniffi(default = true)]
    pub check_digests: bool,
    /// Which of several models of a Hugging Face folder: "q4", "fp16", ...
    #[uniffi(default)]
    pub variant: Option<String>,
    /// A drafter from elsewhere: a folder, or an ONNX file.
    #[uniffi(default)]
    pub drafter: Option<String>,
    /// As `variant`, for `drafter`.
    #[uniffi(default)]
    pub drafter_variant: Option<String>,
    /// Further folders that links inside the pack may lead into.
    #[uniffi(default)]
    pub allowed_roots: Vec<String>,
    /// The ONNX Runtime library; absent is what `set_runtime_library` named, else what is found on this machine.
    #[uniffi(default)]
    pub runtime_library: Option<String>,
    /// Where measured costs are kept between starts; absent is what `set_cache_folder` named.
    #[uniffi(default)]
    pub cache_folder: Option<String>,
    /// The device and its drivers in any words that change when they do: compiled graphs are kept for one of them.
    /// Absent is the operating system and the kind of processor.
    #[uniffi(default)]
    pub device: Option<String>,
}

/// What worker threads do while they wait for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Spinning {
    /// Sleep: least energy, slowest start of an operator.
    Never,
    /// Spin while a pass is under way, so that two models take turns without fighting for cores.
    WithinPass,
    /// Spin between passes too: only for a model that runs alone.
    Always,
}

/// What to do with a drafter that does not fit the memory budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum DrafterMisfit {
    /// Open without it, and say so.
    RunWithout,
    /// `OutOfMemoryBudget`.
    Fail,
}

/// Something that computes a graph, or a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum Provider {
    /// The CPU: everywhere, every operator.
    Cpu,
    /// Google's floating-point kernels.
    Xnnpack,
    /// Apple's Core ML.
    CoreMl,
    /// Android's neural-network API.
    Nnapi,
    /// Qualcomm's neural processor.
    Qnn,
    /// WebGPU over Vulkan, Metal or Direct3D 12.
    WebGpu,
    /// NVIDIA's GPUs.
    Cuda,
}

/// One entry of an ordered preference.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct ProviderChoice {
    /// Which provider.
    pub provider: Provider,
    /// Options in the provider's own words.
    #[uniffi(default)]
    pub options: HashMap<String, String>,
    /// Refuse the provider unless it runs every node.
    #[uniffi(default = false)]
    pub strict: bool,
    /// Library of a provider that is a plug-in.
    #[uniffi(default)]
    pub library: Option<String>,
}

impl EngineOptions {
    /// The runtime's options, with the process's settings where these name nothing.
    pub(crate) fn with(self, settings: Settings) -> drafthorse::EngineOptions {
        let default = drafthorse::EngineOptions::default();
        drafthorse::EngineOptions {
            folder: drafthorse_pack::OpenOptions {
                variant: self.variant,
                drafter: self.drafter.map(PathBuf::from),
                drafter_variant: self.drafter_variant,
                allowed_roots: self.allowed_roots.into_iter().map(PathBuf::from).collect(),
            },
            without_drafter: self.without_drafter,
            target_providers: self.target_providers.into_iter().map(Into::into).collect(),
            drafter_providers: self.drafter_providers.into_iter().map(Into::into).collect(),
            target_threads: self.target_threads.map(|threads| threads as usize),
            drafter_threads: self.drafter_threads.map(|threads| threads as usize),
            spinning: self.spinning.map_or(default.spinning, Into::into),
            context_len: self.context_len.map(size),
            cache_bytes_max: self.cache_bytes_max.unwrap_or(default.cache_bytes_max),
            drafter_misfit: self.drafter_misfit.map_or(default.drafter_misfit, Into::into),
            check_digests: self.check_digests,
            runtime_library: self.runtime_library.map(PathBuf::from).or(settings.runtime_library),
            cache_folder: self.cache_folder.map(PathBuf::from).or(settings.cache_folder),
            device: self.device,
            ..default
        }
    }
}

impl From<Spinning> for drafthorse::Spinning {
    fn from(spinning: Spinning) -> Self {
        match spinning {
            Spinning::Never => Self::Never,
            Spinning::WithinPass => Self::WithinPass,
            Spinning::Always => Self::Always,
        }
    }
}

impl From<DrafterMisfit> for drafthorse::DrafterMisfit {
    fn from(misfit: DrafterMisfit) -> Self {
        match misfit {
            DrafterMisfit::RunWithout => Self::RunWithout,
            DrafterMisfit::Fail => Self::Fail,
        }
    }
}

impl From<ProviderChoice> for drafthorse::ProviderChoice {
    fn from(choice: ProviderChoice) -> Self {
        let mut options: Vec<_> = choice.options.into_iter().collect();
        // The kept costs are found by the options, so equal options must look the same.
        options.sort();
        let library = choice.library.map(PathBuf::from);
        Self { provider: choice.provider.into(), options, strict: choice.strict, library }
    }
}

impl From<Provider> for drafthorse::Provider {
    fn from(provider: Provider) -> Self {
        match provider {
            Provider::Cpu => Self::Cpu,
            Provider::Xnnpack => Self::Xnnpack,
            Provider::CoreMl => Self::CoreMl,
            Provider::Nnapi => Self::Nnapi,
            Provider::Qnn => Self::Qnn,
            Provider::WebGpu => Self::WebGpu,
            Provider::Cuda => Self::Cuda,
        }
    }
}
