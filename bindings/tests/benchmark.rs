//! The device lab through the border: what the app's system tells reaches the report, and the app can end the run.

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use drafthorse_bindings::{BenchmarkDevice, DeviceReading, DrafthorseError, run_benchmark};
use serde_json::{Value, json};

/// A device that is warm and tells no current, and an app that ends the benchmark after so many steps.
struct Shelf {
    steps_left: AtomicU64,
}

impl Shelf {
    fn patient(steps: u64) -> Arc<Self> {
        Arc::new(Self { steps_left: AtomicU64::new(steps) })
    }
}

impl BenchmarkDevice for Shelf {
    fn read(&self) -> DeviceReading {
        DeviceReading {
            thermal_state: Some("light".to_owned()),
            thermal_headroom: Some(0.75),
            absent: HashMap::from([("battery_ma".to_owned(), "no such counter".to_owned())]),
            ..DeviceReading::default()
        }
    }

    fn progress(&self, step: String, _done: u64, _planned: u64) -> bool {
        assert!(!step.is_empty());
        self.steps_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

fn plan() -> Value {
    json!({
        "pack": common::demo_pack(), "threads": 1, "modes": ["plain", "drafter"], "decodings": ["greedy"],
        "prompts": [{"task": "story", "text": "Once upon a time"}], "max_tokens": 8, "repetitions": 1,
        "host": {"soc": "Test Chip 1"},
    })
}

#[test]
fn a_plan_becomes_a_report_with_what_the_app_tells() {
    let report = run_benchmark(plan().to_string(), Shelf::patient(u64::MAX)).unwrap().unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["format_version"], 1);
    assert_eq!(report["machine"]["soc"]["value"], "Test Chip 1");
    assert_eq!(report["machine"]["sensors"]["battery_ma"]["absent"], "no such counter");
    let subject = &report["subjects"][0];
    assert_eq!(subject["generations"].as_array().unwrap().len(), 2);
    assert_eq!(subject["samples"][0]["thermal_state"], "light");
    assert_eq!(subject["samples"][0]["thermal_headroom"], 0.75);
}

#[test]
fn the_app_may_end_it() {
    assert_eq!(run_benchmark(plan().to_string(), Shelf::patient(1)).unwrap(), None);
}

#[test]
fn what_is_wrong_is_named() {
    let refused = |plan: String| run_benchmark(plan, Shelf::patient(9)).unwrap_err();
    let error = refused("{".to_owned());
    assert!(matches!(&error, DrafthorseError::InvalidOptions(message) if message.contains("plan")), "{error:?}");
    let mut unknown = plan();
    unknown["speed"] = json!(9);
    let error = refused(unknown.to_string());
    assert!(matches!(&error, DrafthorseError::InvalidOptions(message) if message.contains("speed")), "{error:?}");
    let mut missing = plan();
    missing["pack"] = json!("no/such/folder");
    assert!(matches!(refused(missing.to_string()), DrafthorseError::PackNotFound(_)));
}
