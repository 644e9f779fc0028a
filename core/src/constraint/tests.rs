//! Constraints against brute force over small languages and vocabularies, and JSON against a parser.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::text::fixtures::{byte_level, sentencepiece};
use crate::token_mask::allows;

fn compiler(tokenizer: &Tokenizer) -> ConstraintCompiler {
    ConstraintCompiler::new(tokenizer, &[end(tokenizer)]).unwrap()
}

fn end(tokenizer: &Tokenizer) -> TokenId {
    tokenizer.id("<|end|>").unwrap()
}

fn either(fallback: bool) -> &'static Tokenizer {
    if fallback { sentencepiece() } else { byte_level() }
}

fn compile(tokenizer: &Tokenizer, spec: &ConstraintSpec) -> Constraint {
    compiler(tokenizer).compile(spec).unwrap()
}

fn lark_of(language: &[String]) -> ConstraintSpec {
    let words: Vec<String> = language.iter().map(|word| format!("{word:?}")).collect();
    ConstraintSpec::Lark(format!("start: {}", words.join(" | ")))
}

fn regex_of(language: &[String]) -> ConstraintSpec {
    ConstraintSpec::Regex(format!("({})", language.join("|")))
}

/// The tokens that keep the text a beginning of some word of the language; stop tokens where it is one.
fn brute_force(tokenizer: &Tokenizer, language: &[String], text: &[u8]) -> Vec<TokenId> {
    let continues = |token: &TokenId| {
        if *token == end(tokenizer) {
            return language.iter().any(|word| word.as_bytes() == text);
        }
        let bytes = tokenizer.token_bytes(*token);
        let longer = [text, bytes].concat();
        !bytes.is_empty()
            && !tokenizer.is_special(*token)
            && language.iter().any(|word| word.as_bytes().starts_with(&longer))
    };
    (0..tokenizer.vocab_len() as TokenId).filter(continues).collect()
}

