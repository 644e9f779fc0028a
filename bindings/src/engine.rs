//! An opened pack: weights, tokenizer and measured costs, shared by its sessions.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use crate::guard::{guard, guard_quiet};
use crate::{DrafthorseError, EngineOptions, EngineReport, Result, Session, settings};

/// Where a session's drafts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Drafting {
    /// The pack's drafter if it has one, prompt lookup otherwise.
    Auto,
    /// Nowhere.
    TargetAlone,
    /// The drafter model.
    Model,
    /// Prompt lookup: what followed the last tokens when they occurred before.
    Lookup,
    /// Prompt lookup where its match is long, the drafter model elsewhere.
    Both,
}

/// What happens when a conversation outgrows the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum ContextPolicy {
    /// `ContextFull`.
    Fail,
    /// Leave out the oldest turns after the system prompt until the rest fits with room for an answer: `max_tokens`, or a
    /// quarter of the context, never more than half of it. Needs `Prompt::Messages`.
    DropOldestTurns,
}

/// How to start a session. Absent fields take the library's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, uniffi::Record)]
pub struct SessionOptions {
    /// Where drafts come from.
    #[uniffi(default)]
    pub drafting: Option<Drafting>,
    /// What happens when a conversation outgrows the context.
    #[uniffi(default)]
    pub context_policy: Option<ContextPolicy>,
}

/// An opened pack: weights, tokenizer and measured costs, shared by its sessions.
#[derive(uniffi::Object)]
pub struct Engine {
    /// Empty once released. Calls share it, so that `release` waits for those under way.
    engine: RwLock<Option<drafthorse::Engine>>,
    report: EngineReport,
    /// Sessions that may still live: releasing the engine releases them.
    sessions: Mutex<Vec<Weak<Session>>>,
}

impl Engine {
    fn call<T>(&self, call: impl FnOnce(&drafthorse::Engine) -> Result<T>) -> Result<T> {
        guard(|| {
            let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
            call(engine.as_ref().ok_or_else(|| DrafthorseError::closed("engine"))?)
        })
    }

    fn remember(&self, session: &Arc<Session>) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Arc::downgrade(session));
    }
}

#[uniffi::export]
impl Engine {
    /// Opens the pack, onnxruntime-genai folder or Hugging Face folder at `path`. Takes as long as loading the weights.
    ///
    /// # Errors
    /// `PackNotFound`, `PackInvalid`, `PackDamaged`, `VocabularyMismatch`, `Unsupported`, `RuntimeLibrary`,
    /// `ProviderUnavailable`, `OutOfMemoryBudget`, `InvalidOptions`, `Io`. Nothing is loaded before the folder was
    /// checked.
    #[uniffi::constructor]
    pub fn open(path: String, options: EngineOptions) -> Result<Arc<Self>> {
        guard(|| {
            let engine = drafthorse::Engine::open(path, &options.with(settings::current()))?;
            let report = EngineReport::from(&engine);
            Ok(Arc::new(Self { engine: RwLock::new(Some(engine)), report, sessions: Mutex::default() }))
        })
    }

    /// What was opened, what computes it, and what a pass costs; also after `release`.
    pub fn report(&self) -> EngineReport {
        self.report.clone()
    }

    /// The tokens of `text` as a prompt has them: for counting what fits.
    ///
    /// # Errors
    /// `PackInvalid` if the tokenizer fails; `Closed`.
    pub fn tokenize(&self, text: String) -> Result<Vec<u32>> {
        self.call(|engine| Ok(engine.tokenizer().encode(&text)?))
    }

    /// Starts a conversation with caches of its own.
    ///
    /// # Errors
    /// `OutOfMemoryBudget`; `InvalidOptions` if drafts are asked for that the pack cannot make; `Closed`.
    pub fn session(&self, options: SessionOptions) -> Result<Arc<Session>> {
        self.call(|engine| {
            let session = Arc::new(Session::new(engine.session(&options.into())?));
            self.remember(&session);
            Ok(session)
        })
    }

    /// Releases every session, waits until nothing runs, and frees the weights. Any number of times, from any thread.
    pub fn release(&self) {
        guard_quiet("release", || {
            let engine = self.engine.write().unwrap_or_else(PoisonError::into_inner).take();
            let sessions = std::mem::take(&mut *self.sessions.lock().unwrap_or_else(PoisonError::into_inner));
            for session in sessions.iter().filter_map(Weak::upgrade) {
                session.release();
            }
            drop(engine);
        });
    }
}

impl From<SessionOptions> for drafthorse::SessionOptions {
    fn from(options: SessionOptions) -> Self {
        let default = Self::default();
        Self {
            drafting: options.drafting.map_or(default.drafting, Into::into),
            context_policy: options.context_policy.map_or(default.context_policy, Into::into),
        }
    }
}

impl From<Drafting> for drafthorse::Drafting {
    fn from(drafting: Drafting) -> Self {
        match drafting {
            Drafting::Auto => Self::Auto,
            Drafting::TargetAlone => Self::None,
            Drafting::Model => Self::Model,
            Drafting::Lookup => Self::Lookup,
            Drafting::Both => Self::Both,
        }
    }
}

impl From<ContextPolicy> for drafthorse::ContextPolicy {
    fn from(policy: ContextPolicy) -> Self {
        match policy {
            ContextPolicy::Fail => Self::Fail,
            ContextPolicy::DropOldestTurns => Self::DropOldestTurns,
        }
    }
}
