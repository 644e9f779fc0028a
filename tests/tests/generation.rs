//! The edges of a generation on a real ONNX pack: limits, stops, cancelling, one at a time.

use std::time::{Duration, Instant};

use drafthorse::{
    ConstraintSpec, ContextPolicy, DraftLength, Drafting, Engine, EngineOptions, Error, Event, GenerationOptions,
    Message, Prompt, Session, SessionOptions, StopReason, TokenId,
};
use drafthorse_graph::{
    GraphOptions,
    fixtures::{LAYOUTS, PRECISIONS, RandomPair},
};
use drafthorse_tests::{answer, edit, finish, open, random_pack, session};
use serde_json::json;
use tempfile::TempDir;

const PROMPT: [TokenId; 4] = [70, 71, 72, 73];

fn pack() -> TempDir {
    random_pack(&RandomPair::small().unwrap(), &GraphOptions::new(LAYOUTS[0].1, PRECISIONS[0].1))
}

fn short(engine: &Engine, context_len: usize) -> Session {
    let options = EngineOptions { context_len: Some(context_len), ..EngineOptions::default() };
    session(&Engine::open(&engine.folder().path, &options).unwrap(), Drafting::Model)
}

fn greedy(max_tokens: usize) -> GenerationOptions {
    GenerationOptions {
        max_tokens: Some(max_tokens),
        draft_length: Some(DraftLength::Fixed(4)),
        ..GenerationOptions::default()
    }
}

#[test]
fn every_length_asked_for_is_kept_to_the_token() {
    let folder = pack();
    let session = session(&open(folder.path()), Drafting::Model);
    let whole = answer(&session, &PROMPT, &greedy(24)).unwrap().tokens;
    for len in 1..=24 {
        let got = answer(&session, &PROMPT, &greedy(len)).unwrap();
        assert_eq!(got.tokens, whole[..len]);
        assert_eq!(got.account.stop_reason, StopReason::MaxTokens);
        assert_eq!(session.tokens().unwrap().len(), PROMPT.len() + len);
    }
    assert!(matches!(answer(&session, &PROMPT, &greedy(0)), Err(Error::InvalidOption { option: "max_tokens", .. })));
}

#[test]
fn a_full_context_ends_the_text_and_never_passes_the_cache() {
    let folder = pack();
    let engine = open(folder.path());
    let whole = answer(&session(&engine, Drafting::None), &PROMPT, &greedy(40)).unwrap().tokens;
    for context_len in [PROMPT.len(), PROMPT.len() + 1, 10, 17, 30] {
        let got = answer(&short(&engine, context_len), &PROMPT, &greedy(1000)).unwrap();
        // The last token need not fit: nothing is scored after it.
        assert_eq!(got.tokens, whole[..context_len - PROMPT.len() + 1]);
        assert_eq!(got.account.stop_reason, StopReason::ContextFull);
    }
    // The smallest there is: opening it measures passes over it, too.
    let one = answer(&short(&engine, 1), &PROMPT[..1], &greedy(1000)).unwrap();
    assert_eq!((one.tokens.len(), one.account.stop_reason), (1, StopReason::ContextFull));
    let refused = answer(&short(&engine, 3), &PROMPT, &greedy(5));
    assert!(matches!(refused, Err(Error::ContextFull { needed: 4, capacity: 3 })), "{refused:?}");
}

#[test]
fn an_empty_prompt_starts_with_the_first_token_or_is_refused_by_name() {
    let folder = pack();
    let engine = open(folder.path());
    let session = session(&engine, Drafting::Model);
    let got = answer(&session, &[], &greedy(3));
    match engine.tokenizer().bos() {
        Some(_) => assert_eq!(got.unwrap().tokens.len(), 3),
        None => assert!(matches!(got, Err(Error::InvalidOption { option: "prompt", .. }))),
    }
    let unknown = answer(&session, &[1_000_000], &greedy(3));
    assert!(matches!(unknown, Err(Error::InvalidOption { option: "prompt", .. })));
}

#[test]
fn stop_texts_cut_the_output_wherever_they_fall() {
    let folder = pack();
    let engine = open(folder.path());
    let session = session(&engine, Drafting::Model);
    let whole = answer(&session, &PROMPT, &greedy(40)).unwrap().text;
    let starts: Vec<usize> = whole.char_indices().map(|(place, _)| place).skip(1).step_by(3).collect();
    for start in starts {
        let stop: String = whole[start..].chars().take(3).collect();
        let options = GenerationOptions { stop: vec!["never there".into(), stop.clone()], ..greedy(40) };
        let got = answer(&session, &PROMPT, &options).unwrap();
        assert_eq!(got.text, whole[..whole.find(&stop).unwrap()], "stopped at {stop:?}");
        assert_eq!(got.account.stop_reason, StopReason::StopSequence);
        // The session stands behind the token that completed the stop text.
        assert_eq!(session.tokens().unwrap(), [&PROMPT[..], &got.tokens].concat());
    }
}

