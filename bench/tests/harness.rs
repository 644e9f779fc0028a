//! The harness on the demo pack, through the door that other languages use, and the schema of what comes out.
#![cfg(feature = "report")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use drafthorse_bench::{Decoding, HostProbe, Mode, Reading, Report, html, run_json, schema, table};
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A short plan: two prompts of two tasks, one of them with two turns.
fn plan() -> Value {
    json!({
        "pack": root().join("tests/packs/demo"),
        "threads": 1,
        "modes": ["plain", "drafter", "adaptive"],
        "decodings": ["greedy", "lenient"],
        "prompts": [
            {"task": "story", "text": "Once upon a time"},
            {"task": "talk", "turns": ["Hello, how are you?", "Where have you been?"]},
        ],
        "max_tokens": 12,
        "repetitions": 2,
        // However busy the machine is: a run cut short would have other texts.
        "budget_s": 3600,
        "device_label": "shelf 7",
        "host": {"soc": "Test Chip 1", "os_version": "Test OS 3"},
    })
}

struct App;

/// An app that counts how often it is asked.
#[derive(Default)]
struct Counting(AtomicUsize);

impl HostProbe for Counting {
    fn sample_json(&self) -> String {
        self.0.fetch_add(1, Ordering::Relaxed);
        "{}".to_owned()
    }
}

impl HostProbe for App {
    fn sample_json(&self) -> String {
        r#"{"thermal_state": "nominal", "battery_percent": 81, "absent": {"battery_ma": "not allowed"}}"#.to_owned()
    }
}

