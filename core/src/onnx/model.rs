//! A decoder graph with its cache, as the loop works with it.

use std::ffi::c_char;
use std::ptr;
use std::sync::Arc;

use ort::sys;

use super::buffer::Buffer;
use super::feeds::{Feeds, Keep, NARROW_WIDTH_MAX};
use super::graph::OnnxGraph;
use super::interrupt::PassInterrupt;
use super::kv_cache::KvCache;
use super::logits::{convert, copy_into};
use super::options::CacheLayout;
use super::raw::{Element, Tensor};
use super::session::SharedSession;
use crate::{Error, Interrupt, Logits, Model, Result, TokenId};

/// A model of ONNX Runtime: a session, which forks share, and a cache of its own.
///
/// Passes of up to 17 tokens on the CPU allocate nothing on the Rust heap.
pub struct OnnxModel {
    // Handles before what they point into, and all of them before the session.
    inputs: Vec<*const sys::OrtValue>,
    outputs: Vec<*mut sys::OrtValue>,
    input_names: Vec<*const c_char>,
    output_names: Vec<*const c_char>,
    feeds: Feeds,
    cache: KvCache,
    narrow: NarrowLogits,
    /// Logits that are not read in place: converted ones, and those of wide passes.
    values: Vec<f32>,
    len: usize,
    interrupt: Arc<PassInterrupt>,
    graph: OnnxGraph,
}

// SAFETY: the pointers lead to names in the shared session and to tensors that the model owns; both move with it.
unsafe impl Send for OnnxModel {}

impl OnnxModel {
    /// Another model over the same weights, with an empty cache of the same size.
    ///
    /// # Errors
    /// `OutOfMemory` if there is no room for the cache.
    pub fn fork(&self) -> Result<Self> {
        self.graph.model()
    }

    /// The graph that it computes.
    pub fn graph(&self) -> &OnnxGraph {
        &self.graph
    }

    /// The cache layout in use.
    pub fn layout(&self) -> CacheLayout {
        self.graph.layout()
    }

    /// Runs the graph again on the tensors of the last pass, and nothing else: the floor that a benchmark compares with.
    /// Tokens and cache stay as they are, as the pass writes what it wrote before.
    ///
    /// # Errors
    /// Errors of the runtime; `InvalidOption` if the last pass was not a short one over a shared cache.
    #[doc(hidden)]
    pub fn run_again(&mut self) -> Result<()> {
        let short = self.narrow.tensors.iter().any(|tensor| tensor.as_ptr() == self.outputs[0]);
        if self.graph.shared().layout != CacheLayout::Shared || !short {
            let reason = "only a short pass over a shared cache can be run again".to_owned();
            return Err(Error::InvalidOption { option: "run_again", reason });
        }
        let inputs = (&self.input_names[..], &self.inputs[..]);
        let outputs = (&self.output_names[..], &mut self.outputs[..]);
        // SAFETY: the handles of a short pass over a shared cache live until the next one, and nothing else uses them.
        unsafe { self.graph.shared().run(self.interrupt.options(), inputs, outputs) }
    }

    /// Bytes that one token takes in the cache.
    pub fn cache_bytes_per_token(&self) -> usize {
        self.graph.cache_bytes_per_token()
    }

    /// A model over `graph` with an empty cache.
    ///
    /// # Errors
    /// `OutOfMemory` if there is no room for the cache; errors of the runtime.
    pub(super) fn new(graph: OnnxGraph) -> Result<Self> {
        let (shared, plan) = (graph.shared(), graph.plan());
        let (signature, memory) = (&shared.signature, &shared.memory);
        let feeds = Feeds::new(signature, memory, plan.chunk_len, plan.capacity)?;
        let cache = KvCache::new(&shared.session, signature, memory, shared.layout, plan.capacity)?;
        let narrow = NarrowLogits::new(shared)?;
        // Short passes give f32 in place; of a long one the last row is kept.
        let rows_kept = if signature.logits_element == Element::F32 { 1 } else { narrow.rows_max };
        let values = vec![0.0; rows_kept * shared.vocab_len];
        let (input_names, output_names) = (shared.input_names(), shared.output_names());
        Ok(Self {
            inputs: vec![ptr::null(); input_names.len()],
            outputs: vec![ptr::null_mut(); output_names.len()],
            input_names,
            output_names,
            feeds,
            cache,
            narrow,
            values,
            len: 0,
            interrupt: Arc::new(PassInterrupt::new()?),
            graph,
        })
    }

