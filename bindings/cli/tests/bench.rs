//! `drafthorse bench`: what scripts rely on, and what becomes of bad files.

mod common;

use common::{demo_pack, drafthorse, json, text};
use serde_json::Value;

/// A short run on the demo pack.
fn report() -> Value {
    let pack = demo_pack();
    let flags =
        ["--modes", "plain,drafter", "--decoding", "greedy", "--prompts-max", "2", "--repetitions", "3", "-n", "8"];
    json(&[&["bench", text(&pack), "--threads", "1"], &flags[..]].concat(), 0)
}

#[test]
fn limits_decide_about_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    std::fs::write(&path, report().to_string()).unwrap();
    let gate = |limits: &str| {
        let file = folder.path().join("limits.toml");
        std::fs::write(&file, limits).unwrap();
        drafthorse(&["bench", "gate", text(&path), text(&file)], "", &[]).status.code()
    };
    let limit = |metric: &str, bound: &str| format!("[[limit]]\nmetric = \"{metric}\"\n{bound}\n");
    assert_eq!(gate(&limit("cache_bytes", "min = 1")), Some(0));
    assert_eq!(gate(&limit("tokens_per_target_call", "min = 1.5\nmode = \"drafter\"")), Some(0));
    assert_eq!(gate(&limit("cache_bytes", "max = 1")), Some(6));
    assert_eq!(gate(&limit("tokens_per_target_call", "min = 99\nmode = \"drafter\"")), Some(6));
    assert_eq!(gate(&limit("mbsu", "min = 0\nmode = \"lookup\"")), Some(6), "what was not measured is not kept");
    assert_eq!(gate(&limit("speed", "min = 1")), Some(2));
    assert_eq!(gate(""), Some(2));
    let missing = folder.path().join("missing");
    assert_eq!(drafthorse(&["bench", "gate", text(&missing), text(&missing)], "", &[]).status.code(), Some(2));
    let compared = json(&["bench", "compare", text(&path), text(&path)], 0);
    assert!(compared[0]["cases"][0]["speed"]["value"].is_null(), "a run is as fast as itself");
    let page = folder.path().join("page.html");
    let shown = drafthorse(&["bench", "show", text(&path), "--html", text(&page)], "", &[]);
    assert!(shown.status.success() && String::from_utf8_lossy(&shown.stdout).contains("Drafthorse demo"));
    assert!(std::fs::read_to_string(page).unwrap().ends_with("</html>\n"));
}

#[test]
fn a_run_without_a_plot_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let [report, page, plot] = ["report.json", "page.html", "plot.svg"].map(|name| folder.path().join(name));
    let pack = demo_pack();
    let flags = ["--modes", "plain", "--decoding", "greedy", "--prompts-max", "1", "--repetitions", "1", "-n", "4"];
    let outputs = ["-o", text(&report), "--html", text(&page), "--plot", text(&plot)];
    let output = drafthorse(&[&["bench", text(&pack), "--threads", "1"], &flags[..], &outputs[..]].concat(), "", &[]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("nothing was compared with plain decoding"), "{error}");
    assert!(!plot.exists() && page.exists() && String::from_utf8_lossy(&output.stdout).contains("Drafthorse demo"));
    let kept: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(kept["subjects"][0]["generations"].as_array().unwrap().len(), 1);
}

#[test]
fn a_run_whose_document_cannot_be_written_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("missing/report.json");
    let pack = demo_pack();
    let flags = ["--modes", "plain", "--decoding", "greedy", "--prompts-max", "1", "--repetitions", "1", "-n", "4"];
    let output =
        drafthorse(&[&["bench", text(&pack), "--threads", "1", "-o", text(&nowhere)], &flags[..]].concat(), "", &[]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("missing"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Drafthorse demo"));
}

#[test]
fn bad_reports_are_named_and_the_good_ones_merged() {
    let folder = tempfile::tempdir().unwrap();
    let report = report();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.json", report.to_string());
    write("b.json", report.to_string());
    let mut later = report.clone();
    later["format_version"] = 99.into();
    write("c.json", later.to_string());
    write("d.json", report.to_string()[..1000].to_owned());
    let tables = folder.path().join("tables");
    let collected = json(&["bench", "collect", text(folder.path()), "--parquet", text(&tables)], 0);
    assert_eq!((&collected["files"], &collected["merged"]), (&4.into(), &1.into()));
    let reasons: Vec<&str> =
        collected["set_aside"].as_array().unwrap().iter().filter_map(|one| one["reason"].as_str()).collect();
    for (reason, part) in reasons.iter().zip(["the same report", "newer than this program", "cut off"]) {
        assert!(reason.contains(part), "{reasons:?}");
    }
    assert!(tables.join("cases.parquet").exists() && tables.join("generations.parquet").exists());
}

#[test]
fn without_a_pack_outside_the_repository_the_error_says_what_to_name() {
    let folder = tempfile::tempdir().unwrap();
    let output = common::command().arg("bench").current_dir(folder.path()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("which pack?") && error.contains("drafthorse bench PACK"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
