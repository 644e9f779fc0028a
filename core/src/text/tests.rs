//! Tests of encoding, decoding and streaming against the tokenizers crate.

use proptest::prelude::*;
use serde_json::json;

use super::fixtures::{byte_level, byte_level_json, byte_token, sentencepiece, sentencepiece_json, word_level};
use super::*;

/// The stream's text, token by token; every push must leave whole characters by the type of `String`.
fn streamed(tokenizer: &Tokenizer, tokens: &[TokenId], special: SpecialTokens) -> String {
    let mut stream = tokenizer.stream(special);
    let mut text = String::new();
    for &token in tokens {
        stream.push(token, &mut text);
    }
    stream.finish(&mut text);
    text
}

fn library(tokenizer: &Tokenizer, tokens: &[TokenId], special: SpecialTokens) -> String {
    tokenizer.inner.decode(tokens, special == SpecialTokens::Hide).unwrap()
}

fn special() -> impl Strategy<Value = SpecialTokens> {
    prop_oneof![Just(SpecialTokens::Hide), Just(SpecialTokens::Show)]
}

/// Ids of the vocabulary and a few beyond it.
fn ids(vocab_len: usize) -> impl Strategy<Value = Vec<TokenId>> {
    prop::collection::vec(0..vocab_len as TokenId + 3, 0..40)
}

/// Runs of byte tokens that are UTF-8, or have no complete character, with text between.
fn sentencepiece_ids() -> impl Strategy<Value = Vec<TokenId>> {
    let text = any::<String>().prop_map(|text| text.bytes().map(byte_token).collect::<Vec<_>>());
    let broken = prop::collection::vec(0x80..=0xffu8, 1..6)
        .prop_filter("complete characters", |bytes| bytes.utf8_chunks().all(|chunk| chunk.valid().is_empty()))
        .prop_map(|bytes| bytes.into_iter().map(byte_token).collect::<Vec<_>>());
    let word = 259..277u32;
    prop::collection::vec((prop_oneof![text, broken], word), 0..8)
        .prop_map(|runs| runs.into_iter().flat_map(|(run, word)| run.into_iter().chain([word])).collect())
}

proptest! {
    #[test]
    fn byte_level_streams_as_decoded(
        tokens in ids(byte_level().vocab_len()),
        special in special(),
    ) {
        let tokenizer = byte_level();
        let expected = library(tokenizer, &tokens, special);
        prop_assert_eq!(streamed(tokenizer, &tokens, special), expected.clone());
        prop_assert_eq!(tokenizer.decode(&tokens, special), expected);
    }

    #[test]
    fn sentencepiece_streams_as_decoded(tokens in sentencepiece_ids(), special in special()) {
        let tokenizer = sentencepiece();
        prop_assert_eq!(streamed(tokenizer, &tokens, special), library(tokenizer, &tokens, special));
    }

    #[test]
    fn any_sentencepiece_ids_stream_as_our_decode(tokens in ids(sentencepiece().vocab_len()), special in special()) {
        let tokenizer = sentencepiece();
        let text = streamed(tokenizer, &tokens, special);
        // The exception that `decode` documents: only the replacement of ill-formed bytes may differ.
        let library = library(tokenizer, &tokens, special);
        if !library.contains('\u{fffd}') {
            prop_assert_eq!(&text, &library);
        }
        prop_assert_eq!(text, tokenizer.decode(&tokens, special));
    }

    #[test]
    fn rarer_decoders_stream_as_decoded(tokens in prop::collection::vec(0..12u32, 0..12), which in 0..7usize) {
        let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
        let never = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true});
        let decoder = [
            serde_json::Value::Null,
            metaspace.clone(),
            never,
            json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
            json!({"type": "WordPiece", "prefix": "##", "cleanup": false}),
            json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, metaspace]}),
            json!({"type": "Strip", "content": "n", "start": 1, "stop": 0}),
        ][which].clone();
        let words = ["[UNK]", "n't", "##ing", ".", "▁a", "▁▁", "do", "'s", "not", "<0x41>", "<0xC3>", "<0xA9>"];
        let tokenizer = word_level(&words, decoder);
        let special = SpecialTokens::Show;
        let text = streamed(&tokenizer, &tokens, special);
        let expected = library(&tokenizer, &tokens, special);
        if !expected.contains('\u{fffd}') {
            prop_assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_continuation_is_what_the_prompt_left_out(
        prompt in "[a-z 日é😀]{0,12}", answer in "[a-z 日é😀]{0,12}", fallback in any::<bool>()
    ) {
        let tokenizer = if fallback { sentencepiece() } else { byte_level() };
        let prompt = tokenizer.encode(&prompt).unwrap();
        let answer = tokenizer.encode_plain(&answer).unwrap();
        let mut stream = tokenizer.stream_after(&prompt, SpecialTokens::Show);
        let mut text = tokenizer.decode(&prompt, SpecialTokens::Show);
        answer.iter().for_each(|&token| stream.push(token, &mut text));
        stream.finish(&mut text);
        prop_assert_eq!(text, tokenizer.decode(&[prompt, answer].concat(), SpecialTokens::Show));
    }

    #[test]
    fn encoded_text_decodes_to_itself(text in any::<String>()) {
        let byte_level = byte_level();
        prop_assert_eq!(&byte_level.decode(&byte_level.encode(&text).unwrap(), SpecialTokens::Show), &text);
        let sentencepiece = sentencepiece();
        let tokens = sentencepiece.encode(&text).unwrap();
        // SentencePiece's own mark for a space is a space when it comes back.
        prop_assert_eq!(sentencepiece.decode(&tokens, SpecialTokens::Hide), text.replace('▁', " "));
    }

    #[test]
    fn malformed_files_are_errors(cut in 0..4000usize, at in 0..4000usize, byte in any::<u8>()) {
        let mut json = serde_json::to_vec(&sentencepiece_json(json!([{"type": "Fuse"}]))).unwrap();
        let len = json.len();
        json[at % len] = byte;
        json.truncate(len - cut % len);
        // Either outcome is fine, a panic is not.
        let _ = Tokenizer::from_json(Path::new("x"), &json, TokenizerConfig::default());
    }
}

