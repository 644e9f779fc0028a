//! Small tokenizers for tests, of the two kinds that models use and some rarer ones.

use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::pieces::byte_level_bytes;
use super::{Tokenizer, TokenizerConfig};
use crate::TokenId;

pub(crate) fn tokenizer(json: &Value) -> Tokenizer {
    let json = serde_json::to_vec(json).unwrap();
    Tokenizer::from_json(Path::new("tokenizer.json"), &json, TokenizerConfig::default()).unwrap()
}

/// Byte-level BPE: ids 0..256 are the bytes, then some merges, then added tokens.
///
/// Two merges end inside a character (the first half of an emoji, of a CJK character).
pub(crate) fn byte_level() -> &'static Tokenizer {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| tokenizer(&byte_level_json()));
    &TOKENIZER
}

pub(crate) fn byte_level_json() -> Value {
    let letter = |byte: u8| {
        let of_byte = |text: &String| byte_level_bytes(text) == [byte];
        (0..0x200).rev().filter_map(char::from_u32).map(String::from).find(of_byte).unwrap()
    };
    let mut vocab: Map<String, Value> = Map::new();
    for byte in 0..=255 {
        vocab.insert(letter(byte), json!(byte));
    }
    let mut merges = Vec::new();
    for pair in [&b"th"[..], b"the", b" a", "😀".as_bytes(), &"日本".as_bytes()[..4], b"{\"", b"\":", b"12", b"  "]
    {
        let mut left = letter(pair[0]);
        for &byte in &pair[1..] {
            let right = letter(byte);
            let merged = format!("{left}{right}");
            if !vocab.contains_key(&merged) {
                vocab.insert(merged.clone(), json!(vocab.len()));
                merges.push(json!([left, right]));
            }
            left = merged;
        }
    }
    let next = vocab.len();
    json!({
        "version": "1.0",
        "added_tokens": [
            added(next, "<|end|>", true),
            added(next + 1, "<|user|>", true),
            added(next + 2, "two words", false),
            added(next + 3, "Ġtail", false),
        ],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges}
    })
}

/// SentencePiece with byte fallback in Llama's way: `<unk>`, `<s>`, `</s>`, 256 byte tokens from id 3, then text.
pub(crate) fn sentencepiece() -> &'static Tokenizer {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        tokenizer(&sentencepiece_json(json!([
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        ])))
    });
    &TOKENIZER
}

/// The id of SentencePiece's token for `byte`.
pub(crate) fn byte_token(byte: u8) -> TokenId {
    3 + TokenId::from(byte)
}

pub(crate) fn sentencepiece_json(decoders: Value) -> Value {
    let mut vocab = vec!["<unk>".to_owned(), "<s>".into(), "</s>".into()];
    vocab.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    let text =
        ["▁", "▁▁", "a", "b", "t", "h", "e", "▁t", "▁th", "▁the", "▁a", "é", "日", "▁日", ".", "{", "}", "\"", "1"];
    vocab.extend(text.iter().map(|&token| token.to_owned()));
    let merges = [["▁", "▁"], ["▁", "t"], ["▁t", "h"], ["▁th", "e"], ["▁", "a"], ["▁", "日"]];
    let vocab: Map<String, Value> = vocab.into_iter().enumerate().map(|(id, token)| (token, json!(id))).collect();
    let next = vocab.len();
    json!({
        "version": "1.0",
        "added_tokens": [
            added(0, "<unk>", true), added(1, "<s>", true), added(2, "</s>", true), added(next, "<|end|>", true),
        ],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        ]},
        "pre_tokenizer": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
        },
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "vocab": vocab, "merges": merges, "unk_token": "<unk>", "fuse_unk": true,
            "byte_fallback": true
        }
    })
}

/// A word-level vocabulary under any decoder.
pub(crate) fn word_level(words: &[&str], decoder: Value) -> Tokenizer {
    let vocab: Map<String, Value> = words.iter().enumerate().map(|(id, word)| ((*word).into(), json!(id))).collect();
    tokenizer(&json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": null,
        "decoder": decoder,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": words[0]}
    }))
}

fn added(id: usize, content: &str, special: bool) -> Value {
    json!({
        "id": id, "content": content, "special": special,
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false
    })
}
