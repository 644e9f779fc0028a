//! Cancelling a generation from any thread.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::{Interrupt, Result, error::Error};

/// Cancels one generation, from any thread, as often as wanted; harmless after its end.
///
/// The forward pass under way is interrupted too, so a long prefill ends within one operator.
#[derive(Clone)]
pub struct CancelHandle(Arc<Shared>);

struct Shared {
    requested: AtomicBool,
    /// Empty once the generation has ended: the models may then belong to the next one.
    interrupts: Mutex<Vec<Arc<dyn Interrupt>>>,
}

impl CancelHandle {
    /// A handle over the models of one generation; earlier interruptions of theirs are cleared.
    pub(crate) fn new(interrupts: Vec<Arc<dyn Interrupt>>) -> Self {
        for interrupt in &interrupts {
            interrupt.clear();
        }
        Self(Arc::new(Shared { requested: AtomicBool::new(false), interrupts: Mutex::new(interrupts) }))
    }

    /// Asks the generation to stop. Returns at once; the generation ends with stop reason `Cancelled`.
    pub fn cancel(&self) {
        self.0.requested.store(true, Ordering::Release);
        for interrupt in self.0.interrupts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            interrupt.interrupt();
        }
    }

    /// True once `cancel` was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.requested.load(Ordering::Acquire)
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Lets go of the models, so that a late `cancel` cannot reach the next generation.
    pub(crate) fn finish(&self) {
        for interrupt in self.0.interrupts.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            interrupt.clear();
        }
    }
}

impl std::fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelHandle").field("cancelled", &self.is_cancelled()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Switch(AtomicBool);

    impl Interrupt for Switch {
        fn interrupt(&self) {
            self.0.store(true, Ordering::SeqCst);
        }
        fn clear(&self) {
            self.0.store(false, Ordering::SeqCst);
        }
    }

    #[test]
    fn cancels_the_models_until_the_generation_has_ended() {
        let switch = Arc::new(Switch::default());
        let handle = CancelHandle::new(vec![switch.clone()]);
        assert!(handle.check().is_ok());

        handle.cancel();
        assert!(switch.0.load(Ordering::SeqCst));
        assert!(matches!(handle.check(), Err(Error::Cancelled)));

        handle.finish();
        assert!(!switch.0.load(Ordering::SeqCst), "the next generation may run");
        handle.cancel();
        assert!(!switch.0.load(Ordering::SeqCst), "a late cancel reaches nobody");
    }
}
