//! A small report that tests change to their needs.

use std::collections::BTreeMap;

use crate::case::{Context, cases};
use crate::generation::Generation;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::reading::Reading;
use crate::report::{FORMAT_VERSION, Pack, Report, Subject};

/// A report of `generations`, on a device of which little is known.
pub(crate) fn report(generations: Vec<Generation>) -> Report {
    let none = || Reading::absent("a test");
    let subject = Subject {
        engine: "drafthorse 0".into(),
        runtime: "test".into(),
        provider: "cpu".into(),
        drafter_provider: None,
        refused: vec![],
        nodes: vec![],
        threads: Some(1),
        load: None,
        memory: None,
        costs: None,
        predictions: vec![],
        cases: cases(&generations, Context { parameter_ratio: Some(0.1), seed: 1 }),
        generations,
        samples: vec![],
        pauses: vec![],
    };
    let mut machine = Machine::read(std::path::Path::new("/nowhere"), None, None);
    machine.soc = Reading::present("A1".to_owned(), "test");
    Report {
        format_version: FORMAT_VERSION,
        id: "1".into(),
        program: "test".into(),
        started_at: "2026-01-01T00:00:00Z".into(),
        duration_s: 1.0,
        plan: Plan { pack: "pack".into(), ..Plan::default() },
        machine,
        pack: Pack {
            name: "test".into(),
            kind: "pack".into(),
            model_type: "llama".into(),
            target_digest: none(),
            drafter_digest: none(),
            target_bytes: 1,
            drafter_bytes: Some(1),
            parameter_ratio: Reading::present(0.1, "test"),
            files: BTreeMap::new(),
            lineage: None,
            inflated: None,
        },
        subjects: vec![subject],
        notes: vec![],
    }
}