fn run(plan: &Value) -> Value {
    let text = run_json(&plan.to_string(), Some(&App), &mut |_, _, _| true).expect("the demo pack runs");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_plan_becomes_a_report_that_the_schema_takes() {
    let value = run(&plan());
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let mut wrong = value.clone();
    wrong["subjects"][0]["cases"][0]["mode"] = json!("fast");
    assert!(!validator.is_valid(&wrong), "the schema takes anything");

    let report = Report::from_json(value.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::to_value(&report).unwrap(), value, "a report survives reading and writing");
    check(&report);
    let mut older = value.clone();
    older["plan"].as_object_mut().unwrap().remove("cache_folder").unwrap();
    for generation in older["subjects"][0]["generations"].as_array_mut().unwrap() {
        generation.as_object_mut().unwrap().remove("drafted").unwrap();
    }
    let older = Report::from_json(older.to_string().as_bytes()).unwrap();
    assert_eq!(older.subjects[0].cases, report.subjects[0].cases, "reports of an older program are read");
    let text = table(&report);
    for part in ["Drafthorse demo", "shelf 7", "greedy", "NOT the target's distribution", "peak", "costs"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let page = html(&report);
    assert!(
        !page.contains("<script") && !page.contains("http://") && !page.contains("https://"),
        "the page needs a network"
    );
    for plot in [
        "Speed by task",
        "Time between tokens",
        "Acceptance by draft position",
        "What a target pass costs",
        "Speed that these costs promise",
        "Speed over time",
    ] {
        assert!(page.contains(&format!("<figcaption>{plot}")), "no plot: {plot}");
    }
    // Reports travel: nobody's folders are in them.
    assert!(!value.to_string().contains(env!("CARGO_MANIFEST_DIR")));
}

fn check(report: &Report) {
    assert_eq!(report.machine.soc.value().unwrap(), "Test Chip 1");
    assert!(report.machine.sensors["battery_ma"].explanation().contains("not allowed"));
    let subject = &report.subjects[0];
    // Two modes of decoding, three modes of drafting, three turns, two repetitions.
    assert_eq!(subject.generations.len(), 2 * 3 * 3 * 2);
    assert!(subject.generations.iter().all(|generation| generation.detail.is_none() && generation.tokens > 0));
    assert_eq!(subject.samples.len(), subject.generations.len() + 1);
    assert!(subject.samples.iter().all(|sample| sample.thermal_state.as_deref() == Some("nominal")));
    let costs = subject.costs.as_ref().unwrap();
    assert!(costs.target_ms.len() == 16 + 1 && costs.sweeps >= 2 && costs.drafter_ms.is_some());
    assert!(subject.load.as_ref().unwrap().warm_ms > 0.0 && subject.memory.as_ref().unwrap().cache_bytes > 0);
    let case = |decoding, mode| {
        let all = &mut subject.cases.iter();
        all.find(|case| case.decoding == decoding && case.mode == mode && case.task.is_none()).unwrap()
    };
    let drafter = case(Decoding::Greedy, Mode::Drafter);
    assert_eq!(drafter.identical_share, Some(1.0), "greedy text is the target's own");
    assert!(drafter.tokens_per_target_call.unwrap() > 1.0 && drafter.acceptance_by_position.len() == 4);
    assert!(drafter.mbsu.unwrap() > 0.5 && drafter.lossless);
    let told = |g: &&drafthorse_bench::Generation| (g.decoding, g.mode) == (Decoding::Greedy, Mode::Drafter);
    let (proposed, accepted) = subject.generations.iter().filter(told).fold((0, 0), |(proposed, accepted), g| {
        assert!(g.drafted >= g.proposed && g.proposed >= g.accepted);
        (proposed + g.proposed, accepted + g.accepted)
    });
    assert_eq!(drafter.acceptance_rate, Some(accepted as f64 / proposed as f64));
    assert!(!case(Decoding::Lenient, Mode::Drafter).lossless && case(Decoding::Lenient, Mode::Plain).lossless);
    assert!(subject.predictions.iter().any(|prediction| prediction.decoding == Decoding::Greedy));
    let told = |prediction: &drafthorse_bench::Prediction| prediction.speedup_by_draft_len.len();
    assert!(
        subject.predictions.iter().all(|prediction| told(prediction) == 16 + 1),
        "no drafts, and up to the longest"
    );
    // The second turn keeps what the first has read, so its prompt is longer.
    let turn =
        |turn: usize| subject.generations.iter().find(|g| g.task == "talk" && g.turn == turn).unwrap().prompt_tokens;
    assert!(turn(1) > turn(0) + 12, "{} then {}", turn(0), turn(1));
}

#[test]
fn the_order_is_reversed_from_prompt_to_prompt_and_from_repetition_to_repetition() {
    let value = run(&plan());
    let report: Report = serde_json::from_value(value).unwrap();
    let modes = |prompt: usize, repetition: usize| -> Vec<(Decoding, Mode)> {
        let of = |g: &&drafthorse_bench::Generation| (g.prompt, g.repetition, g.turn) == (prompt, repetition, 0);
        report.subjects[0].generations.iter().filter(of).map(|g| (g.decoding, g.mode)).collect()
    };
    let (first, second) = (modes(0, 0), modes(1, 0));
    assert_eq!(first.iter().rev().copied().collect::<Vec<_>>(), second);
    assert_eq!((modes(0, 1), modes(1, 1)), (second, first));
}

#[test]
fn the_same_seed_gives_the_same_texts() {
    let digests = || -> Vec<String> {
        let report: Report = serde_json::from_value(run(&plan())).unwrap();
        let fixed = report.subjects[0].generations.iter().filter(|g| g.mode != Mode::Adaptive);
        fixed.map(|g| g.text_digest.clone()).collect()
    };
    assert_eq!(digests(), digests());
}

#[test]
fn a_run_can_be_ended_and_a_bad_plan_is_named() {
    let mut calls = 0;
    let ended = run_json(&plan().to_string(), None, &mut |_, _, _| {
        calls += 1;
        calls < 4
    });
    assert_eq!(ended.unwrap_err().to_string(), "cancelled");
    let bad = run_json(r#"{"pack": "p", "speed": 9}"#, None, &mut |_, _, _| true).unwrap_err().to_string();
    assert!(bad.contains("speed"), "{bad}");
    let missing = run_json(r#"{"pack": "no/such/folder"}"#, None, &mut |_, _, _| true);
    assert!(missing.is_err());
}

#[test]
fn the_app_is_asked_before_every_generation() {
    let mut told = Vec::new();
    run_json(&plan().to_string(), None, &mut |_, done, planned| {
        told.push((done, planned));
        true
    })
    .unwrap();
    // Decodings, modes, turns of both prompts, repetitions.
    let planned = 2 * 3 * 3 * 2;
    told.retain(|progress| progress.1 > 0);
    assert_eq!(told, (0..planned).map(|done| (done, planned)).collect::<Vec<_>>());
}

#[test]
fn a_provider_that_cannot_be_had_does_not_lose_the_others() {
    let mut plan = plan();
    plan["providers"] = json!([{"target": "cpu"}, {"target": "cuda"}]);
    plan["prompts"] = json!([{"task": "story", "text": "Once upon a time"}]);
    let report: Report = serde_json::from_value(run(&plan)).unwrap();
    assert_eq!(report.subjects.len(), 1);
    assert!(report.notes.iter().any(|note| note.starts_with("not measured: cuda: ")), "{:?}", report.notes);
    plan["providers"] = json!([{"target": "cuda"}]);
    assert!(run_json(&plan.to_string(), None, &mut |_, _, _| true).is_err());
    plan["providers"] = json!([{"target": "cpu"}, {"target": "cdua"}]);
    let mut calls = 0;
    let misspelt = run_json(&plan.to_string(), None, &mut |_, _, _| {
        calls += 1;
        true
    });
    assert!(misspelt.unwrap_err().to_string().contains("cdua") && calls == 0, "refused before anything is measured");
}

#[test]
fn what_is_kept_between_openings_lies_in_the_cache_and_goes_with_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let mut plan = plan();
    plan["cache_folder"] = json!(cache);
    plan["prompts"] = json!([{"task": "story", "text": "Once upon a time"}]);
    let mut seen = std::collections::BTreeSet::new();
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    let text = run_json(&plan.to_string(), None, &mut |_, _, _| {
        seen.extend(names(&cache));
        true
    })
    .unwrap();
    assert!(seen.len() == 1 && seen.iter().all(|name| name.starts_with("drafthorse-bench-")), "{seen:?}");
    assert_eq!(names(&cache), [""; 0]);
    assert!(!text.contains(folder.path().to_str().unwrap()), "reports travel: nobody's folders are in them");
}

#[test]
fn memory_is_told_by_the_app_and_a_counter_that_wrapped_tells_no_energy() {
    struct Wrapping(AtomicUsize);
    impl HostProbe for Wrapping {
        fn sample_json(&self) -> String {
            // Three readings up, then down again: some generations see the fall.
            let reading = self.0.fetch_add(1, Ordering::Relaxed) % 3;
            json!({"energy_j": reading, "resident_bytes": 4096}).to_string()
        }
    }
    let text = run_json(&plan().to_string(), Some(&Wrapping(AtomicUsize::new(0))), &mut |_, _, _| true).unwrap();
    let report = Report::from_json(text.as_bytes()).unwrap();
    let joules: Vec<Option<f64>> = report.subjects[0].generations.iter().map(|g| g.energy_j).collect();
    assert!(joules.contains(&None) && joules.iter().flatten().all(|joules| *joules >= 0.0), "{joules:?}");
    assert!(joules.contains(&Some(1.0)), "{joules:?}");
    let memory = report.subjects[0].memory.as_ref().unwrap();
    let told = Reading::present(4096, "the app");
    assert_eq!((&memory.before_bytes, &memory.open_bytes), (&told, &told));
}

#[test]
fn an_app_that_tells_no_energy_is_asked_once_for_a_generation() {
    let app = Counting::default();
    run_json(&plan().to_string(), Some(&app), &mut |_, _, _| true).unwrap();
    // What there is, how hot it is at the begin, memory twice, before every prompt, before every generation, at the end.
    assert_eq!(app.0.into_inner(), 1 + 1 + 2 + 2 * 2 + 2 * 3 * 3 * 2 + 1);
}

#[test]
fn a_prompt_that_does_not_fit_is_left_out_and_the_rest_measured() {
    let long = "Once upon a time. ".repeat(400);
    let mut plan = plan();
    plan["modes"] = json!(["plain", "drafter"]);
    plan["prompts"] = json!([
        {"task": "story", "text": long},
        {"task": "talk", "turns": [long]},
        {"task": "talk", "turns": ["Hello, how are you?", long]},
    ]);
    let report: Report = serde_json::from_value(run(&plan)).unwrap();
    let generations = &report.subjects[0].generations;
    assert_eq!(generations.len(), 2 * 2 * 2);
    assert!(generations.iter().all(|generation| (generation.prompt, generation.turn) == (2, 0)));
    let left_out: Vec<&str> =
        report.notes.iter().map(String::as_str).filter(|note| note.ends_with("left out")).collect();
    assert_eq!(
        left_out,
        [
            "prompt 1 (story) does not fit the context, left out",
            "prompt 2 (talk) does not fit the context, left out",
            "turn 2 of prompt 3 (talk) does not fit the context, left out",
        ]
    );
    plan["prompts"] = json!([{"task": "story", "text": long}]);
    let error = run_json(&plan.to_string(), None, &mut |_, _, _| true).unwrap_err().to_string();
    assert!(error.contains("context"), "{error}");
}

#[test]
fn without_time_one_prompt_is_measured_and_the_report_says_so() {
    let mut plan = plan();
    plan["budget_s"] = json!(0);
    let report: Report = serde_json::from_value(run(&plan)).unwrap();
    assert!(report.notes.iter().any(|note| note.starts_with("the time was up")), "{:?}", report.notes);
    let told = report.subjects[0].cases.iter().filter_map(|case| case.speedup?.value).count();
    assert_eq!(told, 0, "one pair tells nothing");
}

#[test]
fn the_schema_in_the_repository_is_that_of_the_types() {
    let path = root().join("bench/report.schema.json");
    if std::env::var_os("DRAFTHORSE_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, schema()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, schema(), "run the test with DRAFTHORSE_WRITE_SCHEMA=1, and look at the difference");
}
