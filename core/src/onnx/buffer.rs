//! Zeroed, aligned memory that tensors lie over.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::c_void;
use std::ptr::NonNull;

use crate::{Error, Result};

/// A cache line, and the widest vector register.
const ALIGNMENT: usize = 64;
/// Up to this alignment the system hands out zero pages without touching them.
const NATURAL_ALIGNMENT: usize = 16;

/// Memory of a fixed size, aligned for vector kernels. Pages that are never written take no memory.
#[derive(Debug)]
pub(super) struct Buffer {
    allocation: NonNull<u8>,
    layout: Layout,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is owned and reached only through the buffer, or through tensors that its owner keeps beside it.
unsafe impl Send for Buffer {}

impl Buffer {
    /// `len` bytes, all zero.
    ///
    /// # Errors
    /// `OutOfMemory` (for `tokens` tokens of the cache) if the system refuses.
    pub(super) fn zeroed(len: usize, tokens: usize) -> Result<Self> {
        let refused = || Error::OutOfMemory { needed_bytes: len as u64, allowed_bytes: isize::MAX as u64, tokens };
        let padded = len.checked_add(ALIGNMENT).ok_or_else(refused)?;
        let layout = Layout::from_size_align(padded, NATURAL_ALIGNMENT).map_err(|_| refused())?;
        // SAFETY: the size is not zero.
        let allocation = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(refused)?;
        let offset = allocation.as_ptr().align_offset(ALIGNMENT);
        // SAFETY: the padding leaves room for the offset, which is below `ALIGNMENT`.
        let start = unsafe { allocation.add(offset) };
        Ok(Self { allocation, layout, start, len })
    }

    /// Start of the memory, for a tensor over it.
    pub(super) fn data(&mut self) -> *mut c_void {
        self.start.as_ptr().cast()
    }

    /// Size in bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The whole as elements of `T`.
    pub(super) fn elements_mut<T: Plain>(&mut self) -> &mut [T] {
        // SAFETY: the memory is initialised, aligned for any `Plain` type, `len` bytes long and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.len / size_of::<T>()) }
    }

    /// The whole as elements of `T`.
    pub(super) fn elements<T: Plain>(&self) -> &[T] {
        // SAFETY: as in `elements_mut`; no tensor is written while the buffer is borrowed.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.len / size_of::<T>()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout and freed once.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) };
    }
}

/// Types that any bytes are valid for.
pub(super) trait Plain: Copy {}
impl Plain for u8 {}
impl Plain for i64 {}
impl Plain for f32 {}
impl Plain for half::f16 {}
impl Plain for half::bf16 {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_zeroed_and_writable_to_its_end() {
        for len in [0, 1, 63, 64, 4096] {
            let mut buffer = Buffer::zeroed(len, 1).unwrap();
            assert_eq!(buffer.data() as usize % ALIGNMENT, 0);
            assert!(buffer.elements::<u8>().iter().all(|byte| *byte == 0));
            buffer.elements_mut::<u8>().fill(7);
            assert_eq!(buffer.elements::<u8>().len(), len);
        }
    }

    #[test]
    fn an_absurd_size_is_an_error() {
        assert!(matches!(Buffer::zeroed(usize::MAX, 9), Err(Error::OutOfMemory { tokens: 9, .. })));
        assert!(matches!(Buffer::zeroed(isize::MAX as usize, 9), Err(Error::OutOfMemory { .. })));
    }
}