fn allowed(constraint: &mut Constraint, vocab_len: usize) -> Vec<TokenId> {
    let mask = constraint.mask().unwrap().unwrap();
    (0..vocab_len as TokenId + 64).filter(|&token| allows(mask, token)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn masks_are_those_of_brute_force(
        language in prop::collection::vec("[a-b12日😀 ]{1,6}", 1..6),
        choices in prop::collection::vec(any::<prop::sample::Index>(), 12),
        lark in any::<bool>(),
        fallback in any::<bool>(),
    ) {
        let tokenizer = either(fallback);
        let spec = if lark { lark_of(&language) } else { regex_of(&language) };
        let mut constraint = compile(tokenizer, &spec);
        let mut text = Vec::new();
        for choice in choices {
            let expected = brute_force(tokenizer, &language, &text);
            prop_assert_eq!(&allowed(&mut constraint, tokenizer.vocab_len()), &expected);
            let accepts = language.iter().any(|word| word.as_bytes() == text);
            prop_assert_eq!(constraint.is_accepting().unwrap(), accepts);
            let token = expected[choice.index(expected.len())];
            constraint.push(token).unwrap();
            if token == end(tokenizer) {
                prop_assert!(constraint.is_done());
                prop_assert_eq!(allowed(&mut constraint, tokenizer.vocab_len()), [token]);
                return Ok(());
            }
            text.extend_from_slice(tokenizer.token_bytes(token));
        }
    }

    #[test]
    fn tokens_are_taken_exactly_where_the_mask_has_them(
        language in prop::collection::vec("[ab日 ]{1,4}", 1..5),
        choice in any::<prop::sample::Index>(),
        seen in any::<bool>(),
        fallback in any::<bool>(),
    ) {
        let tokenizer = either(fallback);
        let mut constraint = compile(tokenizer, &lark_of(&language));
        let first = brute_force(tokenizer, &language, &[]);
        let first = first[choice.index(first.len())];
        constraint.push(first).unwrap();
        let expected = brute_force(tokenizer, &language, tokenizer.token_bytes(first));
        for token in 0..tokenizer.vocab_len() as TokenId + 70 {
            if seen {
                constraint.mask().unwrap();
            }
            // A refused token leaves the constraint as it was.
            let taken = constraint.push(token);
            prop_assert_eq!(taken.is_ok(), expected.contains(&token), "token {}", token);
            if taken.is_ok() {
                constraint.rollback(1).unwrap();
            }
        }
    }

    #[test]
    fn a_rejected_draft_leaves_no_trace(
        language in prop::collection::vec("[ab日😀 ]{1,6}", 1..6),
        draft in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        keep in any::<prop::sample::Index>(),
        forced in any::<bool>(),
    ) {
        let tokenizer = byte_level();
        let mut drafted = compile(tokenizer, &lark_of(&language));
        let mut plain = drafted.clone();
        let mut tokens = Vec::new();
        for choice in draft {
            if forced {
                drafted.forced_tokens(&mut Vec::new());
            }
            let choices = allowed(&mut drafted, tokenizer.vocab_len());
            if choices.is_empty() {
                break;
            }
            tokens.push(choices[choice.index(choices.len())]);
            drafted.push(tokens[tokens.len() - 1]).unwrap();
        }
        let kept = keep.index(tokens.len() + 1);
        drafted.rollback(tokens.len() - kept).unwrap();
        prop_assert!(drafted.clone().rollback(kept + 1).is_err());
        for &token in &tokens[..kept] {
            plain.push(token).unwrap();
        }
        let vocab_len = tokenizer.vocab_len();
        prop_assert_eq!(allowed(&mut drafted, vocab_len), allowed(&mut plain, vocab_len));
        prop_assert_eq!(drafted.is_accepting().unwrap(), plain.is_accepting().unwrap());
        prop_assert_eq!(drafted.is_done(), plain.is_done());
        drafted.rollback(kept).unwrap();
        plain.rollback(kept).unwrap();
        prop_assert_eq!(allowed(&mut drafted, vocab_len), allowed(&mut plain, vocab_len));
    }

    #[test]
    fn forced_tokens_begin_every_output(
        stem in "[ab日😀 ]{1,8}", ends in prop::collection::vec("[ab日]{1,2}", 2..4), fallback in any::<bool>()
    ) {
        let tokenizer = either(fallback);
        let language: Vec<String> = ends.iter().map(|end| format!("{stem}{end}")).collect();
        let mut constraint = compile(tokenizer, &lark_of(&language));
        let mut tokens = Vec::new();
        constraint.forced_tokens(&mut tokens);
        let bytes: Vec<u8> = tokens.iter().flat_map(|&token| tokenizer.token_bytes(token).to_vec()).collect();
        prop_assert!(language.iter().all(|word| word.as_bytes().starts_with(&bytes)));
        for token in tokens {
            constraint.push(token).unwrap();
        }
    }

    #[test]
    fn greedy_walks_under_random_logits_give_valid_json(seed in any::<u64>(), fallback in any::<bool>()) {
        let tokenizer = either(fallback);
        let mut constraint = compile(tokenizer, &ConstraintSpec::JsonSchema(PERSON.into()));
        let (text, ended) = walk(tokenizer, &mut constraint, seed);
        prop_assert!(ended, "{}", text);
        let value: Value = serde_json::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        check_person(&value).map_err(|reason| TestCaseError::fail(format!("{reason}: {text}")))?;
    }
}

/// A schema with the usual constructs; `x-guidance` leaves out optional white space, so that walks end.
const PERSON: &str = r##"{
    "x-guidance": {"whitespace_flexible": false},
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"enum": ["a", "b", null]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
        "address": {"$ref": "#/$defs/address"}
    },
    "required": ["name", "age", "kind", "tags"],
    "additionalProperties": false,
    "$defs": {"address": {
        "type": "object", "properties": {"code": {"type": "string", "pattern": "^[0-9]{2}-[ab]$"}},
        "required": ["code"], "additionalProperties": false
    }}
}"##;

