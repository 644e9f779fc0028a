//! The few C calls that `ort`'s safe layer cannot make without allocating, each wrapped once.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};

use ort::AsPointer;
use ort::session::{RunOptions, Session};
use ort::sys;

use crate::{Error, Result};

/// Turns a failure of `ort` into ours.
pub(super) fn runtime_error<R>(operation: &'static str, error: &ort::Error<R>) -> Error {
    Error::Runtime { operation, message: error.message().trim_end().to_owned() }
}

/// Takes ownership of `status` and turns it into a result.
pub(super) fn check(operation: &'static str, status: sys::OrtStatusPtr) -> Result<()> {
    // SAFETY: every caller passes the status that a C call has just returned, once.
    unsafe { ort::Error::result_from_status(status) }.map_err(|error| runtime_error(operation, &error))
}

/// Text that the runtime owns, copied.
///
/// # Safety
/// `text` is null or a NUL-terminated string that lives for this call.
pub(super) unsafe fn owned_text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and NUL-terminated by this function's contract.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Type of a tensor's elements, as far as a decoder's inputs and outputs go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    I64,
    F32,
    F16,
    Bf16,
}

impl Element {
    /// Bytes of one element.
    pub(super) const fn size_bytes(self) -> usize {
        match self {
            Self::I64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    fn sys(self) -> sys::ONNXTensorElementDataType {
        match self {
            Self::I64 => sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
            Self::F32 => sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
            Self::F16 => sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
            Self::Bf16 => sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        }
    }
}

/// Describes ordinary memory to the runtime.
#[derive(Debug)]
pub(super) struct CpuMemory(NonNull<sys::OrtMemoryInfo>);

// SAFETY: the description is immutable once made.
unsafe impl Send for CpuMemory {}
// SAFETY: as above.
unsafe impl Sync for CpuMemory {}

impl CpuMemory {
    pub(super) fn new() -> Result<Self> {
        let mut info = ptr::null_mut();
        let (allocator, memory) = (sys::OrtAllocatorType::OrtDeviceAllocator, sys::OrtMemType::OrtMemTypeDefault);
        // SAFETY: `info` is a valid place for the result.
        let status = unsafe { (ort::api().CreateCpuMemoryInfo)(allocator, memory, &mut info) };
        check("describe CPU memory", status)?;
        non_null("describe CPU memory", info).map(Self)
    }
}

impl Drop for CpuMemory {
    fn drop(&mut self) {
        // SAFETY: made by `CreateCpuMemoryInfo` and released once.
        unsafe { (ort::api().ReleaseMemoryInfo)(self.0.as_ptr()) };
    }
}

/// A tensor handle of the runtime. It may point into memory that somebody else keeps alive.
#[derive(Debug)]
pub(super) struct Tensor(NonNull<sys::OrtValue>);

// SAFETY: a handle may be used from any thread, one at a time; its owner is not `Sync`.
unsafe impl Send for Tensor {}

impl Tensor {
    /// A tensor over `data`, without a copy.
    ///
    /// # Safety
    /// `data` holds at least the elements of `shape`, is aligned for `element`, and outlives the tensor and every
    /// run that it takes part in. Nothing else touches it during such a run.
    pub(super) unsafe fn over(memory: &CpuMemory, data: *mut c_void, shape: &[i64], element: Element) -> Result<Self> {
        let elements: i64 = shape.iter().product();
        let bytes = elements as usize * element.size_bytes();
        let mut value = ptr::null_mut();
        // SAFETY: the pointers are valid for the call; the data's life is this function's contract.
        let status = unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                memory.0.as_ptr(),
                data,
                bytes,
                shape.as_ptr(),
                shape.len(),
                element.sys(),
                &mut value,
            )
        };
        check("describe a tensor", status)?;
        non_null("describe a tensor", value).map(Self)
    }

    /// A tensor in memory of `allocator`, contents undefined.
    ///
    /// # Safety
    /// The allocator outlives the tensor.
    pub(super) unsafe fn on_device(allocator: &DeviceAllocator, shape: &[i64], element: Element) -> Result<Self> {
        let mut value = ptr::null_mut();
        // SAFETY: the pointers are valid for the call.
        let status = unsafe {
            (ort::api().CreateTensorAsOrtValue)(
                allocator.allocator.as_ptr(),
                shape.as_ptr(),
                shape.len(),
                element.sys(),
                &mut value,
            )
        };
        check("allocate a tensor on the device", status)?;
        non_null("allocate a tensor on the device", value).map(Self)
    }

    /// Takes over a value that a run has made.
    pub(super) fn from_run(value: *mut sys::OrtValue) -> Result<Self> {
        non_null("read an output", value).map(Self)
    }

    pub(super) fn as_ptr(&self) -> *mut sys::OrtValue {
        self.0.as_ptr()
    }

