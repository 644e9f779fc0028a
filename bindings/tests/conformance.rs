//! The cases of `tests/conformance/cases.json` through the border. Kotlin's and Swift's tests read the same file.
//!
//! `DRAFTHORSE_REGENERATE=1` writes what is expected anew, after checks that hold whatever is expected: greedy text
//! is the target's own, and no greedy choice was so close that another processor's rounding could turn it.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Answer, demo_pack, finish};
use drafthorse_bindings as ffi;
use drafthorse_bindings::{DrafthorseError, Engine, Session};
use serde_json::{Value, json};

/// Smallest difference of the two best logits that every processor's rounding leaves alone.
const MARGIN_MIN: f32 = 1e-3;

#[test]
fn the_border_gives_what_the_file_expects() {
    let path = cases_file();
    let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let regenerate = std::env::var_os("DRAFTHORSE_REGENERATE").is_some();
    let engine = Engine::open(demo_pack(), common::one_thread()).unwrap();
    let mut texts = HashMap::new();
    for case in file["cases"].as_array_mut().unwrap() {
        let name = case["name"].as_str().unwrap().to_owned();
        let session = engine.session(session_options(&case["session"])).unwrap();
        for turn in case["turns"].as_array_mut().unwrap() {
            let got = run(&session, turn);
            if regenerate {
                check_margins(&name, turn, &got);
                turn["expect"] = got;
            } else {
                assert_eq!(got, turn["expect"], "{name}");
            }
        }
        texts.insert(name.clone(), case["turns"][0]["expect"]["text"].clone());
        if let Some(other) = case["same_text_as"].as_str() {
            assert_eq!(texts[&name], texts[other], "{name}");
        }
    }
    if regenerate {
        let temporary = path.with_extension("json.new");
        fs::write(&temporary, written(&file)).unwrap();
        fs::rename(temporary, path).unwrap();
    }
}

/// JSON to be read: lists of numbers on one line each.
fn written(file: &Value) -> String {
    let mut text = String::new();
    let mut in_numbers = false;
    for line in serde_json::to_string_pretty(file).unwrap().lines() {
        let item = line.trim();
        let number = item.trim_end_matches(',').parse::<f64>().is_ok();
        if number || (in_numbers && item.starts_with(']')) {
            text.truncate(text.trim_end_matches('\n').len());
            text.push_str(if number && in_numbers { " " } else { "" });
            text.push_str(item);
        } else {
            text.push_str(line);
        }
        in_numbers = number;
        text.push('\n');
    }
    text
}

fn cases_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance/cases.json")
}

/// Runs one turn and says what came of it, as the file writes it.
fn run(session: &Session, turn: &Value) -> Value {
    let outcome = session.generate(prompt(&turn["prompt"]), options(&turn["options"]));
    match outcome.and_then(|generation| finish(&generation)) {
        Ok(answer) => {
            let Answer { text, tokens, account } = &answer;
            json!({
                "text": text,
                "tokens": answer.ids(),
                "drafted": tokens.iter().filter(|token| token.drafted).count(),
                "stop_reason": stop_reason(account.stop_reason),
                "prompt_tokens": account.prompt_tokens,
                "prompt_tokens_kept": account.prompt_tokens_kept,
                "lossless": account.lossless,
            })
        }
        Err(error) => json!({"error": variant(&error)}),
    }
}

fn session_options(json: &Value) -> ffi::SessionOptions {
    let drafting = json["drafting"].as_str().map(|name| match name {
        "none" => ffi::Drafting::TargetAlone,
        "model" => ffi::Drafting::Model,
        "lookup" => ffi::Drafting::Lookup,
        "both" => ffi::Drafting::Both,
        other => panic!("drafting {other}"),
    });
    ffi::SessionOptions { drafting, context_policy: None }
}

fn prompt(json: &Value) -> ffi::Prompt {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    match json {
        Value::Object(fields) if fields.contains_key("text") => ffi::Prompt::Text { text: text(&json["text"]) },
        Value::Object(fields) if fields.contains_key("tokens") => ffi::Prompt::Tokens { tokens: ids(&json["tokens"]) },
        _ => ffi::Prompt::Messages {
            messages: json["messages"]
                .as_array()
                .unwrap()
                .iter()
                .map(|message| ffi::Message {
                    role: text(&message["role"]),
                    content: Some(text(&message["content"])),
                    more_json: None,
                })
                .collect(),
            tools_json: Vec::new(),
        },
    }
}

