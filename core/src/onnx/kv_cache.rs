//! The keys and values of past tokens, in the two layouts that exporters make.

use ort::session::Session;
use ort::sys;

use super::buffer::Buffer;
use super::options::CacheLayout;
use super::raw::{CpuMemory, DeviceAllocator, Element, Tensor};
use super::signature::{HeadShape, Signature};
use crate::{Error, Result};

/// Fewest tokens that a cache is worth opening with.
const TOKENS_MIN: usize = 16;

/// Chooses how many tokens a cache holds, and checks that they fit the budget.
///
/// # Errors
/// `OutOfMemory` with the bytes needed and allowed.
pub(super) fn capacity(
    bytes_per_token: usize,
    context_len_max: usize,
    context_len: Option<usize>,
    bytes_max: u64,
) -> Result<usize> {
    let bytes = |tokens: usize| (tokens as u64).saturating_mul(bytes_per_token as u64);
    let too_much = |tokens| Error::OutOfMemory { needed_bytes: bytes(tokens), allowed_bytes: bytes_max, tokens };
    if let Some(asked) = context_len {
        let tokens = asked.min(context_len_max);
        return if bytes(tokens) <= bytes_max { Ok(tokens) } else { Err(too_much(tokens)) };
    }
    let affordable = usize::try_from(bytes_max / bytes_per_token.max(1) as u64).unwrap_or(usize::MAX);
    let tokens = affordable.min(context_len_max);
    if tokens < TOKENS_MIN.min(context_len_max) { Err(too_much(TOKENS_MIN)) } else { Ok(tokens) }
}

/// Bytes of the whole cache per token, with the second copy that the growing layout needs.
pub(super) fn bytes_per_token(signature: &Signature, layout: CacheLayout) -> usize {
    let copies = match layout {
        CacheLayout::Shared => 1,
        CacheLayout::Growing => 2,
    };
    signature.cache_bytes_per_token().saturating_mul(copies)
}

/// One cache. Tensors come in the order key, value of layer 0, key, value of layer 1, and so on.
#[derive(Debug)]
pub(super) enum KvCache {
    Shared(Shared),
    Growing(Growing),
}

impl KvCache {
    /// A cache for `capacity` tokens. On a device that is not the CPU, a shared cache lies in the device's memory.
    pub(super) fn new(
        session: &Session,
        signature: &Signature,
        memory: &CpuMemory,
        layout: CacheLayout,
        capacity: usize,
    ) -> Result<Self> {
        match layout {
            CacheLayout::Shared => Shared::new(session, signature, memory, capacity).map(Self::Shared),
            CacheLayout::Growing => Growing::new(signature, capacity).map(Self::Growing),
        }
    }

    /// Writes the handles for a pass that appends `width` tokens to `len`.
    ///
    /// The handles are for one pass, before this cache is next touched.
    ///
    /// # Errors
    /// Errors of the runtime; the state is unchanged.
    pub(super) fn bind(
        &mut self,
        memory: &CpuMemory,
        (len, width): (usize, usize),
        inputs: &mut [*const sys::OrtValue],
        outputs: &mut [*mut sys::OrtValue],
    ) -> Result<()> {
        match self {
            Self::Shared(cache) => {
                cache.bind(inputs, outputs);
                Ok(())
            }
            Self::Growing(cache) => cache.bind(memory, (len, width), inputs, outputs),
        }
    }

    /// Takes what the last pass wrote as the new state.
    pub(super) fn commit(&mut self) {
        if let Self::Growing(cache) = self {
            cache.commit();
        }
    }

    /// Forgets the tokens from `len` on, of the `from` that are there.
    pub(super) fn truncate(&mut self, from: usize, len: usize) {
        if let Self::Growing(cache) = self {
            cache.truncate(from, len);
        }
    }
}

/// One tensor of full capacity for each key and value, read and written in place.
#[derive(Debug)]
pub(super) struct Shared {
    // Before the memory that they point into: a tensor on a device is freed through its allocator.
    tensors: Vec<Tensor>,
    _buffers: Vec<Buffer>,
    _device: Option<DeviceAllocator>,
}

impl Shared {
    fn new(session: &Session, signature: &Signature, memory: &CpuMemory, capacity: usize) -> Result<Self> {
        let element = signature.cache_element;
        let first = signature.layers.first().map(|layer| layer.past[0].to_bytes());
        let input = session.inputs().iter().position(|input| Some(input.name().as_bytes()) == first);
        let device = input.map(|input| DeviceAllocator::for_input(session, input)).transpose()?.flatten();
        // Last, so that they go first if one cannot be made.
        let (mut buffers, mut tensors) = (Vec::new(), Vec::new());
        for shape in signature.layers.iter().flat_map(|layer| layer.shapes) {
            let dimensions = shape.dimensions(capacity);
            let tensor = match &device {
                // SAFETY: the allocator lives beside the tensor, which is dropped first.
                Some(allocator) => unsafe { Tensor::on_device(allocator, &dimensions, element) }?,
                None => {
                    let mut buffer = Buffer::zeroed(shape.bytes(capacity, element), capacity)?;
                    // SAFETY: the buffer has that size and lives beside the tensor, which is dropped first.
                    let tensor = unsafe { Tensor::over(memory, buffer.data(), &dimensions, element) }?;
                    buffers.push(buffer);
                    tensor
                }
            };
            tensors.push(tensor);
        }
        Ok(Self { tensors, _buffers: buffers, _device: device })
    }

    fn bind(&self, inputs: &mut [*const sys::OrtValue], outputs: &mut [*mut sys::OrtValue]) {
        for ((tensor, input), output) in self.tensors.iter().zip(inputs).zip(outputs) {
            *input = tensor.as_ptr();
            *output = tensor.as_ptr();
        }
    }
}

