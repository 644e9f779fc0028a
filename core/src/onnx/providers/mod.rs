//! Execution providers: one file each says where it applies and with which options.

use std::path::Path;

use ort::ep::ExecutionProviderDispatch;
use ort::session::builder::SessionBuilder;

use super::options::{Provider, ProviderChoice};
use super::raw::runtime_error;

mod coreml;
mod cpu;
mod cuda;
mod nnapi;
mod plugin;
mod qnn;
mod webgpu;
mod xnnpack;

/// What a provider may want to know about the model it is to compute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    /// Threads asked for.
    pub(super) threads: Option<usize>,
    /// Folder for compiled graphs, made and private to one model and device.
    pub(super) compiled_folder: Option<&'a Path>,
}

/// Session entries that go with a provider: (key, value).
pub(super) type Entries = Vec<(&'static str, String)>;

/// Adds `choice` to `builder`, or says why it cannot be.
pub(super) fn register(
    builder: SessionBuilder,
    environment: &ort::environment::Environment,
    choice: &ProviderChoice,
    context: Context<'_>,
) -> Result<SessionBuilder, String> {
    if let Some(library) = &choice.library {
        return plugin::register(builder, environment, choice, library);
    }
    let dispatch = dispatch(choice, context)?;
    let builder = match choice.provider {
        Provider::Cpu => plugin::keep_to_cpu(builder, environment)?,
        _ => builder,
    };
    builder
        .with_execution_providers([dispatch.error_on_failure()])
        .map_err(|error| runtime_error("add the provider", &error).to_string())
}

/// Entries that the session needs for `provider`.
pub(super) fn entries(provider: Provider) -> Entries {
    match provider {
        Provider::Xnnpack => xnnpack::entries(),
        _ => Entries::new(),
    }
}

/// Threads of the session's own pool where the provider has one of its own.
pub(super) fn session_threads(provider: Provider, asked: Option<usize>) -> Option<usize> {
    if provider == Provider::Xnnpack { Some(1) } else { asked }
}

/// Widths that short passes are padded to where nobody asks for others: a graph is compiled for each.
pub(super) fn width_buckets(provider: Provider) -> Vec<usize> {
    match provider {
        Provider::CoreMl | Provider::Nnapi | Provider::Qnn => vec![1, 2, 4, 8],
        _ => Vec::new(),
    }
}

/// True for providers that write compiled graphs through the runtime's own context mechanism.
pub(super) fn compiles_contexts(provider: Provider) -> bool {
    provider == Provider::Qnn
}

/// True if two passes over one session may run at once. The CPU's kernels keep no state between passes, which the
/// runtime's authors promise (microsoft/onnxruntime#114, #22967); `ort` doubts it for providers in general.
pub(super) fn runs_concurrently(provider: Provider) -> bool {
    provider == Provider::Cpu
}

fn dispatch(choice: &ProviderChoice, context: Context<'_>) -> Result<ExecutionProviderDispatch, String> {
    match choice.provider {
        Provider::Cpu => cpu::dispatch(choice),
        Provider::Xnnpack => xnnpack::dispatch(choice, context),
        Provider::CoreMl => coreml::dispatch(choice, context),
        Provider::Nnapi => nnapi::dispatch(choice),
        Provider::Qnn => qnn::dispatch(choice),
        Provider::WebGpu => webgpu::dispatch(choice),
        Provider::Cuda => cuda::dispatch(choice),
    }
}

/// Refuses a provider that this library was built without.
#[cfg_attr(
    all(
        feature = "xnnpack",
        feature = "coreml",
        feature = "nnapi",
        feature = "qnn",
        feature = "webgpu",
        feature = "cuda"
    ),
    expect(dead_code, reason = "every provider is compiled in")
)]
fn not_compiled_in(feature: &str) -> String {
    format!("this build leaves it out; enable the cargo feature {feature:?}")
}

/// Refuses a provider that the loaded runtime library does not contain.
#[allow(dead_code, reason = "unused where no provider beyond the CPU is compiled in")]
fn available<E: ort::ep::ExecutionProvider>() -> Result<(), String> {
    match E::is_available() {
        Ok(true) => Ok(()),
        Ok(false) => Err("the ONNX Runtime library does not contain it".to_owned()),
        Err(error) => Err(runtime_error("list providers", &error).to_string()),
    }
}

/// Puts the caller's options over ours.
#[allow(dead_code, reason = "unused where no provider beyond the CPU is compiled in")]
fn with_options<E: ort::ep::ArbitrarilyConfigurableExecutionProvider>(
    provider: E,
    choice: &ProviderChoice,
) -> Result<E, String> {
    let mut provider = provider;
    for (key, value) in &choice.options {
        if key.contains('\0') || value.contains('\0') {
            return Err(format!("option {key:?} contains a NUL"));
        }
        provider = provider.with_arbitrary_config(key, value);
    }
    Ok(provider)
}
