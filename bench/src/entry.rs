//! The entry for other languages: a plan in JSON goes in, a report in JSON comes out.

use std::ops::ControlFlow;

use crate::plan::Plan;
use crate::probe::HostProbe;
use crate::run::{Progress, run};
use crate::{Error, Result};

/// Runs the plan in `plan_json` and returns the report as JSON.
///
/// `host` answers what files do not tell about the device; `on_progress` gets a line to show, how many generations are
/// done and how many are planned, and returns whether to go on. Both are called on the caller's thread.
///
/// # Errors
/// `Plan` for a plan that cannot be read, and those of [`run`].
pub fn run_json(
    plan_json: &str,
    host: Option<&dyn HostProbe>,
    on_progress: &mut dyn FnMut(&str, usize, usize) -> bool,
) -> Result<String> {
    let plan: Plan =
        serde_json::from_str(plan_json).map_err(|error| Error::Plan { field: "JSON", reason: error.to_string() })?;
    let mut tell = |progress: &Progress| {
        let go_on = on_progress(&progress.step, progress.done, progress.planned);
        if go_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    Ok(run(plan, host, &mut tell)?.to_json())
}
