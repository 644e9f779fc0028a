//! The device lab inside an app: a plan in, a report out, with what only the app can ask its system for.

use std::collections::HashMap;
use std::sync::Arc;

use drafthorse_bench::{Error, HostProbe, HostSample, run_json};
use serde_json::Value;

use crate::guard::guard;
use crate::number::count;
use crate::settings::{self, Settings};
use crate::{DrafthorseError, Result};

/// What the system tells an app about heat and energy; what it does not tell is left out, with the reason.
#[derive(Clone, Debug, Default, PartialEq, uniffi::Record)]
pub struct DeviceReading {
    /// Temperature in degrees Celsius.
    #[uniffi(default)]
    pub temperature_c: Option<f64>,
    /// In the system's own words: `nominal`, `fair`, `serious`, `critical`; `none`, `light`, `moderate`, `severe`.
    #[uniffi(default)]
    pub thermal_state: Option<String>,
    /// Android's thermal headroom: 1 is where severe throttling begins.
    #[uniffi(default)]
    pub thermal_headroom: Option<f64>,
    /// Charge of the battery.
    #[uniffi(default)]
    pub battery_percent: Option<f64>,
    /// Current out of the battery; negative while it charges.
    #[uniffi(default)]
    pub battery_ma: Option<f64>,
    /// Energy used since some moment in the past.
    #[uniffi(default)]
    pub energy_j: Option<f64>,
    /// Memory of this process that is resident.
    #[uniffi(default)]
    pub resident_bytes: Option<u64>,
    /// Why a field is left out, by its name in the report, such as `thermal_headroom`.
    #[uniffi(default)]
    pub absent: HashMap<String, String>,
}

/// The app's side of a benchmark. Both are called on the thread that runs it, between generations.
#[uniffi::export(with_foreign)]
pub trait BenchmarkDevice: Send + Sync {
    /// One look at the sensors.
    fn read(&self) -> DeviceReading;

    /// Told what is under way and how many of the planned generations are done; false ends the benchmark.
    fn progress(&self, step: String, done: u64, planned: u64) -> bool;
}

/// Measures as `plan_json` says and returns the report as JSON; `None` if `device` ended it. Takes minutes.
///
/// The plan's fields are those of `plan` in `bench/report.schema.json`; all but `pack` may be left out.
///
/// # Errors
/// `InvalidOptions` for a plan that cannot be run, `Io` for a file of prompts that cannot be read, and those of opening
/// the pack and generating.
#[uniffi::export]
pub fn run_benchmark(plan_json: String, device: Arc<dyn BenchmarkDevice>) -> Result<Option<String>> {
    guard(|| {
        let plan = with_settings(&plan_json, settings::current())?;
        let mut on_progress =
            |step: &str, done: usize, planned: usize| device.progress(step.to_owned(), count(done), count(planned));
        match run_json(&plan, Some(&Probe(&*device)), &mut on_progress) {
            Ok(report) => Ok(Some(report)),
            Err(Error::Cancelled) => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
}

/// The plan with the runtime library and the cache folder of `settings` where it names none.
fn with_settings(plan_json: &str, settings: Settings) -> Result<String> {
    let mut plan: Value =
        serde_json::from_str(plan_json).map_err(|error| DrafthorseError::invalid("plan", error.to_string()))?;
    let Settings { runtime_library, cache_folder } = settings;
    if let Some(plan) = plan.as_object_mut() {
        for (field, path) in [("runtime_library", runtime_library), ("cache_folder", cache_folder)] {
            let slot = plan.entry(field).or_insert(Value::Null);
            if let (Value::Null, Some(path)) = (&*slot, path) {
                *slot = path.to_string_lossy().into();
            }
        }
    }
    Ok(plan.to_string())
}

struct Probe<'a>(&'a dyn BenchmarkDevice);

impl HostProbe for Probe<'_> {
    fn sample_json(&self) -> String {
        serde_json::to_string(&HostSample::from(self.0.read())).expect("numbers and names become JSON")
    }
}

impl From<DeviceReading> for HostSample {
    fn from(reading: DeviceReading) -> Self {
        Self {
            temperature_c: reading.temperature_c,
            thermal_state: reading.thermal_state,
            thermal_headroom: reading.thermal_headroom,
            battery_percent: reading.battery_percent,
            battery_ma: reading.battery_ma,
            energy_j: reading.energy_j,
            resident_bytes: reading.resident_bytes,
            absent: reading.absent.into_iter().collect(),
        }
    }
}

impl From<Error> for DrafthorseError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Runtime(error) => error.into(),
            Error::Plan { .. } | Error::Prompts { .. } => Self::InvalidOptions(message),
            Error::Io { .. } => Self::Io(message),
            _ => Self::Internal(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_plan_leaves_open_is_taken_from_the_process() {
        let settings = || Settings { runtime_library: Some("own.so".into()), cache_folder: Some("cache".into()) };
        let plan =
            |text: &str, settings| -> Value { serde_json::from_str(&with_settings(text, settings).unwrap()).unwrap() };
        for open in ["{}", r#"{"runtime_library": null, "cache_folder": null}"#] {
            let plan = plan(open, settings());
            assert_eq!(
                (&plan["runtime_library"], &plan["cache_folder"]),
                (&"own.so".into(), &"cache".into()),
                "{open}"
            );
        }
        let named = plan(r#"{"runtime_library": "other.so"}"#, settings());
        assert_eq!((&named["runtime_library"], &named["cache_folder"]), (&"other.so".into(), &"cache".into()));
        let neither = plan("{}", Settings::default());
        assert!(neither["runtime_library"].is_null() && neither["cache_folder"].is_null());
    }
}
