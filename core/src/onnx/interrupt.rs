//! Stops a forward pass from another thread.

use std::sync::atomic::{AtomicBool, Ordering};

use ort::session::RunOptions;

use super::raw::runtime_error;
use crate::{Error, Interrupt, Result};

/// The switch of one model: a flag for between passes, and the runtime's own for within one.
pub(super) struct PassInterrupt {
    raised: AtomicBool,
    options: RunOptions,
}

impl PassInterrupt {
    pub(super) fn new() -> Result<Self> {
        let options = RunOptions::new().map_err(|error| runtime_error("make run options", &error))?;
        Ok(Self { raised: AtomicBool::new(false), options })
    }

    /// Options that every pass of the model runs under.
    pub(super) fn options(&self) -> &RunOptions {
        &self.options
    }

    /// # Errors
    /// `Cancelled` if the switch is on.
    pub(super) fn check(&self) -> Result<()> {
        if self.raised.load(Ordering::Acquire) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

impl Interrupt for PassInterrupt {
    fn interrupt(&self) {
        self.raised.store(true, Ordering::Release);
        if let Err(error) = self.options.terminate() {
            log::warn!("a pass cannot be stopped: {error}");
        }
    }

    fn clear(&self) {
        if let Err(error) = self.options.unterminate() {
            log::warn!("an interruption cannot be cleared: {error}");
        }
        self.raised.store(false, Ordering::Release);
    }
}
