//! Texts and tokens that end a generation.
//!
//! Text that may still become a stop text is held back. The search is an Aho–Corasick automaton over bytes: its state
//! is the longest end of the text that begins some stop text, which is exactly what has to be held back.

mod automaton;

use std::sync::Arc;

use self::automaton::{Automaton, START};
use crate::text::TokenStream;
use crate::{Error, Result, TokenId};

/// Most bytes that all stop texts of a generation may have together.
const STOP_BYTES_MAX: usize = 1 << 16;

/// Bytes of text that hardly a token exceeds: long runs of spaces do.
pub(crate) const TOKEN_TEXT_LEN: usize = 64;

/// Where a stop text was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopHit {
    /// Index into the stop texts.
    pub stop: usize,
    /// Bytes of text before the stop text, counted from the first push.
    pub text_len: u64,
}

/// Passes text on and stops before the first stop text.
///
/// The first stop text is the one that is complete first; among several that end at the same byte, the longest.
/// That does not depend on where tokens end.
#[derive(Clone, Debug)]
pub struct StopTexts {
    automaton: Arc<Automaton>,
    state: State,
}

/// Where a search stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    node: u32,
    /// Bytes pushed.
    text_len: u64,
}

impl StopTexts {
    /// Prepares the search.
    ///
    /// # Errors
    /// `InvalidOption` if a text is empty, or all of them are longer than 64 KiB together.
    pub fn new(stops: &[String]) -> Result<Self> {
        let invalid = |reason: String| Error::InvalidOption { option: "stop", reason };
        if stops.iter().any(String::is_empty) {
            return Err(invalid("an empty text would stop at once; leave it out".into()));
        }
        let bytes = stops.iter().map(String::len).sum::<usize>();
        if bytes > STOP_BYTES_MAX {
            return Err(invalid(format!("{bytes} bytes of stop texts; at most {STOP_BYTES_MAX} together")));
        }
        Ok(Self { automaton: Arc::new(Automaton::new(stops)), state: State { node: START, text_len: 0 } })
    }

    /// Takes the text of the next token and appends to `ready` what can no longer belong to a stop text.
    ///
    /// On a hit, `ready` has received all that precedes the stop text: the generation ends with this token. What
    /// follows the stop text within the same push is dropped, and nothing is held back any more.
    pub fn push(&mut self, text: &str, ready: &mut String) -> Option<StopHit> {
        let held = self.automaton.held(self.state.node);
        for (index, &byte) in text.as_bytes().iter().enumerate() {
            self.state.node = self.automaton.next(self.state.node, byte);
            if let Some((stop, stop_len)) = self.automaton.hit(self.state.node) {
                self.state = State { node: START, text_len: self.state.text_len + index as u64 + 1 };
                release(held, text, held.len() + index + 1 - stop_len, ready);
                return Some(StopHit { stop, text_len: self.state.text_len - stop_len as u64 });
            }
        }
        self.state.text_len += text.len() as u64;
        release(held, text, held.len() + text.len() - self.held().len(), ready);
        None
    }

    /// The text that is held back because it may become a stop text.
    pub fn held(&self) -> &str {
        self.automaton.held(self.state.node)
    }

    /// Ends the text without a stop text: what was held back is appended to `ready`. The search then starts anew.
    pub fn finish(&mut self, ready: &mut String) {
        ready.push_str(self.held());
        self.state = State { node: START, text_len: 0 };
    }
}

/// Appends the first `len` bytes of `held` and `text` together.
fn release(held: &str, text: &str, len: usize, ready: &mut String) {
    ready.push_str(&held[..len.min(held.len())]);
    ready.push_str(&text[..len.saturating_sub(held.len())]);
}

/// Why a generation ends at a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The token is a stop token; it has no text.
    Token,
    /// The token completed a stop text.
    Text(StopHit),
}

/// From confirmed tokens to the text that may be shown: decoding and both kinds of stop in one.
#[derive(Clone, Debug)]
pub struct OutputText {
    stream: TokenStream,
    stops: StopTexts,
    stop_tokens: Vec<TokenId>,
    /// Text of the token under way, kept for its capacity.
    chunk: String,
}

impl OutputText {
    /// Joins a stream of text with what ends it.
    pub fn new(stream: TokenStream, stops: StopTexts, stop_tokens: &[TokenId]) -> Self {
        Self { stream, stops, stop_tokens: stop_tokens.to_vec(), chunk: String::with_capacity(TOKEN_TEXT_LEN) }
    }

    /// Takes the next token, appends the text that may be shown to `ready`, and tells whether the generation ends.
    ///
    /// After a stop the caller calls [`finish`](Self::finish) for the text that is still held back.
    pub fn push(&mut self, token: TokenId, ready: &mut String) -> Option<Stop> {
        if self.stop_tokens.contains(&token) {
            return Some(Stop::Token);
        }
        self.chunk.clear();
        self.stream.push(token, &mut self.chunk);
        self.stops.push(&self.chunk, ready).map(|hit| {
            // What the stop text's token left unfinished belongs to the text after it.
            self.stream.finish(&mut self.chunk);
            Stop::Text(hit)
        })
    }

