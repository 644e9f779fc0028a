//! The device lab: measures a pack on a device so that another lab can reproduce it.
//!
//! A `plan` says what; `run` opens the pack (`load`), warms it up (`warm_up`), takes generations in turns (`generation`)
//! and lets the device cool (`cool_down`); `case` and `prediction` make figures of them by `statistics`; all of it
//! becomes a `report`. With feature `report`, `desk` makes pages of reports, compares, gates and collects them.

mod case;
mod cool_down;
#[cfg(feature = "report")]
mod desk;
mod entry;
mod error;
#[cfg(all(test, feature = "report"))]
mod fixture;
mod generation;
mod histogram;
mod load;
mod machine;
mod memory;
mod notes;
mod plan;
mod prediction;
mod probe;
mod prompts;
mod reading;
mod recorder;
mod report;
mod run;
pub mod statistics;
mod table;
mod warm_up;

pub use case::Case;
#[cfg(feature = "report")]
pub use desk::*;
pub use entry::run_json;
pub use error::{Error, Result};
pub use generation::{Detail, Generation};
pub use histogram::Histogram;
pub use machine::{CoreKind, HostFacts, Machine};
pub use plan::{CoolDown, Decoding, Mode, Plan, ProviderPair};
pub use prediction::Prediction;
pub use probe::{HostProbe, HostSample, Sample};
pub use prompts::PromptSpec;
pub use reading::Reading;
#[doc(hidden)]
pub use recorder::Recorder;
pub use report::{Costs, FORMAT_VERSION, Load, Memory, NodeCount, Pack, Pause, Report, Subject, write_whole};
pub use run::{OnProgress, Progress, run};
pub use table::table;
