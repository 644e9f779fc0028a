//! llama2.c's `tokenizer.bin` as a `tokenizer.json`.
//!
//! The file lists pieces with scores, the merge of two pieces being preferred the higher its result scores. As ranked
//! merges, which `tokenizer.json` wants, these are all ways to split each piece in two, best piece first.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::IoContext;
use crate::{Error, Result};

/// Pieces before which there are only `<unk>`, `<s>`, `</s>` and the 256 bytes.
const PIECES_FROM: usize = 259;
/// More pieces or longer ones are taken for damage.
const PIECES_MAX: usize = 1 << 20;

/// Reads a `tokenizer.bin` of `vocab_len` pieces.
///
/// # Errors
/// `Format` if it is damaged or does not begin with the special tokens and bytes.
pub fn read(path: &Path, vocab_len: usize) -> Result<Value> {
    let bytes = std::fs::read(path).at(path)?;
    let pieces = pieces(&bytes, vocab_len).map_err(|reason| Error::format(path, reason))?;
    let names: Vec<String> = pieces.iter().enumerate().map(|(id, (_, piece))| name(id, piece)).collect();
    let vocab: Map<String, Value> = names.iter().enumerate().map(|(id, name)| (name.clone(), json!(id))).collect();
    if vocab.len() != names.len() {
        return Err(Error::format(path, "two pieces have the same text"));
    }
    let special = |id: usize| {
        json!({ "id": id, "content": names[id], "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true })
    };
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(0), special(1), special(2)],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": "▁" },
            { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
        ] },
        "pre_tokenizer": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [1], "tokens": ["<s>"] } },
        },
        "decoder": { "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
            { "type": "ByteFallback" },
            { "type": "Fuse" },
            { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
        ] },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": merges(&pieces, &names),
        },
    }))
}

/// Scores and texts.
fn pieces(bytes: &[u8], vocab_len: usize) -> Result<Vec<(f32, String)>, String> {
    if !(PIECES_FROM..=PIECES_MAX).contains(&vocab_len) {
        return Err(format!("{vocab_len} pieces; from {PIECES_FROM} to {PIECES_MAX}"));
    }
    // The first integer is the longest piece's length, which the rest tells too.
    let mut rest = bytes.get(4..).ok_or("shorter than its header")?;
    let mut pieces = Vec::with_capacity(vocab_len);
    for id in 0..vocab_len {
        let short = || format!("ends within piece {id} of {vocab_len}");
        let (head, after) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let [a, b, c, d, e, f, g, h] = *head;
        let score = f32::from_le_bytes([a, b, c, d]);
        let len = usize::try_from(i32::from_le_bytes([e, f, g, h])).map_err(|_| short())?;
        let (text, after) = after.split_at_checked(len).ok_or_else(short)?;
        let text = std::str::from_utf8(text).map_err(|_| format!("piece {id} is not UTF-8"))?;
        pieces.push((score, text.to_owned()));
        rest = after;
    }
    if !rest.is_empty() || pieces[3].1 != "<0x00>" || pieces[258].1 != "<0xFF>" {
        return Err(format!("not a vocabulary of {vocab_len} pieces with byte fallback"));
    }
    Ok(pieces)
}

/// The piece as the model's vocabulary spells it.
fn name(id: usize, piece: &str) -> String {
    match id {
        0 => "<unk>".into(),
        1 => "<s>".into(),
        2 => "</s>".into(),
        _ => piece.replace(' ', "▁"),
    }
}

fn merges(pieces: &[(f32, String)], names: &[String]) -> Vec<[String; 2]> {
    let ids: HashMap<&str, usize> =
        names.iter().enumerate().skip(PIECES_FROM).map(|(id, n)| (n.as_str(), id)).collect();
    let mut order: Vec<usize> = (PIECES_FROM..names.len()).collect();
    order.sort_by(|&a, &b| pieces[b].0.total_cmp(&pieces[a].0).then(a.cmp(&b)));
    let splits = |&id: &usize| {
        let piece = names[id].as_str();
        let mut splits: Vec<[&str; 2]> = piece
            .char_indices()
            .skip(1)
            .map(|(at, _)| [&piece[..at], &piece[at..]])
            .filter(|parts| parts.iter().all(|part| ids.contains_key(part)))
            .collect();
        splits.sort_by_key(|parts| parts.map(|part| ids[part]));
        splits
    };
    order.iter().flat_map(splits).map(|parts| parts.map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Tokenizer;

    fn file(pieces: &[&str]) -> Vec<u8> {
        let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
        let all = ["<unk>", "\n<s>\n", "\n</s>\n"].map(str::to_owned).into_iter().chain(bytes);
        let mut file = 9_i32.to_le_bytes().to_vec();
        for (id, piece) in all.chain(pieces.iter().map(|piece| (*piece).to_owned())).enumerate() {
            file.extend((PIECES_FROM as f32 - id as f32).to_le_bytes());
            file.extend((piece.len() as i32).to_le_bytes());
            file.extend(piece.as_bytes());
        }
        file
    }

    #[test]
    fn the_best_scoring_merge_comes_first_and_unknown_text_falls_back_to_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.bin");
        std::fs::write(&path, file(&["bc", "ab", " ", "a", "b", "c"])).unwrap();
        let json = folder.path().join("tokenizer.json");
        std::fs::write(&json, read(&path, 265).unwrap().to_string()).unwrap();
        let tokenizer = Tokenizer::open(&json).unwrap();
        // " abc": "bc" scores above "ab".
        assert_eq!(tokenizer.encode("abc").unwrap(), [261, 262, 259]);
        assert_eq!(tokenizer.encode_prompt("ab é").unwrap(), [1, 261, 260, 261, 3 + 0xc3, 3 + 0xa9]);
        for text in ["abc", "a b c", "ab é"] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()).unwrap(), text);
        }
    }

    #[test]
    fn damage_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.bin");
        let whole = file(&["a", "b"]);
        let mut long = whole.clone();
        long[8..12].copy_from_slice(&i32::MAX.to_le_bytes());
        for (damaged, len) in
            [(&whole[..whole.len() - 1], 261), (&whole[..], 260), (&whole[..], 9), (&long, 261), (b"", 261)]
        {
            std::fs::write(&path, damaged).unwrap();
            assert!(matches!(read(&path, len), Err(Error::Format { .. })));
        }
    }
}
