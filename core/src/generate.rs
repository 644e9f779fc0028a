//! One generation: prefill, then rounds until something ends it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{
    Account, CancelHandle, DraftChoice, DraftSource, DraftedRound, Error, GenerationPlan, Known, OutputText,
    Passthrough, Recorder, Result, RoundRecord, Stop, StopReason, TokenId, TokenMaskSource,
    round::{Pair, Rounds},
    state::Held,
    stop::TOKEN_TEXT_LEN,
};

/// Prompt tokens between two looks at the cancel handle and two progress events.
const PREFILL_EVENT_LEN: usize = 256;

/// What a generation tells while it runs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Part of the prompt is in the cache: at the end all of it but the last token, which the first round scores.
    Prefill {
        /// Prompt tokens in the cache, those kept from the last turn included.
        done: usize,
        /// Prompt tokens.
        total: usize,
    },
    /// A round has confirmed tokens.
    Tokens(Chunk),
    /// The generation has ended; nothing follows.
    Finished(Box<Account>),
}

/// The tokens that a round confirmed and the text that can be shown by now.
///
/// Text lags behind tokens while a character is incomplete or a stop text may still match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Whole characters, to be appended to what came before.
    pub text: String,
    /// The tokens of this round, a stop token included; it has no text.
    pub tokens: Vec<Token>,
}

/// A confirmed token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Id in the target's vocabulary.
    pub id: TokenId,
    /// True if the drafter proposed it, false if the target supplied it.
    pub drafted: bool,
    /// Bytes of the chunk's text that were ready after this token.
    pub text_end: usize,
}

/// A running generation: an iterator of events, the last of which is `Finished`.
///
/// After an error, or after `Finished`, it yields `None`. A cancelled generation ends with `Finished` and stop reason
/// `Cancelled`. Dropping it ends it and leaves the session usable at its last confirmed token.
pub struct Generation {
    held: Held,
    cancel: CancelHandle,
    rounds: Rounds,
    output: OutputText,
    /// What the caller gave back: the memory of the next chunk.
    spare: Chunk,
    start: Instant,
    /// When the last event (or this) was handed over, and the time that the caller has kept to itself since the start.
    handed_over: Option<Instant>,
    idle: Duration,
    recorder: Recorder,
    /// Position of the first token that is not of the prompt.
    output_start: usize,
    max_tokens: usize,
    /// True if the context, not the caller, set `max_tokens`.
    limited_by_context: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Prefill,
    Decode,
    Ending(StopReason),
    Ended,
}

impl Generation {
    /// Prepares a generation over `held`, whose history is the prompt. It was asked for at `start`.
    pub(crate) fn new(
        mut held: Held,
        plan: &GenerationPlan,
        output: OutputText,
        constraint: Option<Box<dyn TokenMaskSource>>,
        start: Instant,
    ) -> Self {
        let state = held.state_mut();
        let (prompt_len, context_len) = (state.history.len(), state.target.context_len_max());
        let context_left = context_len - prompt_len + 1;
        let max_tokens = plan.max_tokens.min(context_left);
        let drafts = state.drafter.is_some() || (constraint.is_some() && state.target.scores_every_row());
        let draft_len_max = if drafts { plan.draft_length.len_max() } else { 0 };
        let rounds = Rounds::new(plan, state.history.vocab_len(), draft_len_max, context_len, constraint);
        state.draft_length.set_mode(plan.draft_length, rounds.allows_pruning());
        let known = Known {
            prompt_tokens: prompt_len,
            prompt_tokens_kept: state.target.len(),
            cache_bytes: state.cache_bytes(),
            nodes: Arc::clone(&state.nodes),
            seed: plan.seed,
            lossless: rounds.is_lossless() && (state.rows_independent || draft_len_max == 0),
        };
        let spare = Chunk {
            text: String::with_capacity(TOKEN_TEXT_LEN * (rounds.draft_len_max() + 1)),
            tokens: Vec::with_capacity(rounds.draft_len_max() + 1),
        };
        Self {
            cancel: CancelHandle::new(state.interrupts()),
            recorder: Recorder::new(known, max_tokens),
            limited_by_context: plan.max_tokens >= context_left,
            phase: Phase::Prefill,
            output_start: prompt_len,
            max_tokens,
            start,
            handed_over: Some(Instant::now()),
            idle: Duration::ZERO,
            rounds,
            output,
            spare,
            held,
        }
    }

    /// A handle that cancels this generation from any thread.
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    /// Takes back a chunk that is no longer needed: the next one is written into its memory. With a caller that gives
    /// every chunk back, a round allocates nothing on the heap (shared-buffer caches, no constraint).
    pub fn reuse(&mut self, chunk: Chunk) {
        self.spare = chunk;
    }

    /// Time since the start without what the caller did between events.
    fn elapsed(&self) -> Duration {
        self.start.elapsed().saturating_sub(self.idle)
    }

    fn step(&mut self) -> Option<Result<Event>> {
        match self.advance() {
            Ok(event) => event.map(Ok),
            Err(Error::Cancelled) if self.cancel.is_cancelled() => {
                self.phase = Phase::Ending(StopReason::Cancelled);
                let mut chunk = Chunk::default();
                self.output.finish(&mut chunk.text);
                Some(Ok(if chunk.text.is_empty() { self.end(StopReason::Cancelled) } else { Event::Tokens(chunk) }))
            }
            Err(error) => {
                self.phase = Phase::Ended;
                Some(Err(error))
            }
        }
    }

