//! A running generation: pulled event by event, cancelled and released from any thread.

use std::sync::{Arc, Mutex, PoisonError};

use drafthorse::{CancelHandle, Chunk, Event};

use crate::guard::{guard, guard_quiet};
use crate::{DrafthorseError, GenerationEvent, Result};

/// A running generation. Releasing it, or dropping it, cancels it and frees the session.
#[derive(uniffi::Object)]
pub struct Generation {
    /// None where the events are made up.
    cancel: Option<CancelHandle>,
    run: Mutex<Run>,
}

enum Run {
    Running(Box<dyn Iterator<Item = drafthorse::Result<Event>> + Send>),
    /// The last event was delivered, or an error was.
    Ended,
    /// Released before its end.
    Released,
}

impl Generation {
    pub(crate) fn new(generation: drafthorse::Generation) -> Self {
        let cancel = Some(generation.cancel_handle());
        Self { cancel, run: Mutex::new(Run::Running(Box::new(generation))) }
    }

    fn ask_to_stop(&self) {
        if let Some(cancel) = &self.cancel {
            cancel.cancel();
        }
    }
}

#[uniffi::export]
impl Generation {
    /// Waits for the next event; `None` after the last one. The session is free again once `Finished` or an error came.
    ///
    /// # Errors
    /// `InvalidLogits`, `Constraint` or `Internal` of the runtime; `Closed` if the generation was released before its
    /// end.
    pub fn next(&self) -> Result<Option<GenerationEvent>> {
        guard(|| {
            let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
            // Taken out while it runs, so that one that panics or fails is gone.
            let mut generation = match std::mem::replace(&mut *run, Run::Ended) {
                Run::Running(generation) => generation,
                Run::Ended => return Ok(None),
                Run::Released => {
                    *run = Run::Released;
                    return Err(DrafthorseError::closed("generation"));
                }
            };
            let event = loop {
                let Some(event) = generation.next().transpose()? else { return Ok(None) };
                if let Some(event) = GenerationEvent::of(event) {
                    break event;
                }
            };
            if !matches!(event, GenerationEvent::Finished { .. }) {
                *run = Run::Running(generation);
            }
            Ok(Some(event))
        })
    }

    /// Asks the generation to stop and returns at once. The events end with `Finished` and stop reason `Cancelled`,
    /// within one operator of the forward pass, also in prefill.
    pub fn cancel(&self) {
        guard_quiet("cancel", || self.ask_to_stop());
    }

    /// Cancels, waits until nothing runs, and frees the session. Any number of times, from any thread.
    pub fn release(&self) {
        guard_quiet("release", || {
            self.ask_to_stop();
            let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(*run, Run::Running(_)) {
                *run = Run::Released;
            }
        });
    }
}

/// A generation of `rounds` made-up events of `tokens_per_round` tokens each, four characters a token, without a model:
/// pulling them takes what the border costs. Ends without an account.
#[uniffi::export]
pub fn measure_border(rounds: u64, tokens_per_round: u32) -> Arc<Generation> {
    let tokens_per_round = tokens_per_round.min(64) as usize;
    let token = |place: usize| drafthorse::Token { id: place as u32, drafted: place > 0, text_end: 4 * (place + 1) };
    let chunk = Chunk { text: "tokn".repeat(tokens_per_round), tokens: (0..tokens_per_round).map(token).collect() };
    let events = (0..rounds).map(move |_| Ok(Event::Tokens(chunk.clone())));
    Arc::new(Generation { cancel: None, run: Mutex::new(Run::Running(Box::new(events))) })
}