#[test]
fn an_end_token_inside_a_draft_ends_the_text_there() {
    let folder = pack();
    let whole = answer(&session(&open(folder.path()), Drafting::None), &PROMPT, &greedy(24)).unwrap().tokens;
    for place in [1, 5, 11] {
        let end = whole[place];
        let first = whole.iter().position(|&token| token == end).unwrap();
        edit(folder.path(), "genai_config.json", |config| config["model"]["eos_token_id"] = json!([end])).unwrap();
        let session = session(&open(folder.path()), Drafting::Model);
        let got = answer(&session, &PROMPT, &greedy(24)).unwrap();
        assert_eq!(got.tokens, whole[..=first]);
        assert_eq!(got.account.stop_reason, StopReason::StopToken);
        let banned = GenerationOptions { min_tokens: Some(24), ..greedy(24) };
        assert!(!answer(&session, &PROMPT, &banned).unwrap().tokens.contains(&end));
    }
}

#[test]
fn cancelling_after_any_event_keeps_whole_tokens_and_the_session() {
    let folder = pack();
    let session = session(&open(folder.path()), Drafting::Model);
    let expected = answer(&session, &PROMPT, &greedy(32)).unwrap();
    for events in 0..10 {
        session.reset().unwrap();
        let mut generation = session.generate(Prompt::Tokens(&PROMPT), &greedy(32)).unwrap();
        let cancel = generation.cancel_handle();
        let before = generation.by_ref().take(events).map(Result::unwrap).collect::<Vec<_>>();
        cancel.cancel();
        let rest = generation.by_ref().map(Result::unwrap).collect::<Vec<_>>();
        if let Some(Event::Finished(account)) = rest.last() {
            assert_eq!(account.stop_reason, StopReason::Cancelled);
        } else {
            assert!(matches!(before.last(), Some(Event::Finished(_))), "{rest:?}");
        }
        drop(generation);
        let known = session.tokens().unwrap();
        assert_eq!(known, [&PROMPT[..], &expected.tokens].concat()[..known.len()]);
        // A late cancel reaches nobody, and the text goes on as it would have.
        cancel.cancel();
        assert_eq!(answer(&session, &PROMPT, &greedy(32)).unwrap().tokens, expected.tokens);
    }
}

fn tokens_of(event: &Event) -> Vec<TokenId> {
    match event {
        Event::Tokens(chunk) => chunk.tokens.iter().map(|token| token.id).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn another_thread_cancels_a_long_prefill() {
    let folder = pack();
    let session = session(&open(folder.path()), Drafting::Model);
    let prompt: Vec<TokenId> = (0..200).map(|i| 40 + i % 100).collect();
    let whole = answer(&session, &prompt, &greedy(50)).unwrap();
    let mut in_prefill = 0;
    for attempt in 0..400 {
        session.reset().unwrap();
        let generation = session.generate(Prompt::Tokens(&prompt), &greedy(50)).unwrap();
        let cancel = generation.cancel_handle();
        let canceller = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_micros(attempt % 20 * 50));
            cancel.cancel();
        });
        let events: Vec<Event> = generation.map(Result::unwrap).collect();
        canceller.join().unwrap();
        let tokens: Vec<TokenId> = events.iter().flat_map(tokens_of).collect();
        assert_eq!(tokens, whole.tokens[..tokens.len()]);
        let Some(Event::Finished(account)) = events.last() else { panic!("{events:?}") };
        match account.stop_reason {
            // The one pass over the prompt was not let to its end.
            StopReason::Cancelled => in_prefill += usize::from(events.len() == 1),
            reason => assert_eq!((reason, &tokens), (whole.account.stop_reason, &whole.tokens)),
        }
        assert_eq!(session.tokens().unwrap(), [&prompt[..], &tokens].concat());
    }
    println!("{in_prefill} of 400 were cancelled in prefill");
    assert!(in_prefill > 0);
    assert_eq!(answer(&session, &prompt, &greedy(50)).unwrap().tokens, whole.tokens);
}

