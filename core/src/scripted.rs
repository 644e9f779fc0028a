//! Models and drafters that follow a script, for tests of what is built on the traits.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{DraftSink, Drafter, Error, Interrupt, Logits, Model, Result, TokenId};

/// A model whose logits are a function of the tokens so far.
pub struct ScriptedModel {
    vocab_len: usize,
    context_len_max: usize,
    scores_every_row: bool,
    tokens: Vec<TokenId>,
    logits: Vec<f32>,
    passes: Vec<usize>,
    script: Script,
    interrupted: Arc<Flag>,
}

/// Writes the `[vocab_len]` logits of what follows the tokens.
type Script = Box<dyn Fn(&[TokenId], &mut [f32]) + Send>;

impl ScriptedModel {
    /// A model of `vocab_len` tokens whose `script` gets all tokens so far and a row of zeros to write to.
    pub fn new(vocab_len: usize, script: impl Fn(&[TokenId], &mut [f32]) + Send + 'static) -> Self {
        Self {
            vocab_len,
            context_len_max: 4096,
            scores_every_row: true,
            // Room enough that tests of allocation see the code under test and not this.
            tokens: Vec::with_capacity(8192),
            logits: Vec::with_capacity(vocab_len * 17),
            passes: Vec::with_capacity(8192),
            script: Box::new(script),
            interrupted: Arc::default(),
        }
    }

    /// A model that is sure of `text`, position by position, whatever it is fed; past its end it repeats it.
    pub fn reciting(vocab_len: usize, text: &[TokenId]) -> Self {
        let text = text.to_vec();
        Self::new(vocab_len, move |tokens, row| row[text[tokens.len() % text.len()] as usize] = 10.0)
    }

    /// The model with a cache of `context_len_max` tokens.
    #[must_use]
    pub fn with_context_len_max(mut self, context_len_max: usize) -> Self {
        self.context_len_max = context_len_max;
        self
    }

    /// The model with last-token logits only.
    #[must_use]
    pub fn with_last_row_only(mut self) -> Self {
        self.scores_every_row = false;
        self
    }

    /// Appends `tokens` and makes the last `rows` rows.
    fn run(&mut self, tokens: &[TokenId], rows: usize) -> Result<Logits<'_>> {
        let needed = self.tokens.len() + tokens.len();
        if needed > self.context_len_max {
            return Err(Error::ContextFull { needed, capacity: self.context_len_max });
        }
        if self.interrupted.0.load(Ordering::Acquire) {
            return Err(Error::Cancelled);
        }
        self.passes.push(tokens.len());
        self.logits.clear();
        for (index, &token) in tokens.iter().enumerate() {
            self.tokens.push(token);
            if index + rows >= tokens.len() {
                let start = self.logits.len();
                self.logits.resize(start + self.vocab_len, 0.0);
                (self.script)(&self.tokens, &mut self.logits[start..]);
            }
        }
        Ok(Logits::new(&self.logits, self.vocab_len))
    }

    /// The tokens in the cache.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Width in tokens of every forward pass so far.
    pub fn passes(&self) -> &[usize] {
        &self.passes
    }
}

impl Model for ScriptedModel {
    fn vocab_len(&self) -> usize {
        self.vocab_len
    }

    fn len(&self) -> usize {
        self.tokens.len()
    }

    fn context_len_max(&self) -> usize {
        self.context_len_max
    }

    fn cache_bytes(&self) -> usize {
        self.context_len_max * size_of::<TokenId>()
    }

    fn scores_every_row(&self) -> bool {
        self.scores_every_row
    }

    fn score(&mut self, tokens: &[TokenId]) -> Result<Logits<'_>> {
        let rows = if self.scores_every_row { tokens.len() } else { 1 };
        self.run(tokens, rows)
    }

    fn prefill(&mut self, tokens: &[TokenId]) -> Result<Logits<'_>> {
        self.run(tokens, 1)
    }

    fn truncate(&mut self, len: usize) -> Result<()> {
        self.tokens.truncate(len);
        Ok(())
    }

    fn interrupt(&self) -> Arc<dyn Interrupt> {
        self.interrupted.clone()
    }
}

impl fmt::Debug for ScriptedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedModel").field("tokens", &self.tokens).field("passes", &self.passes).finish()
    }
}

#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Interrupt for Flag {
    fn interrupt(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn clear(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A drafter that offers what a function of the context says, one-hot.
pub struct ScriptedDrafter {
    script: ProposalScript,
    truncations: Vec<usize>,
}

/// The proposal after the confirmed tokens.
type ProposalScript = Box<dyn Fn(&[TokenId]) -> Vec<TokenId> + Send>;

impl ScriptedDrafter {
    /// A drafter whose `script` gets the confirmed tokens and returns the proposal.
    pub fn new(script: impl Fn(&[TokenId]) -> Vec<TokenId> + Send + 'static) -> Self {
        Self { script: Box::new(script), truncations: Vec::new() }
    }

    /// A drafter that continues `text` from wherever the context ends; past its end it has nothing to offer.
    pub fn reciting(text: &[TokenId]) -> Self {
        let text = text.to_vec();
        Self::new(move |context| text.get(context.len()..).unwrap_or_default().to_vec())
    }

    /// Every length that was truncated to.
    pub fn truncations(&self) -> &[usize] {
        &self.truncations
    }
}

impl Drafter for ScriptedDrafter {
    fn propose(&mut self, context: &[TokenId], len_max: usize, sink: &mut dyn DraftSink) -> Result<()> {
        for token in (self.script)(context).into_iter().take(len_max) {
            if !sink.offer_token(token)? {
                break;
            }
        }
        Ok(())
    }

    fn truncate(&mut self, len: usize) -> Result<()> {
        self.truncations.push(len);
        Ok(())
    }
}

impl fmt::Debug for ScriptedDrafter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedDrafter").field("truncations", &self.truncations).finish()
    }
}

/// A sink that takes the likeliest token of every row, and whatever is offered, up to a number.
#[derive(Debug)]
pub struct RecordingSink {
    /// What was taken.
    pub tokens: Vec<TokenId>,
    /// The rows that were offered.
    pub rows: Vec<Vec<f32>>,
    /// Most tokens taken.
    pub wanted: usize,
}

impl Default for RecordingSink {
    fn default() -> Self {
        Self { tokens: Vec::new(), rows: Vec::new(), wanted: usize::MAX }
    }
}

impl DraftSink for RecordingSink {
    fn offer_logits(&mut self, row: &[f32]) -> Result<Option<TokenId>> {
        let best = (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
        self.rows.push(row.to_vec());
        Ok(self.offer_token(best as TokenId)?.then_some(best as TokenId))
    }

    fn offer_token(&mut self, token: TokenId) -> Result<bool> {
        let wanted = self.tokens.len() < self.wanted;
        if wanted {
            self.tokens.push(token);
        }
        Ok(wanted)
    }
}
