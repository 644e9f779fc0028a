//! The vocabulary in the form that grammars are matched against.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};

use super::constraint;
use crate::text::Tokenizer;
use crate::{Result, TokenId};

/// Longest token of the trie in bytes: its nodes count no more than 1024 ancestors. Longer ones are never allowed.
const TOKEN_BYTES_MAX: usize = 1000;

/// Builds the trie. Ids without a token, and padding, get no entry and are never allowed.
///
/// # Errors
/// `Constraint` if there is no stop token, or if the trie's own limits are passed.
pub(super) fn environment(tokenizer: &Tokenizer, stop_tokens: &[TokenId]) -> Result<TokEnv> {
    let Some(&stop_token) = stop_tokens.first() else {
        return Err(constraint("the model has no stop token, so a constrained output could not end".into()));
    };
    let vocab_len = tokenizer.vocab_len() as TokenId;
    let words: Vec<Vec<u8>> = (0..vocab_len).map(|token| word(tokenizer, token)).collect();
    let build = || TokTrie::from(&TokRxInfo::new(vocab_len, stop_token), &words).with_eos_tokens(stop_tokens);
    // The trie asserts its limits.
    let trie = catch_unwind(AssertUnwindSafe(build))
        .map_err(|_| constraint(format!("a vocabulary of {vocab_len} tokens does not fit the token trie")))?;
    // Tokens are allowed by their bytes alone, however a tokenizer would have cut the text: the target's distribution
    // is only restricted, never bent towards one spelling.
    Ok(Arc::new(ApproximateTokEnv::new(trie)))
}

/// The trie's entry of a token: its bytes, with a marker in front of special tokens so that no text spells them.
fn word(tokenizer: &Tokenizer, token: TokenId) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(token);
    let marker = TokTrie::SPECIAL_TOKEN_MARKER;
    if bytes.len() > TOKEN_BYTES_MAX || (bytes.first() == Some(&marker)) {
        // The marker is no byte of UTF-8, so such a token belongs to no text.
        return Vec::new();
    }
    if tokenizer.is_special(token) { [&[marker], bytes].concat() } else { bytes.to_vec() }
}
