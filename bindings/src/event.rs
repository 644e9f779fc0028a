//! What a generation tells while it runs.

use crate::Account;
use crate::number::count;

/// What a generation tells while it runs.
#[allow(clippy::large_enum_variant, reason = "the border copies every event, and boxes none")]
#[derive(Clone, Debug, PartialEq, uniffi::Enum)]
pub enum GenerationEvent {
    /// Part of the prompt is in the cache.
    Prefill {
        /// Prompt tokens in the cache, those kept from the last turn included.
        done: u64,
        /// Prompt tokens.
        total: u64,
    },
    /// A round has confirmed tokens. Text lags behind tokens while a character is incomplete or a stop text may match.
    Tokens {
        /// Whole characters, to be appended to what came before.
        text: String,
        /// The tokens of this round, a stop token included.
        tokens: Vec<Token>,
    },
    /// The generation has ended; nothing follows.
    Finished {
        /// What it did and what it took.
        account: Account,
    },
}

/// A confirmed token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Token {
    /// Id in the target's vocabulary.
    pub id: u32,
    /// True if the drafter proposed it, false if the target supplied it.
    pub drafted: bool,
    /// UTF-8 bytes of the event's text that were ready after this token.
    pub text_end: u64,
}

impl GenerationEvent {
    /// The event for the other side; `None` for one that it has no word for.
    pub(crate) fn of(event: drafthorse::Event) -> Option<Self> {
        Some(match event {
            drafthorse::Event::Prefill { done, total } => Self::Prefill { done: count(done), total: count(total) },
            drafthorse::Event::Tokens(chunk) => {
                Self::Tokens { text: chunk.text, tokens: chunk.tokens.into_iter().map(Token::from).collect() }
            }
            drafthorse::Event::Finished(account) => Self::Finished { account: (*account).into() },
            _ => return None,
        })
    }
}

impl From<drafthorse::Token> for Token {
    fn from(token: drafthorse::Token) -> Self {
        Self { id: token.id, drafted: token.drafted, text_end: count(token.text_end) }
    }
}
