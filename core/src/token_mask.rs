//! Which tokens a constraint allows next.

use crate::{Result, TokenId};

/// A constraint on the text (grammar, schema, expression) that follows the tokens and can step back.
pub trait TokenMaskSource: Send {
    /// The tokens allowed next, one bit per token, the lowest bit of the first word for token 0.
    /// `None`: every token. Tokens past the last word are not allowed.
    ///
    /// # Errors
    /// `Constraint` if the constraint cannot go on.
    fn mask(&mut self) -> Result<Option<&[u32]>>;

    /// Moves on by one token.
    ///
    /// # Errors
    /// `Constraint` if the token is not allowed.
    fn push(&mut self, token: TokenId) -> Result<()>;

    /// Takes the last `count` tokens back.
    ///
    /// # Errors
    /// `Constraint` if it has not gone that far.
    fn rollback(&mut self, count: usize) -> Result<()>;

    /// Appends tokens that probably follow because there is hardly a choice to `tokens`: a draft that costs no model,
    /// and is checked like any other. None unless the constraint can tell.
    fn forced(&mut self, tokens: &mut Vec<TokenId>) {
        let _ = tokens;
    }
}

/// True if `mask` allows `token`.
pub(crate) fn allows(mask: &[u32], token: TokenId) -> bool {
    mask.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
}
