//! The page in a real browser, where there is one: it opens offline, draws, and complains about nothing.
#![cfg(feature = "report")]

use std::path::{Path, PathBuf};
use std::process::Command;

use drafthorse_bench::{html, run_json};

/// A Chromium that is installed, if one is.
fn browser() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    std::env::split_paths(&paths).flat_map(|folder| names.map(|name| folder.join(name))).find(|path| path.is_file())
}

#[test]
fn the_page_opens_offline_without_an_error() {
    let Some(browser) = browser() else {
        eprintln!("SKIPPED: no Chromium on the PATH; `apt-get install chromium` brings one");
        return;
    };
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/packs/demo");
    let plan = serde_json::json!({
        "pack": pack, "threads": 1, "prompts_max": 4, "max_tokens": 16, "repetitions": 2, "modes": ["plain", "adaptive", "drafter"],
    });
    let text = run_json(&plan.to_string(), None, &mut |_, _, _| true).unwrap();
    let report = drafthorse_bench::Report::from_json(text.as_bytes()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (page, picture) = (folder.path().join("report.html"), folder.path().join("report.png"));
    std::fs::write(&page, html(&report)).unwrap();
    let output = Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1200,4200"])
        .args(["--enable-logging=stderr", "--v=0", "--host-resolver-rules=MAP * ~NOTFOUND"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let complaints: Vec<&str> = errors.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    let bytes = std::fs::read(&picture).unwrap();
    assert_eq!(&bytes[1..4], b"PNG");
    // An empty page of this size is a picture of a few kilobytes.
    assert!(bytes.len() > 60_000, "{} bytes: the page is all but empty", bytes.len());
    if let Some(keep) = std::env::var_os("DRAFTHORSE_KEEP_SCREENSHOT") {
        std::fs::copy(&picture, keep).unwrap();
    }
}
