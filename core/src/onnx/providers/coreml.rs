//! Core ML: Apple systems only. No `GroupQueryAttention` and no `MatMulNBits`: of use for fp16 drafters of a fixed shape.

use ort::ep::ExecutionProviderDispatch;

use super::{Context, ProviderChoice};

/// Compiles once per model and device into the folder of compiled graphs.
#[cfg(feature = "coreml")]
pub(super) fn dispatch(choice: &ProviderChoice, context: Context<'_>) -> Result<ExecutionProviderDispatch, String> {
    use ort::ep::{CoreML, coreml::ModelFormat};

    super::available::<CoreML>()?;
    let mut provider = CoreML::default().with_model_format(ModelFormat::MLProgram);
    if let Some(folder) = context.compiled_folder {
        provider = provider.with_model_cache_dir(folder.display());
    }
    Ok(super::with_options(provider, choice)?.build())
}

#[cfg(not(feature = "coreml"))]
pub(super) fn dispatch(_: &ProviderChoice, _: Context<'_>) -> Result<ExecutionProviderDispatch, String> {
    Err(super::not_compiled_in("coreml"))
}
