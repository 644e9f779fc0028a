//! A running generation: pulled event by event, cancelled and released from any thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use drafthorse::{CancelHandle, Chunk, Event};

use crate::direct::Registration;
use crate::guard::{guard, guard_quiet};
use crate::{DrafthorseError, GenerationEvent, Result};

/// A running generation. Releasing it, or dropping it, cancels it and frees the session.
#[derive(uniffi::Object)]
pub struct Generation {
    /// None where the events are made up.
    cancel: Option<CancelHandle>,
    /// Set before `release` waits: what comes from then on is cut short by it.
    released: AtomicBool,
    run: Mutex<Run>,
    pub(crate) registration: OnceLock<Registration>,
}

enum Run {
    Running(Box<dyn Iterator<Item = drafthorse::Result<Event>> + Send>),
    /// An error that `next` has still to tell; it was the end.
    #[cfg(not(target_os = "ios"))]
    Failed(DrafthorseError),
    /// The last event was delivered, or an error was.
    Ended,
    /// Released before its end.
    Released,
}

impl Run {
    fn next(&mut self) -> Result<Option<GenerationEvent>> {
        // Taken out while it runs, so that one that panics or fails is gone.
        let mut generation = match std::mem::replace(self, Self::Ended) {
            Self::Running(generation) => generation,
            #[cfg(not(target_os = "ios"))]
            Self::Failed(error) => return Err(error),
            Self::Ended => return Ok(None),
            Self::Released => {
                *self = Self::Released;
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
            *self = Self::Running(generation);
        }
        Ok(Some(event))
    }
}

impl Generation {
    pub(crate) fn new(generation: drafthorse::Generation) -> Self {
        let cancel = Some(generation.cancel_handle());
        Self::over(cancel, Box::new(generation))
    }

    fn over(cancel: Option<CancelHandle>, events: Box<dyn Iterator<Item = drafthorse::Result<Event>> + Send>) -> Self {
        let run = Mutex::new(Run::Running(events));
        Self { cancel, released: AtomicBool::new(false), run, registration: OnceLock::new() }
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step of `run`, unless the generation was released meanwhile.
    fn step(&self, run: &mut Run) -> Result<Option<GenerationEvent>> {
        match run.next()? {
            Some(_) if self.released.load(Ordering::Acquire) => Err(DrafthorseError::closed("generation")),
            event => Ok(event),
        }
    }

    /// [`Self::next`] for a caller that cannot take an error: it is left for `next` to tell.
    #[cfg(not(target_os = "ios"))]
    pub(crate) fn next_or_leave(&self) -> Option<GenerationEvent> {
        let mut run = self.run();
        guard(|| self.step(&mut run)).unwrap_or_else(|error| {
            if !matches!(*run, Run::Released) {
                *run = Run::Failed(error);
            }
            None
        })
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
        guard(|| self.step(&mut self.run()))
    }

    /// Asks the generation to stop and returns at once. The events end with `Finished` and stop reason `Cancelled`,
    /// within one operator of the forward pass, also in prefill.
    pub fn cancel(&self) {
        guard_quiet("cancel", || self.ask_to_stop());
    }

    /// Cancels, waits until nothing runs, and frees the session. Any number of times, from any thread.
    pub fn release(&self) {
        guard_quiet("release", || {
            self.released.store(true, Ordering::Release);
            self.ask_to_stop();
            let mut run = self.run();
            if matches!(*run, Run::Running(_)) {
                *run = Run::Released;
            }
        });
    }
}

/// Longest sleep before a made-up round.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A generation of `rounds` made-up events of `tokens_per_round` tokens each, four characters a token, without a model:
/// pulling them takes what the border costs. Before each round the library sleeps `pauses` times for `pause_us`, as
/// long as a model would compute. Ends without an account.
#[uniffi::export]
pub fn measure_border(rounds: u64, tokens_per_round: u32, pauses: u32, pause_us: u64) -> Arc<Generation> {
    let tokens_per_round = tokens_per_round.min(64) as usize;
    let pause = Duration::from_micros(pause_us).min(PAUSE_MAX);
    let token = |place: usize| drafthorse::Token { id: place as u32, drafted: place > 0, text_end: 4 * (place + 1) };
    let chunk = Chunk { text: "tokn".repeat(tokens_per_round), tokens: (0..tokens_per_round).map(token).collect() };
    let events = (0..rounds).map(move |_| {
        (0..pauses).for_each(|_| thread::sleep(pause));
        Ok(Event::Tokens(chunk.clone()))
    });
    Arc::new(Generation::over(None, Box::new(events)))
}
