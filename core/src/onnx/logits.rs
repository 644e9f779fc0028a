//! Logits as the graph gives them, as f32.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::buffer::{Buffer, Plain};
use super::raw::{Element, Tensor};
use crate::{Error, Result};

/// Converts the first `target.len()` elements of `source`.
pub(super) fn convert(source: &Buffer, element: Element, target: &mut [f32]) {
    let len = target.len();
    match element {
        Element::F16 => source.elements::<f16>()[..len].convert_to_f32_slice(target),
        Element::Bf16 => source.elements::<bf16>()[..len].convert_to_f32_slice(target),
        Element::F32 | Element::I64 => target.copy_from_slice(&source.elements::<f32>()[..len]),
    }
}

/// A copy of all `len` elements of a tensor in ordinary memory.
pub(super) fn copied(tensor: &Tensor, len: usize, element: Element) -> Result<Vec<f32>> {
    let mut values = vec![0.0; len];
    copy_into(tensor, 0, element, &mut values)?;
    Ok(values)
}

/// Copies `target.len()` elements of a tensor in ordinary memory, from element `start` on.
///
/// # Errors
/// A runtime error if the tensor is shorter.
pub(super) fn copy_into(tensor: &Tensor, start: usize, element: Element, target: &mut [f32]) -> Result<()> {
    if tensor.element_count()? < start + target.len() {
        let message = format!("they came out as {:?}", tensor.shape()?);
        return Err(Error::Runtime { operation: "read the logits", message });
    }
    let data = tensor.data()?;
    match element {
        // SAFETY: the tensor has that many elements of that type, checked above, and lives for this call.
        Element::F16 => unsafe { view::<f16>(data, start, target.len()) }.convert_to_f32_slice(target),
        // SAFETY: as above.
        Element::Bf16 => unsafe { view::<bf16>(data, start, target.len()) }.convert_to_f32_slice(target),
        // SAFETY: as above.
        Element::F32 | Element::I64 => target.copy_from_slice(unsafe { view::<f32>(data, start, target.len()) }),
    }
    Ok(())
}

/// # Safety
/// `data` points to `start + len` elements of `T` that outlive `'a`.
unsafe fn view<'a, T: Plain>(data: *const std::ffi::c_void, start: usize, len: usize) -> &'a [T] {
    // SAFETY: this function's contract.
    unsafe { std::slice::from_raw_parts(data.cast::<T>().add(start), len) }
}
