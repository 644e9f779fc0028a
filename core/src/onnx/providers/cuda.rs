//! CUDA: NVIDIA's GPUs, on desktops; for the evaluator and for development.

use ort::ep::ExecutionProviderDispatch;

use super::ProviderChoice;

/// Memory grows by what is asked for, so that two models share one GPU.
#[cfg(feature = "cuda")]
pub(super) fn dispatch(choice: &ProviderChoice) -> Result<ExecutionProviderDispatch, String> {
    use ort::ep::{ArenaExtendStrategy, CUDA};

    super::available::<CUDA>()?;
    let provider = CUDA::default().with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested);
    Ok(super::with_options(provider, choice)?.build())
}

#[cfg(not(feature = "cuda"))]
pub(super) fn dispatch(_: &ProviderChoice) -> Result<ExecutionProviderDispatch, String> {
    Err(super::not_compiled_in("cuda"))
}
