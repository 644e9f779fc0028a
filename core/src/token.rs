//! Token ids.

/// Id of a token in the target's vocabulary.
pub type TokenId = u32;
