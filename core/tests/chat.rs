//! Chat templates against the prompts that Jinja2 renders; `fixtures/chat/make.py` makes them.

use std::path::{Path, PathBuf};

use drafthorse::{Chat, ChatTemplate, Content, Error, LocalTime, Message};
use drafthorse_pack::{ChatTemplate as Source, TokenizerConfig, TokenizerFiles};
use serde_json::{Map, Value, json};

#[derive(serde::Deserialize)]
struct Case {
    template: String,
    messages: Vec<Message>,
    tools: Vec<Value>,
    add_generation_prompt: bool,
    variables: Map<String, Value>,
    prompt: String,
}

fn files(templates: &[(&str, &str)]) -> TokenizerFiles {
    let config =
        TokenizerConfig { bos_token: Some("<s>".into()), eos_token: Some("</s>".into()), ..TokenizerConfig::default() };
    let source = |&(name, text): &(&str, &str)| Source {
        name: name.into(),
        text: text.into(),
        path: PathBuf::from("chat_template.jinja"),
    };
    TokenizerFiles { path: "tokenizer.json".into(), config, chat_templates: templates.iter().map(source).collect() }
}

fn open(template: &str) -> ChatTemplate {
    ChatTemplate::open(&files(&[("default", template)])).unwrap()
}

fn ask(messages: &[Message]) -> Chat<'_> {
    Chat { now: LocalTime::new(1_721_998_800, 0), ..Chat::new(messages) }
}

fn refusal(template: &str) -> (Option<usize>, String) {
    let rendered = ChatTemplate::open(&files(&[("default", template)]))
        .and_then(|template| template.render(&ask(&[Message::new("user", "hi")])));
    let Err(Error::ChatTemplate { line, reason, .. }) = rendered else { panic!("{rendered:?}") };
    (line, reason)
}

#[test]
fn prompts_are_those_of_jinja() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chat");
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(folder.join("prompts.json")).unwrap()).unwrap();
    assert!(cases.len() >= 15);
    for case in cases {
        let template = std::fs::read_to_string(folder.join(format!("{}.jinja", case.template))).unwrap();
        let variables: Vec<(String, Value)> = case.variables.into_iter().collect();
        let chat = Chat {
            messages: &case.messages,
            tools: &case.tools,
            add_generation_prompt: case.add_generation_prompt,
            variables: &variables,
            ..ask(&[])
        };
        assert_eq!(open(&template).render(&chat).unwrap(), case.prompt, "{}", case.template);
    }
}

#[test]
fn a_refusal_has_the_template_s_words_and_line() {
    let (line, reason) = refusal("{{ bos_token }}\n\n{{ raise_exception('no ' ~ messages[0].role) }}");
    assert_eq!(line, Some(3));
    assert!(reason.ends_with("no user"), "{reason}");
    let (line, reason) = refusal("{% if true %}\n{{ messages[0].role.nothing() }}{% endif %}");
    assert_eq!(line, Some(2));
    assert!(reason.contains("nothing"), "{reason}");
}

#[test]
fn broken_templates_are_typed_errors() {
    let (line, _) = refusal("line\n{% if %}");
    assert_eq!(line, Some(2));
    assert!(
        refusal("{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}").1.contains("steps")
    );
    assert!(refusal("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").0.is_some());
    refusal("{% include 'secret' %}");
    refusal("{{ 'a' * 10000000000 }}");
    refusal("{% for i in range(2000) %}{{ 'a' * 100000 }}{% endfor %}");
    let none = ChatTemplate::open(&files(&[])).unwrap_err();
    assert_eq!(none.to_string().split(": ").next(), Some("chat template of tokenizer.json"));
}

#[test]
fn content_takes_the_form_that_the_template_reads() {
    let parts = Content::Parts(vec![json!({"type": "text", "text": "a"}), json!({"type": "text", "text": "b"})]);
    let in_parts = [Message { role: "user".into(), content: Some(parts), more: Map::new() }];
    let for_text = open("{% for m in messages %}{{ m.content + '|' }}{% endfor %}");
    assert_eq!(for_text.render(&ask(&in_parts)).unwrap(), "a\nb|");
    let for_parts = open("{% for m in messages %}{% for p in m.content %}{{ p.text }}|{% endfor %}{% endfor %}");
    assert_eq!(for_parts.render(&ask(&in_parts)).unwrap(), "a|b|");
    assert_eq!(for_parts.render(&ask(&[Message::new("user", "hi")])).unwrap(), "hi|");
}

#[test]
fn a_template_for_tools_is_used_for_tools() {
    let template = ChatTemplate::open(&files(&[("default", "plain"), ("tool_use", "{{ tools | length }} tools")]));
    let template = template.unwrap();
    let messages = [Message::new("user", "hi")];
    assert_eq!(template.render(&ask(&messages)).unwrap(), "plain");
    let tools = [json!({"name": "f"})];
    assert_eq!(template.render(&Chat { tools: &tools, ..ask(&messages) }).unwrap(), "1 tools");
}
