//! Where tensors live: the CPU by default, a GPU if the build has its backend.

use burn::tensor::Device;

use crate::{Error, Result};

/// The device called `name`: `flex` (CPU), `wgpu`, `cuda:N`, `tch` (libtorch's CPU) or `tch-cuda:N`.
///
/// # Errors
/// `Device` if the name is unknown or its cargo feature is off in this build.
pub fn device(name: &str) -> Result<Device> {
    let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
    let index: usize = index.parse().map_err(|_| refused(name, "the index after ':' must be a number"))?;
    match (kind, index) {
        ("flex" | "cpu", _) => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        ("wgpu", _) => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        ("cuda", index) => Ok(Device::cuda(index)),
        #[cfg(feature = "tch")]
        #[allow(deprecated)] // burn names no other way to an installed PyTorch
        ("tch", _) => Ok(Device::libtorch()),
        #[cfg(feature = "tch")]
        #[allow(deprecated)]
        ("tch-cuda", index) => Ok(Device::libtorch_cuda(index)),
        #[cfg(not(feature = "wgpu"))]
        ("wgpu", _) => Err(refused(name, "this build has no wgpu; build with --features wgpu")),
        #[cfg(not(feature = "cuda"))]
        ("cuda", _) => Err(refused(name, "this build has no CUDA; build with --features cuda")),
        #[cfg(not(feature = "tch"))]
        ("tch" | "tch-cuda", _) => Err(refused(name, "this build has no libtorch; build with --features tch")),
        _ => Err(refused(name, "unknown; one of flex, wgpu, cuda:N, tch, tch-cuda:N")),
    }
}

fn refused(device: &str, reason: &str) -> Error {
    Error::Device { device: device.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_devices_are_refused_by_name() {
        assert!(device("flex").is_ok());
        for name in ["tpu", "cuda:x", "flex:-1"] {
            assert!(device(name).unwrap_err().to_string().contains(name));
        }
    }
}
