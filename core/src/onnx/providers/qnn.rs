//! QNN: Qualcomm's neural processor. Static shapes, so passes are padded to width buckets; compiling takes long, so the
//! compiled graph is kept. A broken backend builds a session that runs on the CPU: placement tells.

use ort::ep::ExecutionProviderDispatch;

use super::ProviderChoice;

/// The HTP backend at its highest clock, unless the options say otherwise.
#[cfg(feature = "qnn")]
pub(super) fn dispatch(choice: &ProviderChoice) -> Result<ExecutionProviderDispatch, String> {
    use ort::ep::{ArbitrarilyConfigurableExecutionProvider, QNN, qnn::PerformanceMode};

    super::available::<QNN>()?;
    let mut provider = QNN::default().with_performance_mode(PerformanceMode::Burst);
    // The runtime refuses both at once.
    if !choice.options.iter().any(|(key, _)| key == "backend_path") {
        provider = provider.with_arbitrary_config("backend_type", "htp");
    }
    Ok(super::with_options(provider, choice)?.build())
}

#[cfg(not(feature = "qnn"))]
pub(super) fn dispatch(_: &ProviderChoice) -> Result<ExecutionProviderDispatch, String> {
    Err(super::not_compiled_in("qnn"))
}
