//! Generation with a KV cache: a batch of rows that advance together, left-padded to one length.

use burn::tensor::{Int, Tensor, TensorData};

use super::Llama;
use super::forward::MASKED;
use super::fused::rms_norm;

/// Keys and values of the tokens seen so far, for a batch of left-padded rows.
pub struct Cache {
    /// Per layer `[batch, kv_heads, capacity, head_len]`.
    keys: Vec<Tensor<4>>,
    values: Vec<Tensor<4>>,
    /// Padding columns before each row's first token.
    padding: Vec<usize>,
    len: usize,
    capacity: usize,
}

impl Cache {
    /// An empty cache for `padding.len()` rows; `padding[i]` leading columns of row `i` will be ignored.
    ///
    /// # Panics
    /// If `capacity` is above the model's context.
    pub fn new(model: &Llama, padding: Vec<usize>, capacity: usize) -> Self {
        let config = model.config();
        assert!(capacity <= config.context_len, "capacity {capacity} is above the context {}", config.context_len);
        let shape = [padding.len(), config.kv_heads, capacity, config.head_len];
        let buffers = || (0..config.layers).map(|_| Tensor::zeros(shape, &model.device())).collect();
        Self { keys: buffers(), values: buffers(), padding, len: 0, capacity }
    }

    /// Columns seen so far, padding included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True before the first token.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Columns that the cache can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Keeps only the rows `kept`, in that order: finished rows cost nothing more.
    pub fn keep_rows(&mut self, kept: &[usize]) {
        let Some(first) = self.keys.first() else { return };
        let indices: Vec<i32> = kept.iter().map(|&row| row as i32).collect();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [kept.len()]), &first.device());
        for buffer in self.keys.iter_mut().chain(&mut self.values) {
            *buffer = buffer.clone().select(0, indices.clone());
        }
        self.padding = kept.iter().map(|&row| self.padding[row]).collect();
    }
}

impl Llama {
    /// Appends `tokens` `[batch, seq]` to the cache; logits of the last column, `[batch, head_rows]`.
    ///
    /// # Panics
    /// If the cache is full or has another number of rows.
    pub fn advance(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<2> {
        let [batch, seq] = tokens.dims();
        let total = cache.len + seq;
        assert!(batch == cache.padding.len() && total <= cache.capacity, "cache of {} columns is full", cache.capacity);
        let rotation = self.rotation(cache.len, seq);
        let mask = self.cache_mask(cache, seq);
        let mut hidden = self.embed(tokens);
        for (index, layer) in self.layers.iter().enumerate() {
            let (query, key, value) = layer.project(self, hidden.clone(), batch, seq, &rotation);
            let key = append(&mut cache.keys[index], key, cache.len);
            let value = append(&mut cache.values[index], value, cache.len);
            hidden = hidden + layer.attend(self, query, key, value, Some(mask.clone()));
            hidden = hidden.clone() + layer.feed_forward(self, hidden);
        }
        cache.len = total;
        let last = hidden.reshape([batch, seq, self.config.hidden_len]).narrow(1, seq - 1, 1);
        let last = last.reshape([batch, self.config.hidden_len]);
        self.logits(rms_norm(last, self.norm.clone(), self.config.norm_eps))
    }

    /// Rotary positions count padding too: only differences of positions matter, and those are right.
    fn cache_mask(&self, cache: &Cache, seq: usize) -> Tensor<4> {
        let group = self.config.heads / self.config.kv_heads;
        let total = cache.len + seq;
        let mut values = Vec::with_capacity(cache.padding.len() * group * seq * total);
        for &padding in &cache.padding {
            for row in 0..group * seq {
                let position = cache.len + row % seq;
                // A padding row sees itself, so that its softmax stays finite.
                let seen = |column: usize| column == position || (column >= padding && column < position);
                values.extend((0..total).map(|column| if seen(column) { 0.0 } else { MASKED }));
            }
        }
        let shape = [cache.padding.len(), 1, group * seq, total];
        Tensor::from_data(TensorData::new(values, shape), &self.device())
    }
}

/// Writes `new` at column `len` and returns the columns so far.
fn append(buffer: &mut Tensor<4>, new: Tensor<4>, len: usize) -> Tensor<4> {
    let [batch, heads, seq, head_len] = new.dims();
    buffer.inplace(|buffer| buffer.slice_assign([0..batch, 0..heads, len..len + seq, 0..head_len], new));
    buffer.clone().narrow(2, 0, len + seq)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::{ModelConfig, token_tensor, weights::host};
    use super::*;

    #[test]
    fn cached_steps_equal_the_whole_pass_for_padded_rows() {
        let model = Llama::random(ModelConfig { qkv_bias: true, ..ModelConfig::tiny() }, 5, &Device::flex()).unwrap();
        let device = model.device();
        let vocab = model.config().vocab_len;
        let long = [3u32, 4, 5, 6, 7, 8];
        let mut cache = Cache::new(&model, vec![0, 2], 8);
        let mut last = model.advance(token_tensor(&[[3, 4, 5, 6], [0, 0, 9, 10]], &device), &mut cache);
        for next in [[7, 11], [8, 12]] {
            last = model.advance(token_tensor(&[[next[0]], [next[1]]], &device), &mut cache);
        }
        let found = host(last);
        for (row, tokens) in [&long[..], &[9, 10, 11, 12]].into_iter().enumerate() {
            let whole = host(model.forward(token_tensor(&[tokens], &device)));
            for (x, y) in found[row * vocab..(row + 1) * vocab].iter().zip(&whole[whole.len() - vocab..]) {
                assert!((x - y).abs() < 1e-5, "{x} {y}");
            }
        }
    }

    #[test]
    fn dropped_rows_leave_the_others_as_they_were() {
        let model = Llama::random(ModelConfig::tiny(), 5, &Device::flex()).unwrap();
        let device = model.device();
        let mut both = Cache::new(&model, vec![0, 0], 8);
        model.advance(token_tensor(&[[1, 2], [3, 4]], &device), &mut both);
        both.keep_rows(&[1]);
        let mut alone = Cache::new(&model, vec![0], 8);
        model.advance(token_tensor(&[[3, 4]], &device), &mut alone);
        let next = || token_tensor(&[[5]], &device);
        let (x, y) = (host(model.advance(next(), &mut both)), host(model.advance(next(), &mut alone)));
        assert!(x.iter().zip(&y).all(|(x, y)| (x - y).abs() < 1e-5));
    }
}