/// The schema again, by hand.
fn check_person(value: &Value) -> Result<(), &'static str> {
    let ensure = |holds: bool, what: &'static str| if holds { Ok(()) } else { Err(what) };
    let person = value.as_object().ok_or("no object")?;
    ensure(value["name"].as_str().is_some_and(|name| name.chars().count() <= 8), "name")?;
    ensure(value["age"].as_u64().is_some_and(|age| age <= 120), "age")?;
    ensure(
        person.contains_key("kind") && (value["kind"].is_null() || value["kind"] == "a" || value["kind"] == "b"),
        "kind",
    )?;
    let tags = value["tags"].as_array().ok_or("tags")?;
    ensure((1..=3).contains(&tags.len()) && tags.iter().all(Value::is_boolean), "tags")?;
    if let Some(address) = person.get("address") {
        let code = address["code"].as_str().ok_or("code")?.as_bytes();
        let digits = code.len() == 4 && code[..2].iter().all(u8::is_ascii_digit);
        ensure(digits && code[2] == b'-' && b"ab".contains(&code[3]), "code")?;
        ensure(address.as_object().is_some_and(|address| address.len() == 1), "address")?;
    }
    let known = ["name", "age", "kind", "tags", "address"];
    ensure(person.keys().all(|key| known.contains(&key.as_str())), "unknown key")
}

/// Takes the allowed token of the highest random score until a stop token; drafts and takes back on the way.
fn walk(tokenizer: &Tokenizer, constraint: &mut Constraint, mut seed: u64) -> (String, bool) {
    let mut stream = tokenizer.stream_after(&[0], crate::SpecialTokens::Hide);
    let mut text = String::new();
    for _ in 0..400 {
        let choices = allowed(constraint, tokenizer.vocab_len());
        // Splitmix64; any scores would do.
        let mut score = || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^ (mixed >> 27)
        };
        let Some(&token) = choices.iter().max_by_key(|_| score()) else { break };
        constraint.push(choices[0]).unwrap();
        constraint.rollback(1).unwrap();
        constraint.push(token).unwrap();
        if token == end(tokenizer) {
            stream.finish(&mut text);
            return (text, true);
        }
        stream.push(token, &mut text);
    }
    (text, false)
}

#[test]
fn the_end_is_allowed_where_the_output_is_complete() {
    let tokenizer = byte_level();
    let mut constraint = compile(tokenizer, &ConstraintSpec::Regex("a+".into()));
    assert!(constraint.push(end(tokenizer)).is_err());
    constraint.push(b'a'.into()).unwrap();
    assert!(constraint.is_accepting().unwrap() && !constraint.is_done());
    constraint.push(end(tokenizer)).unwrap();
    assert!(constraint.is_done());
    assert!(constraint.push(b'a'.into()).is_err());
    constraint.push(end(tokenizer)).unwrap();
    constraint.rollback(2).unwrap();
    constraint.push(b'a'.into()).unwrap();
    constraint.rollback(2).unwrap();
    assert!(!constraint.is_accepting().unwrap());
}

#[test]
fn every_stop_token_ends_the_output() {
    let tokenizer = byte_level();
    let stops = [end(tokenizer), tokenizer.id("<|user|>").unwrap(), 1_000_000];
    let compiler = ConstraintCompiler::new(tokenizer, &stops).unwrap();
    for stop in &stops[..2] {
        let mut constraint = compiler.compile(&ConstraintSpec::Regex("a".into())).unwrap();
        constraint.push(b'a'.into()).unwrap();
        assert_eq!(allowed(&mut constraint, tokenizer.vocab_len()), stops[..2]);
        constraint.push(*stop).unwrap();
    }
    assert!(matches!(ConstraintCompiler::new(tokenizer, &[1_000_000]), Err(Error::Constraint { .. })));
}

#[test]
fn clones_go_their_own_ways() {
    let tokenizer = byte_level();
    let mut one = compile(tokenizer, &ConstraintSpec::Regex("ab|ba".into()));
    let mut two = one.clone();
    one.push(b'a'.into()).unwrap();
    two.push(b'b'.into()).unwrap();
    assert_eq!(allowed(&mut one, 300), [TokenId::from(b'b')]);
    assert_eq!(allowed(&mut two, 300), [TokenId::from(b'a')]);
}