    /// One pass over `tokens`, padded to `width`, with `logits` as its output or null to have one made.
    fn pass(
        &mut self,
        (tokens, width): (&[TokenId], usize),
        keep: Keep,
        logits: *mut sys::OrtValue,
    ) -> Result<*mut sys::OrtValue> {
        self.interrupt.check()?;
        let (shared, len) = (self.graph.shared(), self.len);
        let fed = self.feeds.bind(&shared.memory, (tokens, width), len, keep, &mut self.inputs)?;
        self.cache.bind(&shared.memory, (len, width), &mut self.inputs[fed..], &mut self.outputs[1..])?;
        self.outputs[0] = logits;
        let inputs = (&self.input_names[..], &self.inputs[..]);
        let outputs = (&self.output_names[..], &mut self.outputs[..]);
        // SAFETY: names and tensors pair up and outlive the pass; `self` is borrowed mutably, so nothing else uses them.
        let outcome = unsafe { shared.run(self.interrupt.options(), inputs, outputs) };
        if let Err(error) = outcome {
            return Err(self.interrupt.check().err().unwrap_or(error));
        }
        self.cache.commit();
        self.len += tokens.len();
        if tokens.len() < width {
            self.cache.truncate(len + width, self.len);
        }
        Ok(self.outputs[0])
    }

    /// Short passes: every tensor is ready. Returns the number of rows in the narrow buffer.
    fn narrow_pass(&mut self, tokens: &[TokenId]) -> Result<usize> {
        let width = self.padded(tokens.len());
        let logits = self.narrow.tensors[width - 1].as_ptr();
        self.pass((tokens, width), Keep::Every, logits)?;
        Ok(if self.graph.shared().scores_every_row { tokens.len() } else { 1 })
    }

    /// Long passes in chunks, all or nothing. Returns the number of rows in `values`.
    fn wide_passes(&mut self, tokens: &[TokenId], keep: Keep) -> Result<usize> {
        let before = self.len;
        let outcome = self.chunks(tokens, keep);
        if outcome.is_err() && self.len > before {
            self.cache.truncate(self.len, before);
            self.len = before;
        }
        outcome
    }

    fn chunks(&mut self, tokens: &[TokenId], keep: Keep) -> Result<usize> {
        let keep = if self.graph.shared().scores_every_row { keep } else { Keep::Last };
        let vocab_len = self.graph.shared().vocab_len;
        let rows = if keep == Keep::Every { tokens.len() } else { 1 };
        self.reserve_values(rows * vocab_len)?;
        let mut done = 0;
        for chunk in tokens.chunks(self.graph.plan().chunk_len) {
            let made = Tensor::from_run(self.pass((chunk, chunk.len()), keep, ptr::null_mut())?)?;
            let rows_made = made.element_count()? / vocab_len;
            let element = self.graph.shared().signature.logits_element;
            let wanted = &mut self.values;
            if keep == Keep::Every {
                let target = &mut wanted[done * vocab_len..(done + chunk.len()) * vocab_len];
                copy_into(&made, 0, element, target)?;
            } else if done + chunk.len() == tokens.len() {
                let last = rows_made.saturating_sub(1) * vocab_len;
                copy_into(&made, last, element, &mut wanted[..vocab_len])?;
            }
            done += chunk.len();
        }
        Ok(rows)
    }

    fn reserve_values(&mut self, len: usize) -> Result<()> {
        let missing = len.saturating_sub(self.values.len());
        self.values.try_reserve_exact(missing).map_err(|_| Error::OutOfMemory {
            needed_bytes: (len * size_of::<f32>()) as u64,
            allowed_bytes: isize::MAX as u64,
            tokens: len / self.graph.shared().vocab_len,
        })?;
        if missing > 0 {
            self.values.resize(len, 0.0);
        }
        Ok(())
    }

    /// Width that a pass over `width` tokens is padded to. The end of the cache, and graphs that give the last row
    /// only, leave no room for padding.
    fn padded(&self, width: usize) -> usize {
        let bucket = self.graph.plan().width_buckets.iter().copied().find(|bucket| *bucket >= width).unwrap_or(width);
        if self.graph.shared().scores_every_row && self.len + bucket <= self.graph.plan().capacity {
            bucket
        } else {
            width
        }
    }

