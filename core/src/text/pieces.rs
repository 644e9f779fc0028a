//! What every token adds to the text, worked out once from the decoder of `tokenizer.json`.
//!
//! A decoder is a chain of stages. Those that look at one token at a time are applied here, so that decoding a token
//! is a table look-up; what is left for the stream is joining bytes to characters and stripping the start of the text.

use serde_json::Value;

use crate::TokenId;

/// Most tokens that a vocabulary may have; the largest published ones have about 262,000.
pub(crate) const VOCAB_LEN_MAX: usize = 1 << 20;

/// How the pieces become text, once the stages that look at single tokens are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Joining {
    /// Pieces are bytes of UTF-8, as in byte-level BPE; otherwise they are text, apart from single-byte tokens.
    pub(crate) all_bytes: bool,
    /// Ill-formed bytes become one U+FFFD each, as SentencePiece's byte fallback has it; otherwise one per sequence.
    pub(crate) replace_each_byte: bool,
    /// This character is dropped from the start of the text, at most that many times.
    pub(crate) strip_start: Option<(char, u32)>,
}

/// A decoder taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DecoderChain {
    /// Stages for single tokens, before bytes are recognised.
    pub(crate) before_bytes: Vec<Value>,
    /// Whether `<0xNN>` is a byte.
    pub(crate) byte_fallback: bool,
    /// Stages for single tokens that are not bytes.
    pub(crate) after_bytes: Vec<Value>,
    /// What the stream does.
    pub(crate) joining: Joining,
}

impl DecoderChain {
    /// Takes apart the `decoder` of a `tokenizer.json`. `null` (no decoder) joins tokens by spaces and has no stages.
    ///
    /// # Errors
    /// Which stage cannot be streamed, and why.
    pub(crate) fn parse(decoder: &Value) -> Result<Self, String> {
        let mut chain = Self::default();
        let mut fused = false;
        for stage in stages(decoder) {
            chain.add(stage, &mut fused)?;
        }
        Ok(chain)
    }

    fn add(&mut self, stage: &Value, fused: &mut bool) -> Result<(), String> {
        let kind = stage["type"].as_str().unwrap_or_default();
        match kind {
            "Fuse" => *fused = true,
            "ByteLevel" if !*fused && !self.byte_fallback => {
                self.joining.all_bytes = true;
                *fused = true;
            }
            "ByteFallback" if !*fused && !self.byte_fallback => {
                self.byte_fallback = true;
                self.joining.replace_each_byte = true;
            }
            "Strip" if stage["stop"].as_u64() != Some(0) => {
                return Err("decoder stage Strip cuts the end of the text, which a stream does not know".into());
            }
            "Strip" if *fused && self.joining.strip_start.is_none() => {
                let content = stage["content"].as_str().and_then(|text| text.chars().next());
                let start = stage["start"].as_u64().unwrap_or(0).min(u64::from(u32::MAX)) as u32;
                self.joining.strip_start = content.map(|content| (content, start));
            }
            "Strip" | "Replace" | "Metaspace" | "WordPiece" if !*fused => {
                let stages = if self.byte_fallback { &mut self.after_bytes } else { &mut self.before_bytes };
                stages.push(stage.clone());
            }
            _ => {
                let place = if *fused { " after the tokens are joined" } else { "" };
                return Err(format!("decoder stage {kind}{place} is not supported"));
            }
        }
        Ok(())
    }

    /// True if the first token of a text is decoded differently from later ones.
    pub(crate) fn first_differs(&self) -> bool {
        let position_matters = |stage: &Value| matches!(stage["type"].as_str(), Some("Metaspace" | "WordPiece"));
        self.before_bytes.iter().chain(&self.after_bytes).any(position_matters)
    }
}

/// The stages of a decoder in order, sequences unfolded.
fn stages(decoder: &Value) -> Vec<&Value> {
    match decoder["decoders"].as_array() {
        Some(list) if decoder["type"] == "Sequence" => list.iter().flat_map(stages).collect(),
        _ if decoder.is_null() => Vec::new(),
        _ => vec![decoder],
    }
}