#[test]
fn a_kept_constraint_starts_anew_each_time() {
    let compiler = compiler(byte_level());
    for round in 0..2 * KEPT_MAX {
        for word in ["ab", "ba", "cd", "dc", "ef", "fe"] {
            let mut constraint = compiler.compile(&ConstraintSpec::Regex(word.into())).unwrap();
            for byte in word.bytes() {
                assert_eq!(allowed(&mut constraint, 300), [TokenId::from(byte)], "round {round}");
                constraint.push(byte.into()).unwrap();
            }
            assert!(constraint.is_done());
        }
        // Asked for twice in a row, it comes from what is kept.
        let mut again = compiler.compile(&ConstraintSpec::Regex("fe".into())).unwrap();
        assert_eq!(allowed(&mut again, 300), [TokenId::from(b'f')]);
        assert_eq!(compiler.kept.lock().unwrap().len(), KEPT_MAX);
    }
}

#[test]
fn absurd_constraints_are_typed_errors() {
    let compiler = compiler(byte_level());
    let schema = |json: &str| ConstraintSpec::JsonSchema(json.into());
    for spec in [
        schema(""),
        schema("{"),
        schema("false"),
        schema(r#"{"type": "colour"}"#),
        schema(r#"{"$ref": "https://example.com/schema"}"#),
        schema(r##"{"$ref": "#"}"##),
        schema(r#"{"type": "string", "maxLength": 100000000000}"#),
        schema(r#"{"type": "integer", "minimum": 2, "maximum": 1}"#),
        schema(&"[".repeat(100_000)),
        ConstraintSpec::Regex("(".into()),
        ConstraintSpec::Regex("(".repeat(100_000)),
        ConstraintSpec::Regex("[a&&b]".into()),
        ConstraintSpec::Regex(r"(a)\1".into()),
        ConstraintSpec::Lark(String::new()),
        ConstraintSpec::Lark("start: missing".into()),
        ConstraintSpec::Lark("start: start".into()),
        ConstraintSpec::Lark(format!("start: {}\"a\"{}", "(".repeat(50_000), ")".repeat(50_000))),
        ConstraintSpec::Lark("start: x\nx[stop=\"b\"]: /a*/".into()),
        ConstraintSpec::Lark("x".repeat(SPEC_BYTES_MAX + 1)),
    ] {
        let name: String = format!("{spec:?}").chars().take(80).collect();
        let Err(Error::Constraint { reason }) = compiler.compile(&spec) else { panic!("{name} was compiled") };
        assert!(!reason.is_empty() && !reason.contains("NoExtension"), "{name}: {reason}");
    }
}

#[test]
fn large_constraints_neither_overflow_nor_grow_without_bound() {
    let compiler = compiler(byte_level());
    let refs: Vec<String> = (0..7000).map(|i| format!(r##""d{i}": {{"$ref": "#/$defs/d{}"}}"##, i + 1)).collect();
    let chain = format!(r##"{{"$ref": "#/$defs/d0", "$defs": {{{}, "d7000": {{}}}}}}"##, refs.join(","));
    let rules: String = (0..15_000).map(|i| format!("r{i}:r{}\n", i + 1)).collect();
    for spec in [
        ConstraintSpec::JsonSchema(chain),
        ConstraintSpec::Lark(format!("start:r0\n{rules}r15000:\"a\"")),
        ConstraintSpec::JsonSchema(r#"{"type": "array", "minItems": 1000000000, "maxItems": 2000000000}"#.into()),
        ConstraintSpec::Regex("(((a{1000}){1000}){1000}){1000}".into()),
    ] {
        // Compiled or refused, but not a crash; what was compiled works.
        match compiler.compile(&spec) {
            Ok(mut constraint) => assert!(!allowed(&mut constraint, 300).is_empty()),
            Err(error) => assert!(matches!(error, Error::Constraint { .. })),
        }
    }
}
