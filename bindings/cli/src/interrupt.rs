//! Ctrl-C: ends the work under way, or the program if there is none.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use drafthorse::CancelHandle;

use crate::failure::{Failure, INTERRUPTED};

/// What Ctrl-C would end.
static CURRENT: Mutex<Option<Work>> = Mutex::new(None);
static STOPPED: AtomicBool = AtomicBool::new(false);
static INSTALLED: Once = Once::new();

enum Work {
    /// A generation, which ends with its account.
    Generation(CancelHandle),
    /// Something that asks [`flow`] now and then.
    Steps,
}

/// While it lives, Ctrl-C ends this work and not the program. A second Ctrl-C ends the program.
pub(crate) struct Watch(());

/// Lets Ctrl-C end the generation behind `handle`.
pub(crate) fn watch(handle: CancelHandle) -> Watch {
    *current() = Some(Work::Generation(handle));
    Watch(())
}

/// Lets Ctrl-C end work that asks [`flow`], so that it can clean up.
pub(crate) fn watch_steps() -> Watch {
    *current() = Some(Work::Steps);
    Watch(())
}

/// Whether the work should go on.
pub(crate) fn flow() -> ControlFlow<()> {
    if STOPPED.load(Ordering::Acquire) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *current() = None;
    }
}

/// Takes Ctrl-C over from the system.
///
/// # Errors
/// If the system refuses.
pub(crate) fn install() -> Result<(), Failure> {
    let mut outcome = Ok(());
    INSTALLED.call_once(|| outcome = ctrlc::set_handler(on_interrupt));
    outcome.map_err(|error| Failure::run(format!("cannot take over Ctrl-C: {error}")))
}

fn on_interrupt() {
    match current().take() {
        Some(Work::Generation(handle)) => handle.cancel(),
        Some(Work::Steps) => STOPPED.store(true, Ordering::Release),
        None => {
            eprintln!();
            std::process::exit(i32::from(INTERRUPTED))
        }
    }
}

fn current() -> MutexGuard<'static, Option<Work>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}
