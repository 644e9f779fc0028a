//! WebGPU: GPUs over Vulkan, Metal or Direct3D 12, with dynamic shapes, `GroupQueryAttention` and `MatMulNBits`.
//! The cache stays in the GPU's memory; the first pass compiles shaders.

use ort::ep::ExecutionProviderDispatch;

use super::ProviderChoice;

/// The runtime's defaults: high-performance adapter, buffers cached by size.
#[cfg(feature = "webgpu")]
pub(super) fn dispatch(choice: &ProviderChoice) -> Result<ExecutionProviderDispatch, String> {
    use ort::ep::WebGPU;

    super::available::<WebGPU>()?;
    Ok(super::with_options(WebGPU::default(), choice)?.build())
}

#[cfg(not(feature = "webgpu"))]
pub(super) fn dispatch(_: &ProviderChoice) -> Result<ExecutionProviderDispatch, String> {
    Err(super::not_compiled_in("webgpu"))
}