#[test]
fn times_hold_the_preparation_and_not_what_the_caller_does_before_the_first_event() {
    let folder = pack();
    let session = session(&open(folder.path()), Drafting::None);
    // The first constraint of an engine takes far longer than the one token that follows.
    let schema = r#"{"type":"object","properties":{"name":{"enum":["fox","cat"]},"legs":{"type":"integer"}}}"#;
    let options = GenerationOptions { constraint: Some(ConstraintSpec::JsonSchema(schema.to_owned())), ..greedy(1) };
    let begun = Instant::now();
    let generation = session.generate(Prompt::Tokens(&PROMPT), &options).unwrap();
    let prepared = begun.elapsed();
    let waiting = Instant::now();
    std::thread::sleep(Duration::from_millis(200));
    let waited = waiting.elapsed();
    let account = finish(generation).unwrap().account;
    let rest = begun.elapsed() - waited;
    assert!(account.time.total_ms <= millis(rest), "{account:?}, {rest:?} without the wait");
    assert!(account.ttft_ms >= millis(prepared) / 2.0, "{account:?}, prepared in {prepared:?}");
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[test]
fn one_generation_at_a_time_and_dropping_it_frees_the_session() {
    let folder = pack();
    let engine = open(folder.path());
    let first = session(&engine, Drafting::Model);
    let running = first.generate(Prompt::Tokens(&PROMPT), &greedy(5)).unwrap();
    assert!(matches!(first.generate(Prompt::Tokens(&PROMPT), &greedy(5)), Err(Error::SessionBusy)));
    assert!(matches!(first.reset(), Err(Error::SessionBusy)));
    // Another session of the same engine is not concerned.
    let second = answer(&session(&engine, Drafting::Model), &PROMPT, &greedy(5)).unwrap();
    drop(running);
    assert_eq!(answer(&first, &PROMPT, &greedy(5)).unwrap().tokens, second.tokens);
}

#[test]
fn the_next_turn_computes_only_what_is_new() {
    let folder = pack();
    let engine = open(folder.path());
    let pair = session(&engine, Drafting::Model);
    let first = answer(&pair, &PROMPT, &greedy(10)).unwrap();
    let next = [&PROMPT[..], &first.tokens, &[80, 81, 82]].concat();
    let turn = finish(pair.generate(Prompt::Tokens(&next), &greedy(10)).unwrap()).unwrap();
    assert!(turn.account.prompt_tokens_kept >= PROMPT.len() + first.tokens.len() - 1);
    let fresh = answer(&session(&engine, Drafting::None), &next, &greedy(10)).unwrap();
    assert_eq!(turn.tokens, fresh.tokens);
    // Rewinding to the middle of the first answer and going on is the same as never having gone further.
    pair.rewind(PROMPT.len() + 4).unwrap();
    let again = [&PROMPT[..], &first.tokens[..4]].concat();
    let resumed = finish(pair.generate(Prompt::Tokens(&again), &greedy(6)).unwrap()).unwrap();
    assert_eq!(resumed.tokens, first.tokens[4..]);
}

#[test]
fn a_constraint_holds_in_drafts_and_in_the_check() {
    let folder = pack();
    let engine = open(folder.path());
    let options = GenerationOptions {
        constraint: Some(ConstraintSpec::Regex("[0-9]{3}-[a-f]{5}".into())),
        temperature: Some(1.0),
        ..greedy(40)
    };
    for drafting in [Drafting::None, Drafting::Model, Drafting::Both] {
        for seed in 0..20 {
            let options = GenerationOptions { seed: Some(seed), ..options.clone() };
            let text = answer(&session(&engine, drafting), &PROMPT, &options).unwrap().text;
            let (digits, letters) = text.split_once('-').unwrap_or_else(|| panic!("{text:?}"));
            assert!(digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
            assert!(letters.len() == 5 && letters.bytes().all(|byte| (b'a'..=b'f').contains(&byte)), "{text:?}");
        }
    }
}

#[test]
fn what_a_constraint_forces_is_drafted_for_free_and_changes_nothing() {
    let folder = pack();
    let engine = open(folder.path());
    let constraint = Some(ConstraintSpec::Regex("[0-9]the answer to everything is [0-9]{2}, they said".into()));
    let never = Some(DraftLength::Fixed(0));
    let plain = GenerationOptions { constraint: constraint.clone(), draft_length: never, ..greedy(80) };
    let plain = answer(&session(&engine, Drafting::None), &PROMPT, &plain).unwrap();
    assert!(plain.text.ends_with("they said"), "{:?}", plain.text);
    assert_eq!(plain.account.proposed, 0);
    for drafting in [Drafting::None, Drafting::Lookup, Drafting::Model, Drafting::Both] {
        for draft_length in [DraftLength::Fixed(5), DraftLength::Adaptive(8)] {
            let options =
                GenerationOptions { constraint: constraint.clone(), draft_length: Some(draft_length), ..greedy(80) };
            let forced = answer(&session(&engine, drafting), &PROMPT, &options).unwrap();
            assert_eq!(forced.tokens, plain.tokens, "{drafting:?} {draft_length:?}");
            let account = forced.account;
            assert!(account.accepted > 0 && account.rounds < plain.account.rounds, "{drafting:?}: {account:?}");
            assert!(account.positions.len() <= draft_length.len_max(), "{account:?}");
        }
    }
}

#[test]
fn a_complete_constraint_ends_before_min_tokens() {
    let folder = pack();
    let engine = open(folder.path());
    let options = GenerationOptions {
        constraint: Some(ConstraintSpec::Regex("[0-9]{2}".into())),
        min_tokens: Some(30),
        ..greedy(40)
    };
    for temperature in [0.0, 1.0] {
        for drafting in [Drafting::None, Drafting::Model] {
            let options = GenerationOptions { temperature: Some(temperature), seed: Some(3), ..options.clone() };
            let answer = answer(&session(&engine, drafting), &PROMPT, &options).unwrap();
            assert_eq!(answer.account.stop_reason, StopReason::StopToken);
            assert!(answer.text.len() == 2 && answer.text.bytes().all(|byte| byte.is_ascii_digit()), "{answer:?}");
        }
    }
}

#[test]
fn seed_coupled_text_is_that_of_plain_sampling_with_the_same_seed() {
    let folder = pack();
    let engine = open(folder.path());
    for seed in 0..20 {
        let options = GenerationOptions {
            temperature: Some(0.9),
            seed: Some(seed),
            verification: Some(drafthorse::Verification::SeedCoupled),
            ..greedy(30)
        };
        let plain = answer(&session(&engine, Drafting::None), &PROMPT, &options).unwrap();
        for drafting in [Drafting::Model, Drafting::Lookup, Drafting::Both] {
            assert_eq!(answer(&session(&engine, drafting), &PROMPT, &options).unwrap().tokens, plain.tokens);
        }
    }
}

fn chat_pack(template: &str) -> TempDir {
    let folder = pack();
    std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    folder
}

#[test]
fn dropped_turns_leave_room_for_an_answer_and_the_cache_its_use() {
    let folder = chat_pack("{% for message in messages %}{{ message.role[0] }}{{ message.content }}\n{% endfor %}a");
    let engine = open(folder.path());
    let context_len = engine.report().context_len;
    let policy = SessionOptions { context_policy: ContextPolicy::DropOldestTurns, ..SessionOptions::default() };
    let session = engine.session(&policy).unwrap();
    let mut messages = vec![Message::new("system", "be brief")];
    let (mut full, mut served) = (0, 0);
    for turn in 0..80 {
        messages.push(Message::new("user", format!("{turn}?")));
        let prompt = Prompt::Messages { messages: &messages, tools: &[] };
        let answer = finish(session.generate(prompt, &greedy(30)).unwrap()).unwrap();
        assert_ne!(answer.account.stop_reason, StopReason::ContextFull, "there is room for what was asked for");
        let (len, kept) = (answer.account.prompt_tokens, answer.account.prompt_tokens_kept);
        if turn >= 50 {
            full += 1;
            served += usize::from(kept > len / 2);
            assert!(len > context_len / 2, "{len} of {context_len}: as many turns as fit");
        }
        messages.push(Message::new("assistant", "yes"));
    }
    assert!(served > full / 2, "{served} of {full} prompts began as the one before");
    let prompt = Prompt::Messages { messages: &messages, tools: &[] };
    for (max_tokens, room) in [(None, context_len / 4), (Some(100), 100), (Some(10_000), context_len / 2)] {
        let options = GenerationOptions { max_tokens, ..greedy(1) };
        let generation = session.generate(prompt, &options).unwrap();
        let Some(Ok(Event::Prefill { total, .. })) = generation.into_iter().next() else { panic!("no prefill") };
        assert!(total + room <= context_len, "{max_tokens:?}: {total} of {context_len}");
    }
}

#[test]
fn old_turns_are_dropped_where_the_policy_says_so() {
    let template = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:";
    let folder = chat_pack(template);
    let options = EngineOptions { context_len: Some(120), ..EngineOptions::default() };
    let engine = Engine::open(folder.path(), &options).unwrap();
    let mut messages = vec![Message::new("system", "be brief")];
    for _ in 0..12 {
        messages.push(Message::new("user", "tell me more of it"));
        messages.push(Message::new("assistant", "that was all"));
    }
    messages.push(Message::new("user", "last"));
    let prompt = Prompt::Messages { messages: &messages, tools: &[] };
    let strict = engine.session(&SessionOptions::default()).unwrap();
    assert!(matches!(strict.generate(prompt, &greedy(4)), Err(Error::ContextFull { .. })));

    let policy = SessionOptions { context_policy: ContextPolicy::DropOldestTurns, ..SessionOptions::default() };
    let session = engine.session(&policy).unwrap();
    finish(session.generate(prompt, &greedy(1)).unwrap()).unwrap();
    let text = engine.tokenizer().decode(&session.tokens().unwrap(), drafthorse::SpecialTokens::Show);
    assert!(text.starts_with("system: be brief\nuser: tell me more"), "{text}");
    assert!(text.contains("user: last\nassistant:"), "{text}");
}