    /// Number of elements.
    pub(super) fn element_count(&self) -> Result<usize> {
        let api = ort::api();
        let (mut info, mut count) = (ptr::null_mut(), 0);
        // SAFETY: the handle is live and `info` is a valid place.
        check("read a shape", unsafe { (api.GetTensorTypeAndShape)(self.as_ptr(), &mut info) })?;
        // SAFETY: `info` was just made, and `count` is a valid place.
        let status = check("read a shape", unsafe { (api.GetTensorShapeElementCount)(info, &mut count) });
        // SAFETY: made above and released once.
        unsafe { (api.ReleaseTensorTypeAndShapeInfo)(info) };
        status.map(|()| count)
    }

    /// Shape of the tensor.
    pub(super) fn shape(&self) -> Result<Vec<i64>> {
        let api = ort::api();
        let mut info = ptr::null_mut();
        // SAFETY: the handle is live and `info` is a valid place.
        check("read a shape", unsafe { (api.GetTensorTypeAndShape)(self.as_ptr(), &mut info) })?;
        let mut rank = 0;
        // SAFETY: `info` was just made.
        let mut status = check("read a shape", unsafe { (api.GetDimensionsCount)(info, &mut rank) });
        let mut shape = vec![0; rank];
        if status.is_ok() {
            // SAFETY: `shape` has room for `rank` dimensions.
            status = check("read a shape", unsafe { (api.GetDimensions)(info, shape.as_mut_ptr(), rank) });
        }
        // SAFETY: made above and released once.
        unsafe { (api.ReleaseTensorTypeAndShapeInfo)(info) };
        status.map(|()| shape)
    }

    /// Start of the elements in memory.
    pub(super) fn data(&self) -> Result<*const c_void> {
        let mut data = ptr::null_mut();
        // SAFETY: the handle is live and `data` is a valid place.
        check("read an output", unsafe { (ort::api().GetTensorMutableData)(self.as_ptr(), &mut data) })?;
        Ok(data.cast_const())
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: the handle is owned and released once.
        unsafe { (ort::api().ReleaseValue)(self.as_ptr()) };
    }
}

/// An allocator of the device that a session's provider computes on.
#[derive(Debug)]
pub(super) struct DeviceAllocator {
    allocator: NonNull<sys::OrtAllocator>,
}

// SAFETY: the handle may be used from any thread, one at a time; its owner is not `Sync`.
unsafe impl Send for DeviceAllocator {}

impl DeviceAllocator {
    /// The allocator for input number `input` of `session`; `None` if that input lies in ordinary memory.
    pub(super) fn for_input(session: &Session, input: usize) -> Result<Option<Self>> {
        let count = session.inputs().len();
        let mut infos: Vec<*const sys::OrtMemoryInfo> = vec![ptr::null(); count];
        // SAFETY: `infos` has room for every input of the session.
        let status =
            unsafe { (ort::api().SessionGetMemoryInfoForInputs)(session.ptr(), infos.as_mut_ptr(), infos.len()) };
        check("find the device of an input", status)?;
        let info = infos[input];
        if info.is_null() {
            return Ok(None);
        }
        let mut device = sys::OrtMemoryInfoDeviceType::OrtMemoryInfoDeviceType_CPU;
        // SAFETY: `info` belongs to the session, which is borrowed.
        unsafe { (ort::api().MemoryInfoGetDeviceType)(info, &mut device) };
        if matches!(device, sys::OrtMemoryInfoDeviceType::OrtMemoryInfoDeviceType_CPU) {
            return Ok(None);
        }
        let mut allocator = ptr::null_mut();
        // SAFETY: session and description are live.
        let status = unsafe { (ort::api().CreateAllocator)(session.ptr(), info, &mut allocator) };
        check("reach the device's memory", status)?;
        Ok(Some(Self { allocator: non_null("reach the device's memory", allocator)? }))
    }
}

impl Drop for DeviceAllocator {
    fn drop(&mut self) {
        // SAFETY: made by `CreateAllocator` and released once.
        unsafe { (ort::api().ReleaseAllocator)(self.allocator.as_ptr()) };
    }
}

/// One forward pass.
///
/// # Safety
/// Names are NUL-terminated. All pointers are live, `inputs` pairs with `input_names` and `outputs` with
/// `output_names`. Null outputs are filled in and then belong to the caller. No other run touches the tensors.
pub(super) unsafe fn run(
    session: &Session,
    options: &RunOptions,
    (input_names, inputs): (&[*const c_char], &[*const sys::OrtValue]),
    (output_names, outputs): (&[*const c_char], &mut [*mut sys::OrtValue]),
) -> Result<()> {
    debug_assert_eq!(input_names.len(), inputs.len());
    debug_assert_eq!(output_names.len(), outputs.len());
    // SAFETY: this function's contract; the session is not changed by a run.
    let status = unsafe {
        (ort::api().Run)(
            session.ptr().cast_mut(),
            options.ptr(),
            input_names.as_ptr(),
            inputs.as_ptr(),
            inputs.len(),
            output_names.as_ptr(),
            output_names.len(),
            outputs.as_mut_ptr(),
        )
    };
    check("run the model", status)
}

fn non_null<T>(operation: &'static str, pointer: *mut T) -> Result<NonNull<T>> {
    NonNull::new(pointer)
        .ok_or_else(|| Error::Runtime { operation, message: "the runtime returned a null pointer".to_owned() })
}
