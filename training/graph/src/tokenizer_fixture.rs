//! A byte-level BPE tokenizer small enough to be written by hand: every byte is a token, a few words are merged.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::Result;
use crate::folder::{write_json, write_text};

/// Tokens with a meaning of their own, from id 0.
const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|user|>", "<|assistant|>"];
/// Merges in order of rank; `Ġ` is how byte-level tokenizers print a space.
const MERGES: [(&str, &str); 41] = [
    ("h", "e"),
    ("Ġ", "t"),
    ("i", "n"),
    ("a", "n"),
    ("Ġt", "he"),
    ("r", "e"),
    ("o", "n"),
    ("Ġ", "a"),
    ("Ġ", "s"),
    ("e", "r"),
    ("an", "d"),
    ("Ġ", "w"),
    ("o", "u"),
    ("i", "s"),
    ("i", "t"),
    ("in", "g"),
    ("e", "d"),
    ("Ġ", "o"),
    ("Ġ", "b"),
    ("e", "n"),
    ("Ġ", "and"),
    ("Ġ", "h"),
    ("Ġ", "f"),
    ("l", "l"),
    ("o", "r"),
    ("Ġ", "m"),
    ("Ġt", "o"),
    ("Ġo", "n"),
    ("a", "s"),
    ("a", "t"),
    ("Ġw", "as"),
    ("Ġ", "in"),
    ("Ġ", "d"),
    ("Ġ", "p"),
    ("o", "w"),
    ("Ġ", "c"),
    ("a", "y"),
    ("Ġh", "e"),
    ("Ġ", "it"),
    ("k", "e"),
    ("o", "m"),
];

/// Number of tokens.
pub(crate) const VOCAB_LEN: usize = SPECIAL.len() + 256 + MERGES.len();
/// Ends a text.
pub(crate) const END_OF_TEXT: u32 = 0;

/// Writes `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and `chat_template.jinja`.
///
/// Ids from [`VOCAB_LEN`] to `vocab_len` are tokens that no text has and that print as `<unusedN>`.
pub(crate) fn write(folder: &Path, vocab_len: usize) -> Result<()> {
    write_json(&folder.join("tokenizer.json"), &tokenizer(vocab_len))?;
    write_json(&folder.join("tokenizer_config.json"), &tokenizer_config())?;
    let end = SPECIAL[END_OF_TEXT as usize];
    write_json(&folder.join("special_tokens_map.json"), &json!({ "eos_token": end, "pad_token": end }))?;
    write_text(&folder.join("chat_template.jinja"), CHAT_TEMPLATE)
}

const CHAT_TEMPLATE: &str = "{% for message in messages %}{% if message.role == 'assistant' %}<|assistant|>\
    {% else %}<|user|>{% endif %}{{ message.content }}{% endfor %}\
    {% if add_generation_prompt %}<|assistant|>{% endif %}";

fn tokenizer_config() -> Value {
    let end = SPECIAL[END_OF_TEXT as usize];
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 256,
        "eos_token": end,
        "pad_token": end,
        "add_bos_token": false,
        "clean_up_tokenization_spaces": false,
        "chat_template": CHAT_TEMPLATE,
    })
}

fn tokenizer(vocab_len: usize) -> Value {
    let special = |(id, content): (usize, &&str)| {
        json!({
            "id": id, "content": content, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let byte_level =
        || json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": SPECIAL.iter().enumerate().map(special).collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": byte_level(),
        "post_processor": null,
        "decoder": byte_level(),
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocabulary(vocab_len),
            "merges": MERGES.iter().map(|(left, right)| json!([left, right])).collect::<Vec<_>>(),
        },
    })
}

fn vocabulary(vocab_len: usize) -> Map<String, Value> {
    let special = SPECIAL.iter().map(ToString::to_string);
    let bytes = (0..=255).map(|byte| byte_symbol(byte).to_string());
    let merged = MERGES.iter().map(|(left, right)| format!("{left}{right}"));
    let unused = (VOCAB_LEN..vocab_len).map(|id| format!("<unused{id}>"));
    special.chain(bytes).chain(merged).chain(unused).enumerate().map(|(id, token)| (token, id.into())).collect()
}

/// How byte-level tokenizers print a byte: itself if visible Latin-1, else the next free character from U+0100 on.
fn byte_symbol(byte: u8) -> char {
    let visible = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if visible(byte) {
        return char::from(byte);
    }
    let hidden_before = (0..byte).filter(|&before| !visible(before)).count() as u32;
    char::from_u32(0x100 + hidden_before).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_has_an_id_of_its_own() {
        assert_eq!(vocabulary(VOCAB_LEN).len(), VOCAB_LEN);
        assert_eq!(vocabulary(1000).len(), 1000);
        assert_eq!(VOCAB_LEN, 300);
        assert_eq!((byte_symbol(b' '), byte_symbol(b'a'), byte_symbol(0)), ('Ġ', 'a', 'Ā'));
    }
}
