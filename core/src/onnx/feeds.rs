//! Tensors for tokens, mask and positions, made once so that a short pass allocates nothing.

use ort::sys;

use super::buffer::Buffer;
use super::raw::{CpuMemory, Element, Tensor};
use super::signature::Signature;
use crate::{Result, TokenId};

/// Widths up to this have their tensors ready: a full draft and the anchor.
pub(super) const NARROW_WIDTH_MAX: usize = crate::DRAFT_LEN_MAX + 1;

/// Which rows of logits a pass is asked for, where the graph lets one choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// A row for every token.
    Every,
    /// The last row.
    Last,
}

/// What a pass reads besides the cache.
#[derive(Debug)]
pub(super) struct Feeds {
    // Tensors before the buffers that they point into.
    narrow: Vec<WidthTensors>,
    /// Of the pass under way, where it is wider than those made ready.
    wide: Option<WidthTensors>,
    /// Of the pass under way: its length differs in every pass.
    mask: Option<Tensor>,
    keep: Option<[Tensor; 2]>,
    ids: Buffer,
    positions: Buffer,
    ones: Buffer,
    _keep_counts: Buffer,
    has_mask: bool,
    has_positions: bool,
}

#[derive(Debug)]
struct WidthTensors {
    ids: Tensor,
    positions: Option<Tensor>,
}

impl Feeds {
    /// Feeds for passes of up to `width_max` tokens over a cache of `capacity`.
    pub(super) fn new(signature: &Signature, memory: &CpuMemory, width_max: usize, capacity: usize) -> Result<Self> {
        let width_max = width_max.max(NARROW_WIDTH_MAX);
        let mut ids = Buffer::zeroed(width_max * size_of::<i64>(), width_max)?;
        let mut positions = Buffer::zeroed(width_max * size_of::<i64>(), width_max)?;
        let mut ones = Buffer::zeroed(capacity * size_of::<i64>(), capacity)?;
        ones.elements_mut::<i64>().fill(1);
        let has_positions = signature.position_ids.is_some();
        let narrow = (1..=NARROW_WIDTH_MAX)
            .map(|width| WidthTensors::new(memory, &mut ids, has_positions.then_some(&mut positions), width))
            .collect::<Result<_>>()?;
        let mut counts = Buffer::zeroed(2 * size_of::<i64>(), 1)?;
        counts.elements_mut::<i64>()[1] = 1;
        let keep = signature.logits_to_keep.as_ref().map(|(_, rank)| keep_tensors(memory, &mut counts, *rank));
        Ok(Self {
            narrow,
            wide: None,
            mask: None,
            keep: keep.transpose()?,
            ids,
            positions,
            ones,
            _keep_counts: counts,
            has_mask: signature.attention_mask.is_some(),
            has_positions,
        })
    }

    /// Fills the feeds of a pass over `tokens`, padded to `width`, after `len` cached tokens. Returns how many of
    /// `inputs` were written; the handles are for one pass.
    ///
    /// # Errors
    /// Errors of the runtime.
    ///
    /// # Panics
    /// If the pass is wider or longer than the feeds were made for.
    pub(super) fn bind(
        &mut self,
        memory: &CpuMemory,
        (tokens, width): (&[TokenId], usize),
        len: usize,
        keep: Keep,
        inputs: &mut [*const sys::OrtValue],
    ) -> Result<usize> {
        self.fill(tokens, width, len);
        let tensors = match self.narrow.get(width - 1) {
            Some(tensors) => tensors,
            None => {
                let positions = self.has_positions.then_some(&mut self.positions);
                self.wide.insert(WidthTensors::new(memory, &mut self.ids, positions, width)?)
            }
        };
        if self.has_mask {
            assert!((len + width) * size_of::<i64>() <= self.ones.len(), "the mask is as long as the cache");
            let shape = [1, (len + width) as i64];
            // SAFETY: checked above; the buffer lives beside the tensor and is dropped after it.
            self.mask = Some(unsafe { Tensor::over(memory, self.ones.data(), &shape, Element::I64) }?);
        }
        let keep = self.keep.as_ref().map(|[every, last]| if keep == Keep::Every { every } else { last });
        let feeds = [Some(&tensors.ids), self.mask.as_ref(), tensors.positions.as_ref(), keep];
        let mut written = 0;
        for (feed, input) in feeds.into_iter().flatten().zip(inputs) {
            *input = feed.as_ptr();
            written += 1;
        }
        Ok(written)
    }

    fn fill(&mut self, tokens: &[TokenId], width: usize, len: usize) {
        let ids = &mut self.ids.elements_mut::<i64>()[..width];
        for (id, token) in ids.iter_mut().zip(tokens) {
            *id = i64::from(*token);
        }
        // Padding comes after the tokens, which by causality do not see it; the rows it makes are dropped.
        ids[tokens.len()..].fill(0);
        if self.has_positions {
            for (index, position) in self.positions.elements_mut::<i64>()[..width].iter_mut().enumerate() {
                *position = (len + index) as i64;
            }
        }
    }
}

impl WidthTensors {
    fn new(memory: &CpuMemory, ids: &mut Buffer, positions: Option<&mut Buffer>, width: usize) -> Result<Self> {
        let tensor = |buffer: &mut Buffer| {
            assert!(width * size_of::<i64>() <= buffer.len(), "the pass is wider than its feeds");
            // SAFETY: checked above; the owner drops its tensors before its buffers.
            unsafe { Tensor::over(memory, buffer.data(), &[1, width as i64], Element::I64) }
        };
        Ok(Self { ids: tensor(ids)?, positions: positions.map(tensor).transpose()? })
    }
}

/// Tensors that say 0 (every row) and 1 (the last one), of rank 0 or 1.
fn keep_tensors(memory: &CpuMemory, counts: &mut Buffer, rank: usize) -> Result<[Tensor; 2]> {
    let counts = counts.elements_mut::<i64>();
    let mut tensor = |index: usize| {
        let count: *mut i64 = &raw mut counts[index];
        // SAFETY: one element; the owner drops its tensors before its buffers.
        unsafe { Tensor::over(memory, count.cast(), &[1][..rank], Element::I64) }
    };
    Ok([tensor(0)?, tensor(1)?])
}
