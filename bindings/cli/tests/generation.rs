//! The commands that generate, on a random pair: its text means nothing, but it is the target's own.

mod common;

use common::{drafthorse, json, json_lines, random_pair, text};
use serde_json::Value;

/// Ids of all tokens among the events.
fn tokens(events: &[Value]) -> Vec<u64> {
    let tokens = events.iter().filter_map(|event| event["tokens"].as_array()).flatten();
    tokens.map(|token| token["id"].as_u64().unwrap()).collect()
}

#[test]
fn drafting_does_not_change_greedy_text() {
    let folder = tempfile::tempdir().unwrap();
    random_pair(folder.path());
    let run = |flags: &[&str]| {
        let arguments = ["generate", text(folder.path()), "hello world", "-t", "0", "-n", "40"];
        json_lines(&[&arguments, flags].concat(), "", 0)
    };
    let alone = run(&["--drafting", "none"]);
    for flags in [["--draft-tokens", "4"], ["--drafting", "lookup"], ["--drafting", "both"]] {
        let pair = run(&flags);
        assert_eq!(tokens(&pair), tokens(&alone), "{flags:?}");
    }
    let finished = alone.last().unwrap();
    let streamed: String =
        alone.iter().filter(|event| event["event"] == "tokens").filter_map(|event| event["text"].as_str()).collect();
    assert_eq!(finished["event"], "finished");
    assert_eq!(finished["text"], streamed);
    assert_eq!(finished["account"]["tokens"], tokens(&alone).len());
}

#[test]
fn repeating_gives_an_account_for_each_time() {
    let folder = tempfile::tempdir().unwrap();
    random_pair(folder.path());
    let arguments = ["generate", text(folder.path()), "--temperature", "0", "-n", "8", "--repeat", "3"];
    let events = json_lines(&arguments, "hello", 0);
    let texts: Vec<&Value> =
        events.iter().filter(|event| event["event"] == "finished").map(|event| &event["text"]).collect();
    assert_eq!(texts.len(), 3);
    assert!(texts.iter().all(|text| *text == texts[0]));
}

#[test]
fn a_conversation_keeps_what_it_has_read() {
    let folder = tempfile::tempdir().unwrap();
    random_pair(folder.path());
    let arguments = ["chat", text(folder.path()), "-t", "0", "-n", "6"];
    let events = json_lines(&arguments, "hello\n\nthere\n/quit\nnot read\n", 0);
    let accounts: Vec<&Value> =
        events.iter().filter(|event| event["event"] == "finished").map(|event| &event["account"]).collect();
    assert_eq!(accounts.len(), 2);
    assert_eq!(accounts[0]["prompt_tokens_kept"], 0);
    assert!(accounts[1]["prompt_tokens_kept"].as_u64().unwrap() > 0, "{}", accounts[1]);
}

#[test]
fn the_demo_compares_the_two_texts() {
    let folder = tempfile::tempdir().unwrap();
    random_pair(folder.path());
    let result = json(&["demo", text(folder.path()), "hello", "--max-tokens", "30", "--runs", "2"], 0);
    assert_eq!(result["identical"], true);
    assert_eq!(result["runs"], 2);
    assert!(result["speed_up"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_text_alone_goes_to_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    random_pair(folder.path());
    let arguments = ["generate", text(folder.path()), "hello", "-t", "0", "-n", "8"];
    let events = json_lines(&arguments, "", 0);
    let output = drafthorse(&[&arguments[..], &["--show-draft"]].concat(), "", &[]);
    let expected = format!("{}\n", events.last().unwrap()["text"].as_str().unwrap());
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert!(String::from_utf8_lossy(&output.stderr).contains("8 tokens"));
}

#[test]
fn exit_codes_are_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    random_pair(folder.path());
    let pack = text(folder.path());
    let refusal = json(&["generate", pack, "hello", "--top-p", "2"], 2);
    assert!(refusal["error"].as_str().unwrap().contains("top_p"), "{refusal}");
    json(&["generate", pack, "hello", "--json-schema", "absent.json"], 2);
    json(&["generate", pack, &"long ".repeat(300)], 5);

    let absent = ("ORT_DYLIB_PATH", "absent/libonnxruntime.so");
    let output = drafthorse(&["generate", pack, "hello"], "", &[absent]);
    assert_eq!(output.status.code(), Some(4));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("where: absent/libonnxruntime.so") && errors.contains("cargo xtask setup"), "{errors}");
}