fn ids(json: &Value) -> Vec<u32> {
    json.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// Every field that the file may name; an unknown one is a mistake in the file.
fn options(json: &Value) -> ffi::GenerationOptions {
    let mut options = ffi::GenerationOptions::default();
    for (name, value) in json.as_object().unwrap() {
        let whole = || Some(value.as_u64().unwrap());
        let real = || Some(value.as_f64().unwrap() as f32);
        match name.as_str() {
            "max_tokens" => options.max_tokens = whole(),
            "min_tokens" => options.min_tokens = whole(),
            "temperature" => options.temperature = real(),
            "top_k" => options.top_k = whole(),
            "top_p" => options.top_p = real(),
            "min_p" => options.min_p = real(),
            "repetition_penalty" => options.repetition_penalty = real(),
            "frequency_penalty" => options.frequency_penalty = real(),
            "presence_penalty" => options.presence_penalty = real(),
            "logit_bias" => options.logit_bias = value.as_array().unwrap().iter().map(bias).collect(),
            "seed" => options.seed = whole(),
            "stop" => {
                let stop = value.as_array().unwrap().iter();
                options.stop = stop.map(|text| text.as_str().unwrap().to_owned()).collect();
            }
            "verification" => options.verification = Some(verification(value)),
            "draft_length" => {
                options.draft_length = Some(ffi::DraftLength::Fixed { tokens: value["fixed"].as_u64().unwrap() });
            }
            "constraint" => options.constraint = Some(constraint(value)),
            other => panic!("option {other}"),
        }
    }
    options
}

fn bias(pair: &Value) -> ffi::TokenBias {
    ffi::TokenBias { token: pair[0].as_u64().unwrap() as u32, bias: pair[1].as_f64().unwrap() as f32 }
}

fn verification(json: &Value) -> ffi::Verification {
    match json.as_str() {
        Some("token") => ffi::Verification::Token,
        Some("block") => ffi::Verification::Block,
        Some("seed_coupled") => ffi::Verification::SeedCoupled,
        _ => {
            let (form, epsilon) = json["lenient"].as_object().unwrap().iter().next().unwrap();
            let epsilon = epsilon.as_f64().unwrap();
            let lenience = match form.as_str() {
                "linear" => ffi::Lenience::Linear { epsilon },
                "square" => ffi::Lenience::Square { epsilon },
                "exponential" => ffi::Lenience::Exponential { epsilon },
                other => panic!("lenience {other}"),
            };
            ffi::Verification::Lenient { lenience }
        }
    }
}

fn constraint(json: &Value) -> ffi::Constraint {
    let (kind, text) = json.as_object().unwrap().iter().next().unwrap();
    let text = text.as_str().unwrap().to_owned();
    match kind.as_str() {
        "regex" => ffi::Constraint::Regex { pattern: text },
        "json_schema" => ffi::Constraint::JsonSchema { schema: text },
        "lark" => ffi::Constraint::Lark { grammar: text },
        other => panic!("constraint {other}"),
    }
}

fn stop_reason(reason: ffi::StopReason) -> &'static str {
    match reason {
        ffi::StopReason::StopToken => "STOP_TOKEN",
        ffi::StopReason::StopSequence => "STOP_SEQUENCE",
        ffi::StopReason::MaxTokens => "MAX_TOKENS",
        ffi::StopReason::ContextFull => "CONTEXT_FULL",
        ffi::StopReason::Cancelled => "CANCELLED",
    }
}

/// The variant's name: what stands before the message.
fn variant(error: &DrafthorseError) -> String {
    format!("{error:?}").split('(').next().unwrap().to_owned()
}

/// In a plain greedy turn, every token must be the target's clear choice.
fn check_margins(name: &str, turn: &Value, got: &Value) {
    let plain = |options: &Value| {
        let warped = ["temperature", "repetition_penalty", "logit_bias", "constraint", "min_tokens"];
        warped.iter().all(|option| options[option].is_null())
    };
    let (Some(tokens), Value::String(text)) = (got["tokens"].as_array(), &turn["prompt"]["text"]) else { return };
    if !plain(&turn["options"]) || text.is_empty() {
        return;
    }
    let engine = drafthorse_tests::open(&drafthorse_tests::demo_pack());
    let session = drafthorse_tests::session(&engine, drafthorse::Drafting::None);
    let mut known = engine.tokenizer().encode(text).unwrap();
    for token in tokens {
        let margin = drafthorse_tests::margin(&session, &known).unwrap();
        assert!(margin > MARGIN_MIN, "{name}: the choice after {} tokens is open by {margin}", known.len());
        known.push(token.as_u64().unwrap() as u32);
    }
}
