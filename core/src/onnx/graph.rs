//! An opened graph: session and weights, from which models with caches of their own are made.

use std::sync::Arc;

use super::kv_cache::bytes_per_token;
use super::model::OnnxModel;
use super::options::CacheLayout;
use super::session::SharedSession;
use crate::Result;

/// A session with its weights. Holds no cache: each model made from it has its own. Cheap to clone.
#[derive(Clone)]
pub struct OnnxGraph {
    shared: Arc<SharedSession>,
    plan: Plan,
}

/// What the models of a graph have in common, besides the session.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Tokens per pass of a prefill.
    pub(super) chunk_len: usize,
    /// Widths that short passes are padded to, ascending.
    pub(super) width_buckets: Vec<usize>,
    /// Tokens that a cache holds.
    pub(super) capacity: usize,
}

impl OnnxGraph {
    pub(super) fn new(shared: Arc<SharedSession>, plan: Plan) -> Self {
        Self { shared, plan }
    }

    /// A model with an empty cache of full size.
    ///
    /// # Errors
    /// `OutOfMemory` if there is no room for the cache.
    pub fn model(&self) -> Result<OnnxModel> {
        OnnxModel::new(self.clone())
    }

    /// A model with a cache for `context_len` tokens, or as many as the graph allows: for a short look at it.
    ///
    /// # Errors
    /// `OutOfMemory` if there is no room for the cache.
    pub fn model_of(&self, context_len: usize) -> Result<OnnxModel> {
        let plan = Plan { capacity: context_len.min(self.plan.capacity), ..self.plan.clone() };
        OnnxModel::new(Self { plan, ..self.clone() })
    }

    /// Width of a logits row in tokens.
    pub fn vocab_len(&self) -> usize {
        self.shared.vocab_len
    }

    /// True if a pass returns a row for every token.
    pub fn scores_every_row(&self) -> bool {
        self.shared.scores_every_row
    }

    /// Most tokens that a model's cache holds.
    pub fn context_len_max(&self) -> usize {
        self.plan.capacity
    }

    /// Bytes of one model's cache when full.
    pub fn cache_bytes(&self) -> usize {
        self.plan.capacity * self.cache_bytes_per_token()
    }

    /// Bytes that one token takes in the cache.
    pub fn cache_bytes_per_token(&self) -> usize {
        bytes_per_token(&self.shared.signature, self.shared.layout)
    }

    /// The cache layout in use.
    pub fn layout(&self) -> CacheLayout {
        self.shared.layout
    }

    /// Tokens per pass of a prefill.
    pub fn chunk_len(&self) -> usize {
        self.plan.chunk_len
    }

    pub(super) fn shared(&self) -> &Arc<SharedSession> {
        &self.shared
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn plan_mut(&mut self) -> &mut Plan {
        &mut self.plan
    }
}

impl std::fmt::Debug for OnnxGraph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxGraph")
            .field("layout", &self.shared.layout)
            .field("vocab_len", &self.shared.vocab_len)
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}