#[test]
fn an_emoji_appears_when_its_last_byte_does() {
    let tokenizer = byte_level();
    let mut stream = tokenizer.stream(SpecialTokens::Hide);
    let mut chunks = Vec::new();
    for byte in "日😀!".bytes() {
        let mut chunk = String::new();
        stream.push(TokenId::from(byte), &mut chunk);
        chunks.push(chunk);
    }
    assert_eq!(chunks, ["", "", "日", "", "", "", "😀", "!"]);
}

#[test]
fn unfinished_bytes_are_replaced_as_the_tokenizer_does() {
    let emoji = "😀".as_bytes();
    let byte_level = byte_level();
    let tokens: Vec<TokenId> = emoji[..3].iter().map(|&byte| byte.into()).collect();
    assert_eq!(streamed(byte_level, &tokens, SpecialTokens::Hide), "\u{fffd}");
    let sentencepiece = sentencepiece();
    let tokens: Vec<TokenId> = emoji[..3].iter().map(|&byte| byte_token(byte)).collect();
    assert_eq!(streamed(sentencepiece, &tokens, SpecialTokens::Hide), "\u{fffd}\u{fffd}\u{fffd}");
    assert_eq!(library(sentencepiece, &tokens, SpecialTokens::Hide), "\u{fffd}\u{fffd}\u{fffd}");
}

#[test]
fn a_line_break_token_is_text_at_once() {
    let tokenizer = sentencepiece();
    let mut stream = tokenizer.stream(SpecialTokens::Hide);
    let mut text = String::new();
    stream.push(byte_token(b'\n'), &mut text);
    assert_eq!(text, "\n");
}

#[test]
fn special_tokens_do_not_break_a_character() {
    let tokenizer = sentencepiece();
    let end = tokenizer.id("<|end|>").unwrap();
    let tokens = [byte_token(0xc3), end, byte_token(0xa9)];
    assert_eq!(streamed(tokenizer, &tokens, SpecialTokens::Hide), "é");
    assert_eq!(library(tokenizer, &tokens, SpecialTokens::Hide), "é");
    assert_eq!(streamed(tokenizer, &tokens, SpecialTokens::Show), "\u{fffd}<|end|>\u{fffd}");
}

#[test]
fn the_first_token_is_added_as_the_config_says() {
    let json = serde_json::to_vec(&sentencepiece_json(json!([{"type": "Fuse"}]))).unwrap();
    let open = |add_bos_token, bos_token: &str| {
        let config = TokenizerConfig { add_bos_token, bos_token: Some(bos_token.into()), ..Default::default() };
        Tokenizer::from_json(Path::new("tokenizer.json"), &json, config).unwrap()
    };
    let plain = open(None, "<s>").encode_plain("a").unwrap();
    let with = |first: TokenId| [vec![first], plain.clone()].concat();
    assert_eq!(open(None, "<s>").encode("a").unwrap(), with(1));
    assert_eq!(open(Some(true), "<s>").encode("a").unwrap(), with(1));
    assert_eq!(open(Some(false), "<s>").encode("a").unwrap(), plain);
    assert_eq!(open(Some(true), "<s>").encode("").unwrap(), [1]);
    // Written by the caller, it stays.
    let written = open(Some(false), "<s>");
    assert_eq!(written.encode("<s>a").unwrap(), written.encode_plain("<s>a").unwrap());
    assert_eq!(written.bos(), Some(1));
}

#[test]
fn absurd_files_are_errors() {
    let mut far = byte_level_json();
    far["model"]["vocab"]["far"] = json!(4_000_000_000u32);
    let mut negative = byte_level_json();
    negative["model"]["vocab"]["far"] = json!(-1);
    // What is added around a text: a second text where there is one only, and a token that is nowhere.
    let around = |piece: serde_json::Value| {
        let processor = json!({"type": "TemplateProcessing", "single": [piece], "pair": [], "special_tokens": {}});
        let mut json = byte_level_json();
        json["post_processor"] = processor;
        json
    };
    let second = around(json!({"Sequence": {"id": "B", "type_id": 0}}));
    let nowhere = around(json!({"SpecialToken": {"id": "<s>", "type_id": 0}}));
    for json in [far, negative, second, nowhere, json!({}), json!([]), json!({"decoder": {"type": "ByteLevel"}})] {
        let json = serde_json::to_vec(&json).unwrap();
        let result = Tokenizer::from_json(Path::new("x"), &json, TokenizerConfig::default());
        assert!(matches!(result, Err(Error::Tokenizer { .. })));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let mut files =
        TokenizerFiles { path: path.clone(), config: TokenizerConfig::default(), chat_templates: Vec::new() };
    assert!(matches!(Tokenizer::open(&files), Err(Error::Tokenizer { .. })));
    std::fs::write(&path, serde_json::to_vec(&byte_level_json()).unwrap()).unwrap();
    files.config.eos_token = Some("<|end|>".into());
    let tokenizer = Tokenizer::open(&files).unwrap();
    assert_eq!(tokenizer.vocab_len(), byte_level().vocab_len());
    assert_eq!(tokenizer.eos(), byte_level().id("<|end|>"));
    assert!(tokenizer.is_special(tokenizer.eos().unwrap()));
}