    /// Ends the output: unfinished bytes become U+FFFD and what was held back is appended to `ready`.
    ///
    /// Returns a hit if the replaced bytes completed a stop text.
    pub fn finish(&mut self, ready: &mut String) -> Option<StopHit> {
        self.chunk.clear();
        self.stream.finish(&mut self.chunk);
        let hit = self.stops.push(&self.chunk, ready);
        self.stops.finish(ready);
        hit
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SpecialTokens;
    use crate::text::fixtures::byte_level;

    fn stops(texts: &[&str]) -> StopTexts {
        StopTexts::new(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    /// First end of any stop text; the longest of those that end there; the first of equal ones.
    fn naive(stops: &[String], text: &str) -> Option<StopHit> {
        (1..=text.len()).find_map(|end| {
            let ends_here = |stop: &&(usize, &String)| text.as_bytes()[..end].ends_with(stop.1.as_bytes());
            let found: Vec<(usize, &String)> = stops.iter().enumerate().collect();
            let longest =
                found.iter().filter(ends_here).max_by_key(|(index, stop)| (stop.len(), usize::MAX - index))?;
            Some(StopHit { stop: longest.0, text_len: (end - longest.1.len()) as u64 })
        })
    }

    /// How many bytes at the end of the text begin a stop text.
    fn naive_held(stops: &[String], text: &str) -> usize {
        let begins =
            |len: &usize| stops.iter().any(|stop| stop.as_bytes().starts_with(&text.as_bytes()[text.len() - len..]));
        (0..=text.len()).rev().find(begins).unwrap_or(0)
    }

    fn texts() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[abé日]{1,5}", 0..5)
    }

    proptest! {
        #[test]
        fn finds_what_a_naive_search_finds(stop_texts in texts(), chunks in prop::collection::vec("[abé日😀]{0,4}", 0..20)) {
            let mut search = StopTexts::new(&stop_texts).unwrap();
            let (mut all, mut ready) = (String::new(), String::new());
            for chunk in &chunks {
                all.push_str(chunk);
                let hit = search.push(chunk, &mut ready);
                prop_assert_eq!(hit, naive(&stop_texts, &all));
                if let Some(hit) = hit {
                    prop_assert_eq!(&ready, &all[..hit.text_len as usize]);
                    prop_assert_eq!(search.held(), "");
                    return Ok(());
                }
                let held = naive_held(&stop_texts, &all);
                prop_assert_eq!(&ready, &all[..all.len() - held]);
                prop_assert_eq!(search.held(), &all[all.len() - held..]);
            }
            search.finish(&mut ready);
            prop_assert_eq!(ready, all);
        }

        #[test]
        fn tokens_stop_where_their_text_does(stop_texts in texts(), text in "[ab é日😀]{0,12}") {
            let tokenizer = byte_level();
            let stream = tokenizer.stream(SpecialTokens::Hide);
            let mut output = OutputText::new(stream, StopTexts::new(&stop_texts).unwrap(), &[]);
            let mut ready = String::new();
            let mut hit = None;
            for byte in text.bytes() {
                hit = output.push(byte.into(), &mut ready);
                if hit.is_some() {
                    break;
                }
            }
            prop_assert_eq!(output.finish(&mut ready), None);
            let expected = naive(&stop_texts, &text);
            prop_assert_eq!(hit, expected.map(Stop::Text));
            prop_assert_eq!(ready.as_str(), &text[..expected.map_or(text.len(), |hit| hit.text_len as usize)]);
        }
    }

    #[test]
    fn a_stop_token_has_no_text_and_releases_what_was_held() {
        let tokenizer = byte_level();
        let end = tokenizer.id("two words").unwrap();
        let mut output = OutputText::new(tokenizer.stream(SpecialTokens::Show), stops(&["ab"]), &[end]);
        let mut ready = String::new();
        assert_eq!(output.push(b'x'.into(), &mut ready), None);
        assert_eq!(output.push(b'a'.into(), &mut ready), None);
        assert_eq!(ready, "x");
        assert_eq!(output.push(end, &mut ready), Some(Stop::Token));
        assert_eq!(output.finish(&mut ready), None);
        assert_eq!(ready, "xa");
    }

    #[test]
    fn the_longest_of_those_that_end_together_is_taken() {
        let mut ready = String::new();
        let hit = stops(&["b", "ab", "xab!"]).push("xxab!", &mut ready);
        assert_eq!(hit, Some(StopHit { stop: 1, text_len: 2 }));
        assert_eq!(ready, "xx");
    }

    #[test]
    fn absurd_stops_are_refused() {
        assert!(matches!(StopTexts::new(&[String::new()]), Err(Error::InvalidOption { option: "stop", .. })));
        assert!(StopTexts::new(&["x".repeat(STOP_BYTES_MAX + 1)]).is_err());
        let mut ready = String::new();
        let long = "ab".repeat(STOP_BYTES_MAX / 2);
        assert!(StopTexts::new(std::slice::from_ref(&long)).unwrap().push(&long, &mut ready).is_some());
    }
}