/// The byte that a SentencePiece byte token `<0xNN>` stands for.
pub(crate) fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// The bytes that a byte-level BPE token stands for.
///
/// GPT-2's map writes printable Latin-1 bytes as themselves and the other 68 as U+0100 and up, in order. A token with
/// any character outside the map (an added token) stands for its own UTF-8 bytes.
pub(crate) fn byte_level_bytes(token: &str) -> Vec<u8> {
    token.chars().map(mapped_byte).collect::<Option<Vec<u8>>>().unwrap_or_else(|| token.as_bytes().to_vec())
}

fn mapped_byte(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// What a token is, beside the bytes it adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PieceKind {
    /// The vocabulary has the id. Ids of a padded width that it has not add nothing.
    pub(crate) known: bool,
    /// A special token, hidden from text unless asked for.
    pub(crate) special: bool,
    /// The piece is raw bytes that may be part of a character.
    pub(crate) bytes: bool,
}

/// The piece of every token id, end to end in one buffer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pieces {
    later: Table,
    /// Pieces at the start of a text, where they differ.
    first: Option<Table>,
    kinds: Vec<PieceKind>,
    pub(crate) joining: Joining,
}

impl Pieces {
    /// Puts the table together; `first` only where a decoder treats the start of the text differently.
    ///
    /// # Panics
    /// If the lengths differ.
    pub(crate) fn new(later: Table, first: Option<Table>, kinds: Vec<PieceKind>, joining: Joining) -> Self {
        assert!(later.len() == kinds.len() && first.as_ref().is_none_or(|first| first.len() == kinds.len()));
        Self { later, first, kinds, joining }
    }

    /// Number of ids, holes included.
    pub(crate) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// What the token is; all false for an id outside the table.
    pub(crate) fn kind(&self, token: TokenId) -> PieceKind {
        self.kinds.get(token as usize).copied().unwrap_or_default()
    }

    /// The bytes of a token that is not the first of a text; empty for an id outside the table.
    pub(crate) fn later(&self, token: TokenId) -> &[u8] {
        self.later.entry(token)
    }

    /// The bytes of a token that begins a text.
    pub(crate) fn first(&self, token: TokenId) -> &[u8] {
        self.first.as_ref().unwrap_or(&self.later).entry(token)
    }
}

/// Byte strings by token id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Table {
    /// Appends the entry of the next id.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn entry(&self, token: TokenId) -> &[u8] {
        let index = token as usize;
        let Some(&end) = self.ends.get(index) else { return &[] };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..end]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_byte_has_one_byte_level_character() {
        let mapped: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(mapped_byte).collect();
        let mut sorted = mapped.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..=255).collect::<Vec<u8>>());
        assert_eq!(byte_level_bytes("Ġhi"), b" hi");
        assert_eq!(byte_level_bytes("two words"), b"two words");
    }

    #[test]
    fn byte_tokens_are_recognised_by_their_form() {
        assert_eq!(fallback_byte("<0x0A>"), Some(10));
        assert_eq!(fallback_byte("<0xff>"), Some(255));
        for other in ["<0x>", "<0xFFF>", "<0xGG>", "0x0A", "<0x0A", "<0x\u{e9}>"] {
            assert_eq!(fallback_byte(other), None, "{other}");
        }
    }

    #[test]
    fn the_llama_chain_is_taken_apart() {
        let replace = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
        let decoder = json!({"type": "Sequence", "decoders": [
            replace, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        ]});
        let chain = DecoderChain::parse(&decoder).unwrap();
        assert_eq!(chain.before_bytes, [replace]);
        assert!(chain.byte_fallback && chain.after_bytes.is_empty() && !chain.first_differs());
        assert_eq!(chain.joining.strip_start, Some((' ', 1)));
    }

    #[test]
    fn what_cannot_be_streamed_is_named() {
        for (decoder, name) in [
            (json!({"type": "CTC"}), "CTC"),
            (json!({"type": "BPEDecoder", "suffix": "</w>"}), "BPEDecoder"),
            (json!({"type": "Strip", "content": " ", "start": 0, "stop": 1}), "Strip"),
            (json!({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Metaspace"}]}), "Metaspace"),
            (
                json!({"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "ByteFallback"}]}),
                "ByteFallback",
            ),
            (json!({}), "stage"),
            (json!(7), "stage"),
        ] {
            assert!(DecoderChain::parse(&decoder).unwrap_err().contains(name), "{decoder}");
        }
    }
}