    fn advance(&mut self) -> Result<Option<Event>> {
        match self.phase {
            Phase::Prefill => self.prefill().map(Some),
            Phase::Decode => self.round().map(Some),
            Phase::Ending(reason) => Ok(Some(self.end(reason))),
            Phase::Ended => Ok(None),
        }
    }

    fn prefill(&mut self) -> Result<Event> {
        self.cancel.check()?;
        let state = self.held.state_mut();
        let total = self.output_start;
        let start = state.target.len();
        // The last token is the anchor: the first round scores it.
        let end = (start + PREFILL_EVENT_LEN).min(total - 1);
        if start < end {
            let begun = Instant::now();
            state.target.prefill(&state.history.tokens()[start..end])?;
            self.recorder.prefill(end - start, begun.elapsed());
        }
        if end == total - 1 {
            self.phase = Phase::Decode;
        }
        Ok(Event::Prefill { done: end, total })
    }

    fn round(&mut self) -> Result<Event> {
        self.cancel.check()?;
        let state = self.held.state_mut();
        let first = state.history.len();
        let limit = state.draft_len_limit(self.max_tokens - (first - self.output_start));
        let forced = self.rounds.look_ahead(limit);
        let source = state.draft_source(forced);
        let forced = forced.len();
        let choice = match &state.drafter {
            Some(_) => state.draft_length.choose(source, self.rounds.draft_len_max().min(limit) - forced),
            None if state.target.scores_every_row() => DraftChoice::nothing(Passthrough::NoDrafter),
            None => DraftChoice::nothing(Passthrough::LastRowOnly),
        };
        if choice.len > 0 && source == DraftSource::Model {
            // As far as the prompt is new to it: once, and no part of what drafting costs.
            let begun = Instant::now();
            state.read_prompt(self.output_start - 1)?;
            self.recorder.drafter_prefill(begun.elapsed());
        }
        let mut pair =
            Pair { target: &mut *state.target, drafter: state.drafter.as_deref_mut(), history: &mut state.history };
        let outcome = self.rounds.run(&mut pair, choice.len, &choice.stop)?;
        state.draft_length.observe(&DraftedRound {
            source,
            forced: outcome.forced,
            confidences: self.rounds.confidences(),
            confidences_known: choice.stop.is_active(),
            checked: outcome.proposed - outcome.forced,
            accepted: outcome.accepted,
            foreseen: outcome.foreseen,
            time: outcome.time,
        });

        let (chunk, ended) = self.show(first, outcome.accepted)?;
        let record = RoundRecord {
            drafted: outcome.forced + self.rounds.confidences().len(),
            proposed: outcome.proposed,
            accepted: outcome.accepted,
            emitted: chunk.tokens.len(),
            passthrough: choice.passthrough.filter(|_| outcome.proposed == 0),
            draft: outcome.time.draft,
            score: outcome.time.score,
            accept: outcome.accept,
        };
        self.recorder.round(&record, self.elapsed());
        if let Some(reason) = ended {
            self.phase = Phase::Ending(reason);
        }
        Ok(Event::Tokens(chunk))
    }

    fn end(&mut self, reason: StopReason) -> Event {
        self.phase = Phase::Ended;
        self.cancel.finish();
        Event::Finished(Box::new(self.recorder.account(reason, self.elapsed())))
    }

    /// The text of the tokens from position `first` on, up to where the generation ends; what lies beyond is forgotten.
    fn show(&mut self, first: usize, accepted: usize) -> Result<(Chunk, Option<StopReason>)> {
        let state = self.held.state_mut();
        let mut chunk = std::mem::take(&mut self.spare);
        chunk.text.clear();
        chunk.tokens.clear();
        chunk.tokens.reserve(state.history.len() - first);
        let mut ended = None;
        for (offset, &id) in state.history.tokens()[first..].iter().enumerate() {
            let stop = self.output.push(id, &mut chunk.text);
            chunk.tokens.push(Token { id, drafted: offset < accepted, text_end: chunk.text.len() });
            let emitted = first + offset + 1 - self.output_start;
            ended = match stop {
                Some(Stop::Token) => Some(StopReason::StopToken),
                Some(Stop::Text(_)) => Some(StopReason::StopSequence),
                None if emitted < self.max_tokens => None,
                None if self.limited_by_context => Some(StopReason::ContextFull),
                None => Some(StopReason::MaxTokens),
            };
            if ended.is_some() {
                self.output.finish(&mut chunk.text);
                break;
            }
        }
        let confirmed = first + chunk.tokens.len();
        if confirmed < state.history.len() {
            state.truncate(confirmed)?;
        }
        Ok((chunk, ended))
    }
}

impl Iterator for Generation {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        self.idle += self.handed_over.take().map_or(Duration::ZERO, |instant| instant.elapsed());
        let event = self.step();
        self.handed_over = Some(Instant::now());
        event
    }
}

impl Drop for Generation {
    /// Lets go of the models, so that a late cancel cannot reach the next generation.
    fn drop(&mut self) {
        self.cancel.finish();
    }
}