/// Two buffers for each key and value: a pass reads one, and writes it with the new tokens into the other.
///
/// The buffers are of full capacity from the start; the shape of the tensors over them grows.
#[derive(Debug)]
pub(super) struct Growing {
    slots: Vec<Slot>,
    element: Element,
    /// Which of the two buffers holds the state.
    current: usize,
    /// Tokens that the `past` tensors describe, and those that the `present` tensors will.
    described: Option<usize>,
    pending: usize,
}

#[derive(Debug)]
struct Slot {
    // Before the buffers that they point into.
    past: Option<Tensor>,
    present: Option<Tensor>,
    buffers: [Buffer; 2],
    shape: HeadShape,
}

impl Growing {
    fn new(signature: &Signature, capacity: usize) -> Result<Self> {
        let element = signature.cache_element;
        let slot = |shape: HeadShape| {
            let buffer = || Buffer::zeroed(shape.bytes(capacity, element), capacity);
            Ok(Slot { past: None, present: None, buffers: [buffer()?, buffer()?], shape })
        };
        let slots = signature.layers.iter().flat_map(|layer| layer.shapes).map(slot).collect::<Result<_>>()?;
        Ok(Self { slots, element, current: 0, described: None, pending: 0 })
    }

    /// After a pass that failed, `past` still describes `len` tokens and `present` is made anew.
    fn bind(
        &mut self,
        memory: &CpuMemory,
        (len, width): (usize, usize),
        inputs: &mut [*const sys::OrtValue],
        outputs: &mut [*mut sys::OrtValue],
    ) -> Result<()> {
        let (current, element) = (self.current, self.element);
        let usable = self.described == Some(len);
        self.described = None;
        for ((slot, input), output) in self.slots.iter_mut().zip(inputs).zip(outputs) {
            let past = match slot.past.take().filter(|_| usable) {
                Some(past) => past,
                None => slot.describe(memory, current, len, element)?,
            };
            *input = slot.past.insert(past).as_ptr();
            let present = slot.describe(memory, 1 - current, len + width, element)?;
            *output = slot.present.insert(present).as_ptr();
        }
        self.described = Some(len);
        self.pending = len + width;
        Ok(())
    }

    fn commit(&mut self) {
        for slot in &mut self.slots {
            slot.past = slot.present.take();
        }
        self.current = 1 - self.current;
        self.described = Some(self.pending);
    }

    fn truncate(&mut self, from: usize, len: usize) {
        self.described = None;
        for slot in &mut self.slots {
            slot.past = None;
            let row_bytes = slot.shape.head_len * self.element.size_bytes();
            compact(slot.buffers[self.current].elements_mut(), slot.shape.heads, row_bytes, (from, len));
        }
    }
}

impl Slot {
    /// A tensor of `tokens` tokens over one of the two buffers.
    fn describe(&mut self, memory: &CpuMemory, buffer: usize, tokens: usize, element: Element) -> Result<Tensor> {
        let (data, bytes) = (self.buffers[buffer].data(), self.buffers[buffer].len());
        if self.shape.bytes(tokens, element) > bytes {
            return Err(Error::ContextFull { needed: tokens, capacity: bytes / self.shape.bytes(1, element) });
        }
        // SAFETY: the tokens fit the buffer, which lives beside the tensor and is dropped after it.
        unsafe { Tensor::over(memory, data, &self.shape.dimensions(tokens), element) }
    }
}

/// Shortens `[heads, from, row]` to `[heads, to, row]` in place.
fn compact(bytes: &mut [u8], heads: usize, row_bytes: usize, (from, to): (usize, usize)) {
    for head in 1..heads {
        let start = head * from * row_bytes;
        bytes.copy_within(start..start + to * row_bytes, head * to * row_bytes);
    }
}

impl HeadShape {
    fn dimensions(self, tokens: usize) -> [i64; 4] {
        [1, self.heads as i64, tokens as i64, self.head_len as i64]
    }

    fn bytes(self, tokens: usize, element: Element) -> usize {
        [self.heads, self.head_len, element.size_bytes()].into_iter().fold(tokens, usize::saturating_mul)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_what_model_and_budget_allow() {
        assert_eq!(capacity(100, 4096, None, 1 << 30).unwrap(), 4096, "the model is the limit");
        assert_eq!(capacity(100, 4096, None, 100_050).unwrap(), 1000, "the budget is the limit");
        assert_eq!(capacity(100, 4096, Some(10), 1000).unwrap(), 10);
        assert_eq!(capacity(100, 8, None, 1000).unwrap(), 8, "a tiny model may have a tiny cache");
    }

    #[test]
    fn a_cache_over_the_budget_names_both_numbers() {
        assert!(capacity(100, usize::MAX, Some(usize::MAX), 1000).is_err(), "more bytes than there are numbers");
        for (asked, tokens) in [(Some(11), 11), (None, TOKENS_MIN)] {
            let error = capacity(100, 4096, asked, 1000).unwrap_err();
            assert!(
                matches!(error, Error::OutOfMemory { needed_bytes, allowed_bytes: 1000, tokens: t }
                    if t == tokens && needed_bytes == 100 * tokens as u64),
                "{error}"
            );
        }
    }

    #[test]
    fn compacting_keeps_the_first_tokens_of_every_head() {
        // [heads 3, tokens 4, row 2]: the byte says head and token.
        let mut bytes: Vec<u8> = (0..24).map(|i| (i / 8 * 16 + i / 2 % 4) as u8).collect();
        compact(&mut bytes, 3, 2, (4, 3));
        assert_eq!(bytes[..18], [0, 0, 1, 1, 2, 2, 16, 16, 17, 17, 18, 18, 32, 32, 33, 33, 34, 34]);
    }
}
