//! Memory stays flat: alone in its process, because other tests would be counted too.
#![cfg(target_os = "linux")]

mod common;

use common::{finish, greedy, open};
use drafthorse_bindings::{Prompt, SessionOptions};

#[test]
fn a_thousand_sessions_leave_nothing_behind() {
    let engine = open();
    let open_and_release = || {
        let session = engine.session(SessionOptions::default()).unwrap();
        finish(&session.generate(Prompt::Tokens { tokens: vec![5, 6, 7] }, greedy(2)).unwrap()).unwrap();
        session.release();
        session.release();
    };
    (0..200).for_each(|_| open_and_release());
    let before = resident_kib();
    (0..1000).for_each(|_| open_and_release());
    let grown = resident_kib().saturating_sub(before);
    let one = engine.report().cache_bytes / 1024;
    assert!(grown < 8 * one.max(1024), "{grown} KiB more after 1,000 sessions of {one} KiB");
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
