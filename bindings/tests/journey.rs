//! The whole way through the border with the demo pack: open, stream, account, a second turn, release.

mod common;

use common::{Answer, finish, greedy, open};
use drafthorse_bindings::{
    DraftLength, DrafthorseError, Drafting, GenerationOptions, Message, Prompt, SessionOptions, StopReason,
};

#[test]
fn open_stream_account_second_turn_release() {
    let engine = open();
    let report = engine.report();
    assert_eq!(report.target.provider, "cpu");
    assert!(report.drafter.is_some(), "{:?}", report.drafter_missing);
    assert!(report.target_costs.iter().all(|cost| cost.ms > 0.0));
    assert!(report.path.ends_with("demo"), "{}", report.path);

    let session = engine.session(SessionOptions::default()).unwrap();
    let prompt = "Once upon a time";
    let first = finish(&session.generate(text(prompt), greedy(40)).unwrap()).unwrap();
    assert_eq!(first.account.stop_reason, StopReason::MaxTokens);
    assert_eq!((first.account.tokens, first.tokens.len()), (40, 40));
    assert!(first.account.lossless && first.account.accepted > 0, "{:?}", first.account);
    assert_eq!(first.tokens.iter().filter(|token| token.drafted).count() as u64, first.account.accepted);

    // What the session holds is prompt and output, and the next turn keeps all but the anchor.
    let ids: Vec<u32> = first.tokens.iter().map(|token| token.id).collect();
    let known = session.tokens().unwrap();
    assert_eq!(known, [engine.tokenize(prompt.to_owned()).unwrap(), ids].concat());
    let second = finish(&session.generate(Prompt::Tokens { tokens: known.clone() }, greedy(8)).unwrap()).unwrap();
    assert_eq!(second.account.prompt_tokens_kept, known.len() as u64 - 1);

    session.rewind(3).unwrap();
    assert_eq!(session.tokens().unwrap(), known[..3]);
    session.reset().unwrap();
    assert!(session.tokens().unwrap().is_empty());
    let again = finish(&session.generate(text(prompt), greedy(40)).unwrap()).unwrap();
    assert_eq!(again.text, first.text);

    engine.release();
    assert!(matches!(session.tokens(), Err(DrafthorseError::Closed(_))));
    assert!(matches!(engine.session(SessionOptions::default()), Err(DrafthorseError::Closed(_))));
}

#[test]
fn the_text_is_the_runtimes_own() {
    let engine = open();
    let session = engine.session(SessionOptions::default()).unwrap();
    let sampled = GenerationOptions { temperature: Some(0.9), top_p: Some(0.95), seed: Some(7), ..greedy(60) };
    let ours = finish(&session.generate(text("The fox"), sampled).unwrap()).unwrap();

    let core = drafthorse_tests::open(&drafthorse_tests::demo_pack());
    let options = drafthorse::GenerationOptions {
        max_tokens: Some(60),
        temperature: Some(0.9),
        top_p: Some(0.95),
        seed: Some(7),
        draft_length: Some(drafthorse::DraftLength::Fixed(4)),
        ..Default::default()
    };
    let session = core.session(&Default::default()).unwrap();
    let core = drafthorse_tests::finish(session.generate(drafthorse::Prompt::Text("The fox"), &options).unwrap());
    let core = core.unwrap();
    assert_eq!(ours.text, core.text);
    assert_eq!(ours.ids(), core.tokens);
    assert_eq!(ours.account.seed, 7);
}

#[test]
fn text_ends_lie_on_characters_and_add_up() {
    let engine = open();
    let session = engine.session(SessionOptions::default()).unwrap();
    let options = GenerationOptions { temperature: Some(1.4), seed: Some(3), ..greedy(120) };
    let generation = session.generate(text("Im Café 🦊 sagte 狐狸:"), options).unwrap();
    let mut text = String::new();
    while let Some(event) = generation.next().unwrap() {
        if let drafthorse_bindings::GenerationEvent::Tokens { text: chunk, tokens } = event {
            let ends: Vec<usize> = tokens.iter().map(|token| token.text_end as usize).collect();
            assert!(ends.is_sorted() && ends.iter().all(|&end| chunk.is_char_boundary(end)), "{chunk:?} {ends:?}");
            text.push_str(&chunk);
        }
    }
    assert!(!text.is_empty());
}

#[test]
fn messages_go_through_the_packs_template() {
    let engine = open();
    let session =
        engine.session(SessionOptions { drafting: Some(Drafting::TargetAlone), context_policy: None }).unwrap();
    let message = |role: &str, content: &str| Message {
        role: role.to_owned(),
        content: Some(content.to_owned()),
        more_json: None,
    };
    let prompt = Prompt::Messages { messages: vec![message("user", "Tell me of a fox.")], tools_json: Vec::new() };
    let Answer { account, .. } = finish(&session.generate(prompt, greedy(5)).unwrap()).unwrap();
    assert!(account.prompt_tokens > 5 && account.proposed == 0);
    let off = GenerationOptions { draft_length: Some(DraftLength::Fixed { tokens: 0 }), ..greedy(5) };
    let account = finish(&session.generate(text("A"), off).unwrap()).unwrap().account;
    assert!(account.passthrough.is_some() && account.passthrough_text.is_some());
}

fn text(text: &str) -> Prompt {
    Prompt::Text { text: text.to_owned() }
}