    fn make_room(&self, width: usize) -> Result<()> {
        let needed = self.len.saturating_add(width);
        if needed <= self.graph.plan().capacity {
            Ok(())
        } else {
            Err(Error::ContextFull { needed, capacity: self.graph.plan().capacity })
        }
    }

    /// The first `rows` rows of the narrow buffer, read in place if they are f32 already.
    fn narrow_logits(&mut self, rows: usize) -> Logits<'_> {
        let (vocab_len, element) = (self.graph.shared().vocab_len, self.graph.shared().signature.logits_element);
        if element == Element::F32 {
            return Logits::new(&self.narrow.buffer.elements::<f32>()[..rows * vocab_len], vocab_len);
        }
        let values = &mut self.values[..rows * vocab_len];
        convert(&self.narrow.buffer, element, values);
        Logits::new(values, vocab_len)
    }
}

impl Model for OnnxModel {
    fn vocab_len(&self) -> usize {
        self.graph.shared().vocab_len
    }

    fn len(&self) -> usize {
        self.len
    }

    fn context_len_max(&self) -> usize {
        self.graph.plan().capacity
    }

    fn cache_bytes(&self) -> usize {
        self.graph.plan().capacity * self.cache_bytes_per_token()
    }

    fn scores_every_row(&self) -> bool {
        self.graph.shared().scores_every_row
    }

    fn score(&mut self, tokens: &[TokenId]) -> Result<Logits<'_>> {
        self.make_room(tokens.len())?;
        let vocab_len = self.graph.shared().vocab_len;
        match tokens.len() {
            0 => Ok(Logits::new(&[], vocab_len)),
            1..=NARROW_WIDTH_MAX => {
                let rows = self.narrow_pass(tokens)?;
                Ok(self.narrow_logits(rows))
            }
            _ => {
                let rows = self.wide_passes(tokens, Keep::Every)?;
                Ok(Logits::new(&self.values[..rows * vocab_len], vocab_len))
            }
        }
    }

    fn prefill(&mut self, tokens: &[TokenId]) -> Result<Logits<'_>> {
        self.make_room(tokens.len())?;
        if tokens.len() <= NARROW_WIDTH_MAX {
            let logits = self.score(tokens)?;
            return Ok(logits.last_row());
        }
        let vocab_len = self.graph.shared().vocab_len;
        self.wide_passes(tokens, Keep::Last)?;
        Ok(Logits::new(&self.values[..vocab_len], vocab_len))
    }

    fn truncate(&mut self, len: usize) -> Result<()> {
        if len < self.len {
            self.cache.truncate(self.len, len);
            self.len = len;
        }
        Ok(())
    }

    fn interrupt(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.interrupt) as Arc<dyn Interrupt>
    }
}

impl std::fmt::Debug for OnnxModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxModel")
            .field("layout", &self.graph.shared().layout)
            .field("vocab_len", &self.graph.shared().vocab_len)
            .field("len", &self.len)
            .field("capacity", &self.graph.plan().capacity)
            .finish_non_exhaustive()
    }
}

/// Where short passes put their logits: one buffer, and a tensor over its start for every width.
struct NarrowLogits {
    // Before the buffer that they point into.
    tensors: Vec<Tensor>,
    buffer: Buffer,
    rows_max: usize,
}

impl NarrowLogits {
    fn new(shared: &SharedSession) -> Result<Self> {
        let element = shared.signature.logits_element;
        let rows = |width: usize| if shared.scores_every_row { width } else { 1 };
        let rows_max = rows(NARROW_WIDTH_MAX);
        let bytes = [shared.vocab_len, element.size_bytes()].into_iter().fold(rows_max, usize::saturating_mul);
        let mut buffer = Buffer::zeroed(bytes, rows_max)?;
        let tensors = (1..=NARROW_WIDTH_MAX)
            .map(|width| {
                let shape = [1, rows(width) as i64, shared.vocab_len as i64];
                // SAFETY: no shape is larger than the buffer, which lives beside the tensors and is dropped after them.
                unsafe { Tensor::over(&shared.memory, buffer.data(), &shape, element) }
            })
            .collect::<Result<_>>()?;
        Ok(Self { tensors, buffer, rows_max })
    }
}
