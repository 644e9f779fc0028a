//! A conversation with its own caches.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use crate::guard::{guard, guard_quiet};
use crate::number::size;
use crate::prompt::Owned;
use crate::{DrafthorseError, Generation, GenerationOptions, Prompt, Result};

/// A conversation with its own caches. One generation runs at a time; a second one is `SessionBusy`.
#[derive(uniffi::Object)]
pub struct Session {
    /// Empty once released. Calls share it, so that `release` waits for those under way.
    session: RwLock<Option<drafthorse::Session>>,
    /// The generation that may still run.
    generation: Mutex<Weak<Generation>>,
}

impl Session {
    pub(crate) fn new(session: drafthorse::Session) -> Self {
        Self { session: RwLock::new(Some(session)), generation: Mutex::new(Weak::new()) }
    }

    fn call<T>(&self, call: impl FnOnce(&drafthorse::Session) -> Result<T>) -> Result<T> {
        guard(|| {
            let session = self.session.read().unwrap_or_else(PoisonError::into_inner);
            call(session.as_ref().ok_or_else(|| DrafthorseError::closed("session"))?)
        })
    }
}

#[uniffi::export]
impl Session {
    /// Starts a generation after `prompt`. What the prompt shares with the session's last tokens is not computed again.
    ///
    /// # Errors
    /// `SessionBusy` if another generation runs; `InvalidOptions`; `ContextFull` if the prompt does not fit;
    /// `ChatTemplate`, `Constraint` or `PackInvalid` where prompt or constraint cannot be used; `Closed`. The session is
    /// unchanged.
    pub fn generate(&self, prompt: Prompt, options: GenerationOptions) -> Result<Arc<Generation>> {
        self.call(|session| {
            let prompt = Owned::try_from(prompt)?;
            let generation = Arc::new(Generation::new(session.generate(prompt.as_prompt(), &options.into())?));
            *self.generation.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&generation);
            Ok(generation)
        })
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// `SessionBusy` if a generation runs; `Closed`.
    pub fn reset(&self) -> Result<()> {
        self.call(|session| Ok(session.reset()?))
    }

    /// Forgets every token from position `token_count` on.
    ///
    /// # Errors
    /// `SessionBusy` if a generation runs; `Closed`.
    pub fn rewind(&self, token_count: u64) -> Result<()> {
        self.call(|session| Ok(session.rewind(size(token_count))?))
    }

    /// The confirmed tokens, prompt and output.
    ///
    /// # Errors
    /// `SessionBusy` if a generation runs; `Closed`.
    pub fn tokens(&self) -> Result<Vec<u32>> {
        self.call(|session| Ok(session.tokens()?))
    }

    /// Cancels what runs, waits until nothing does, and frees the caches. Any number of times, from any thread.
    pub fn release(&self) {
        guard_quiet("release", || {
            let session = self.session.write().unwrap_or_else(PoisonError::into_inner).take();
            let generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
            if let Some(generation) = generation {
                generation.release();
            }
            drop(session);
        });
    }
}
