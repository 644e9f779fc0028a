//! Text from tokens, one token at a time and never half a character.

use std::sync::Arc;

use super::pieces::Pieces;
use crate::TokenId;

const REPLACEMENT: &str = "\u{fffd}";

/// Whether special tokens appear in decoded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialTokens {
    /// They are left out, as if they were not there.
    Hide,
    /// They are written out.
    Show,
}

/// Turns tokens into text as they come.
///
/// Each `push` appends the characters that became complete; bytes of an unfinished character wait for the next token,
/// at most three of them. All texts pushed since the start, and the one of `finish`, make the text of
/// [`Tokenizer::decode`](crate::Tokenizer::decode) for the same tokens. A push costs the length of the token's own
/// text and allocates only where the caller's `String` has to grow.
#[derive(Clone, Debug)]
pub struct TokenStream {
    pieces: Arc<Pieces>,
    special: SpecialTokens,
    state: State,
}

/// Where a [`TokenStream`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// Bytes of a character that is not complete.
    pending: [u8; 3],
    pending_len: u8,
    /// A token has been decoded.
    started: bool,
    /// How many characters may still be stripped from the start of the text.
    strip_left: u32,
}

impl TokenStream {
    pub(super) fn new(pieces: Arc<Pieces>, special: SpecialTokens) -> Self {
        let strip_left = pieces.joining.strip_start.map_or(0, |(_, count)| count);
        let state = State { pending: [0; 3], pending_len: 0, started: false, strip_left };
        Self { pieces, special, state }
    }

    /// The same, as the continuation of `context`: nothing is stripped from the start.
    pub(super) fn after(pieces: Arc<Pieces>, special: SpecialTokens, context: &[TokenId]) -> Self {
        let mut stream = Self::new(pieces, special);
        stream.state.started = !context.is_empty();
        stream.state.strip_left = if context.is_empty() { stream.state.strip_left } else { 0 };
        // A character has at most four bytes, so only the last few tokens can leave one unfinished.
        let mut discarded = String::new();
        for &token in &context[context.len().saturating_sub(8)..] {
            stream.push(token, &mut discarded);
        }
        stream
    }

    /// Takes the next token and appends what is now complete to `text`.
    pub fn push(&mut self, token: TokenId, text: &mut String) {
        // The table outlives the borrow of `self` that emitting needs; cloning an `Arc` does not allocate.
        let pieces = Arc::clone(&self.pieces);
        let kind = pieces.kind(token);
        if !kind.known || (kind.special && self.special == SpecialTokens::Hide) {
            return;
        }
        let piece = if self.state.started { pieces.later(token) } else { pieces.first(token) };
        self.state.started = true;
        if !kind.bytes {
            // Bytes before a whole piece of text can no longer become a character.
            self.replace_pending(text);
        }
        self.push_bytes(piece, text);
    }

    /// Ends the text: bytes that never became a character are replaced by U+FFFD. The stream then starts anew.
    pub fn finish(&mut self, text: &mut String) {
        self.replace_pending(text);
        *self = Self::new(Arc::clone(&self.pieces), self.special);
    }

    fn push_bytes(&mut self, mut bytes: &[u8], text: &mut String) {
        while self.state.pending_len > 0 {
            let Some((&byte, rest)) = bytes.split_first() else { return };
            if self.continue_character(byte, text) {
                bytes = rest;
            }
        }
        let mut left = bytes.len();
        for chunk in bytes.utf8_chunks() {
            self.emit(chunk.valid(), text);
            let invalid = chunk.invalid();
            left -= chunk.valid().len() + invalid.len();
            if left == 0 && is_incomplete(invalid) {
                self.state.pending[..invalid.len()].copy_from_slice(invalid);
                self.state.pending_len = invalid.len() as u8;
            } else if !invalid.is_empty() {
                self.replace(invalid.len(), text);
            }
        }
    }

    /// Adds a byte to the unfinished character. False if it does not belong there; the unfinished bytes are replaced.
    fn continue_character(&mut self, byte: u8, text: &mut String) -> bool {
        let len = usize::from(self.state.pending_len);
        let mut character = [0; 4];
        character[..len].copy_from_slice(&self.state.pending[..len]);
        character[len] = byte;
        let character = &character[..=len];
        if let Ok(complete) = std::str::from_utf8(character) {
            self.state.pending_len = 0;
            self.emit(complete, text);
        } else if is_incomplete(character) {
            self.state.pending[len] = byte;
            self.state.pending_len += 1;
        } else {
            self.replace_pending(text);
            return false;
        }
        true
    }

    fn replace_pending(&mut self, text: &mut String) {
        let len = usize::from(std::mem::take(&mut self.state.pending_len));
        if len > 0 {
            self.replace(len, text);
        }
    }

    fn replace(&mut self, byte_len: usize, text: &mut String) {
        let count = if self.pieces.joining.replace_each_byte { byte_len } else { 1 };
        for _ in 0..count {
            self.emit(REPLACEMENT, text);
        }
    }

    fn emit(&mut self, mut piece: &str, text: &mut String) {
        if let Some((content, _)) = self.pieces.joining.strip_start {
            while self.state.strip_left > 0 && !piece.is_empty() {
                match piece.strip_prefix(content) {
                    Some(rest) => {
                        piece = rest;
                        self.state.strip_left -= 1;
                    }
                    None => self.state.strip_left = 0,
                }
            }
        }
        text.push_str(piece);
    }
}

/// True if the bytes are the beginning of a character that more bytes could complete.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}
