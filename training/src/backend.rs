//! Where tensors live: the CPU by default, a GPU if the build has its backend.

use burn::tensor::Device;
#[cfg(feature = "wgpu")]
use burn::tensor::DeviceKind;
#[cfg(any(feature = "cuda", feature = "tch", feature = "wgpu"))]
use burn::tensor::DeviceType;

use crate::{Error, Result};

/// The device called `name`: `flex` (CPU), `wgpu`, `cuda:N`, `tch` (libtorch's CPU) or `tch-cuda:N`.
///
/// # Errors
/// `Device` if the name is unknown, its cargo feature is off in this build, or the machine has no such device.
pub fn device(name: &str) -> Result<Device> {
    let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
    let index: usize = index.parse().map_err(|_| refused(name, "the index after ':' must be a number"))?;
    match (kind, index) {
        ("flex" | "cpu", 0) => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        ("wgpu", 0) => present(name, index, DeviceType::Wgpu, Device::wgpu(DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        ("cuda", _) => present(name, index, DeviceType::Cuda, Device::cuda(index)),
        #[cfg(feature = "tch")]
        #[allow(deprecated)] // burn names no other way to an installed PyTorch
        ("tch", 0) => Ok(Device::libtorch()),
        #[cfg(feature = "tch")]
        #[allow(deprecated)]
        ("tch-cuda", _) => present(name, index, DeviceType::LibTorch, Device::libtorch_cuda(index)),
        #[cfg(not(feature = "wgpu"))]
        ("wgpu", _) => Err(refused(name, "this build has no wgpu; build with --features wgpu")),
        #[cfg(not(feature = "cuda"))]
        ("cuda", _) => Err(refused(name, "this build has no CUDA; build with --features cuda")),
        #[cfg(not(feature = "tch"))]
        ("tch" | "tch-cuda", _) => Err(refused(name, "this build has no libtorch; build with --features tch")),
        _ => Err(refused(name, "unknown; one of flex, wgpu, cuda:N, tch, tch-cuda:N")),
    }
}

/// `device`, which nothing has opened yet, if the machine has more than `index` GPUs of its kind.
#[cfg(any(feature = "cuda", feature = "tch", feature = "wgpu"))]
fn present(name: &str, index: usize, kind: DeviceType, device: Device) -> Result<Device> {
    let found = Device::enumerate(kind).len();
    if index < found { Ok(device) } else { Err(refused(name, &format!("devices of this kind found: {found}"))) }
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
        for name in ["tpu", "cuda:x", "flex:-1", "flex:1", "cuda:999", "tch-cuda:999", "wgpu:1"] {
            assert!(device(name).unwrap_err().to_string().contains(name));
        }
    }
}
