//! XNNPACK: floating-point kernels with a thread pool of their own. No `MatMulNBits`, no `GroupQueryAttention`: of use
//! for small fp32 drafters only. In Microsoft's Android and iOS packages, not in the desktop wheels.

use ort::ep::ExecutionProviderDispatch;

use super::{Context, Entries, ProviderChoice};

#[cfg(feature = "xnnpack")]
pub(super) fn dispatch(choice: &ProviderChoice, context: Context<'_>) -> Result<ExecutionProviderDispatch, String> {
    use std::num::NonZeroUsize;

    use ort::ep::XNNPACK;

    super::available::<XNNPACK>()?;
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = NonZeroUsize::new(context.threads.unwrap_or(cores)).unwrap_or(NonZeroUsize::MIN);
    Ok(super::with_options(XNNPACK::default().with_intra_op_num_threads(threads), choice)?.build())
}

#[cfg(not(feature = "xnnpack"))]
pub(super) fn dispatch(_: &ProviderChoice, _: Context<'_>) -> Result<ExecutionProviderDispatch, String> {
    Err(super::not_compiled_in("xnnpack"))
}

/// The session's own pool would fight with XNNPACK's.
pub(super) fn entries() -> Entries {
    vec![("session.intra_op.allow_spinning", "0".to_owned())]
}
