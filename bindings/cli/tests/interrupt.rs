//! Ctrl-C in a conversation.
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use common::{command, demo_pack, text};
use serde_json::Value;

/// What a conversation did that was interrupted in its first answer: its exit code, and how each answer ended.
fn interrupted_conversation() -> (Option<i32>, Vec<String>) {
    let pack = demo_pack();
    let mut child = command()
        .args(["--json", "chat", text(&pack), "--drafting", "none", "-t", "0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let (mut interrupted, mut reasons) = (false, Vec::new());
    writeln!(input, "Once upon a time").unwrap();
    for line in output.lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["event"] == "tokens" && !interrupted {
            interrupted = true;
            let sent = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
            assert!(sent.success());
        }
        if event["event"] == "finished" {
            reasons.push(event["account"]["stop_reason"].as_str().unwrap().to_owned());
            // The program may have ended, if the signal came after the answer.
            let _ = writeln!(input, "{}", if reasons.len() == 1 { "One day" } else { "/quit" });
        }
    }
    (child.wait().unwrap().code(), reasons)
}

#[test]
fn control_c_ends_the_answer_and_not_the_conversation() {
    // An answer may end before the signal arrives; then Ctrl-C rightly ends the program.
    let seen = (0..20).map(|_| interrupted_conversation()).find(|(code, _)| *code == Some(0));
    let (_, reasons) = seen.expect("a conversation that goes on");
    assert_eq!(reasons[0], "CANCELLED");
    assert!(reasons.len() == 2 && reasons[1] != "CANCELLED", "{reasons:?}");
}
