//! What an app asks of one generation. Absent fields take the pack's defaults, then the library's.

use crate::number::size;

/// What an app asks of one generation. Absent fields take the pack's defaults, then the library's.
#[derive(Clone, Debug, Default, PartialEq, uniffi::Record)]
pub struct GenerationOptions {
    /// Most tokens to emit; default: what the context still holds.
    #[uniffi(default)]
    pub max_tokens: Option<u64>,
    /// Fewest tokens before a stop token is allowed.
    #[uniffi(default)]
    pub min_tokens: Option<u64>,
    /// 0 is greedy.
    #[uniffi(default)]
    pub temperature: Option<f32>,
    /// Keep the k likeliest tokens; 0 keeps all.
    #[uniffi(default)]
    pub top_k: Option<u64>,
    /// Keep the likeliest tokens until their probability reaches this, in (0, 1].
    #[uniffi(default)]
    pub top_p: Option<f32>,
    /// Drop tokens less likely than this share of the likeliest one, in [0, 1].
    #[uniffi(default)]
    pub min_p: Option<f32>,
    /// Divides (positive) or multiplies (negative) the logits of tokens already seen; 1 is off.
    #[uniffi(default)]
    pub repetition_penalty: Option<f32>,
    /// Subtracted from a logit once per earlier occurrence in the output.
    #[uniffi(default)]
    pub frequency_penalty: Option<f32>,
    /// Subtracted from a logit if the token occurred in the output.
    #[uniffi(default)]
    pub presence_penalty: Option<f32>,
    /// Added to the logits of single tokens.
    #[uniffi(default)]
    pub logit_bias: Vec<TokenBias>,
    /// Seed of the random source; default: drawn, and reported in the account. It brings a sampled text back with
    /// `SeedCoupled` or a fixed draft length; adaptive lengths follow the clock.
    #[uniffi(default)]
    pub seed: Option<u64>,
    /// Texts that end the generation; they are not part of the output.
    #[uniffi(default)]
    pub stop: Vec<String>,
    /// How proposals are checked.
    #[uniffi(default)]
    pub verification: Option<Verification>,
    /// How many tokens are drafted in a round; default adaptive.
    #[uniffi(default)]
    pub draft_length: Option<DraftLength>,
    /// What the output must look like; default anything.
    #[uniffi(default)]
    pub constraint: Option<Constraint>,
}

/// A number added to one token's logit.
#[derive(Clone, Copy, Debug, PartialEq, uniffi::Record)]
pub struct TokenBias {
    /// Id in the target's vocabulary.
    pub token: u32,
    /// Added to its logit.
    pub bias: f32,
}

/// What the output must look like. Drafts obey it too.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Constraint {
    /// A JSON document that fits this JSON schema.
    JsonSchema {
        /// The schema as JSON.
        schema: String,
    },
    /// A text that this regular expression matches as a whole.
    Regex {
        /// The expression.
        pattern: String,
    },
    /// A text of this Lark grammar.
    Lark {
        /// The grammar.
        grammar: String,
    },
}

/// How a proposal is checked against the target.
#[derive(Clone, Copy, Debug, PartialEq, uniffi::Enum)]
pub enum Verification {
    /// Token by token, exact.
    Token,
    /// The whole block at once, exact and never shorter.
    Block,
    /// The text of plain sampling with the same seed, whatever the drafter.
    SeedCoupled,
    /// Accepts more than the target would: not lossless, and labelled so in the account.
    Lenient {
        /// How much more.
        lenience: Lenience,
    },
}

/// How much more than the target a lenient verification accepts; epsilon in (0, 1], 1 is lossless.
#[derive(Clone, Copy, Debug, PartialEq, uniffi::Enum)]
pub enum Lenience {
    /// Accept with min(1, (p/ε) / q).
    Linear {
        /// ε.
        epsilon: f64,
    },
    /// Accept with min(1, (p/ε²) / q).
    Square {
        /// ε.
        epsilon: f64,
    },
    /// Accept with min(1, p^ε / q).
    Exponential {
        /// ε.
        epsilon: f64,
    },
}

/// How many tokens are drafted in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum DraftLength {
    /// Always this many where limits allow; 0 turns speculation off.
    Fixed {
        /// Tokens per round.
        tokens: u64,
    },
    /// Chosen before every round from measured costs and observed acceptance.
    Adaptive {
        /// Most tokens per round.
        tokens_max: u64,
    },
}

impl From<GenerationOptions> for drafthorse::GenerationOptions {
    fn from(options: GenerationOptions) -> Self {
        Self {
            max_tokens: options.max_tokens.map(size),
            min_tokens: options.min_tokens.map(size),
            temperature: options.temperature,
            top_k: options.top_k.map(size),
            top_p: options.top_p,
            min_p: options.min_p,
            repetition_penalty: options.repetition_penalty,
            frequency_penalty: options.frequency_penalty,
            presence_penalty: options.presence_penalty,
            logit_bias: options.logit_bias.into_iter().map(|entry| (entry.token, entry.bias)).collect(),
            seed: options.seed,
            stop: options.stop,
            verification: options.verification.map(Into::into),
            draft_length: options.draft_length.map(Into::into),
            constraint: options.constraint.map(Into::into),
        }
    }
}

impl From<Constraint> for drafthorse::ConstraintSpec {
    fn from(constraint: Constraint) -> Self {
        match constraint {
            Constraint::JsonSchema { schema } => Self::JsonSchema(schema),
            Constraint::Regex { pattern } => Self::Regex(pattern),
            Constraint::Lark { grammar } => Self::Lark(grammar),
        }
    }
}

impl From<Verification> for drafthorse::Verification {
    fn from(verification: Verification) -> Self {
        match verification {
            Verification::Token => Self::Token,
            Verification::Block => Self::Block,
            Verification::SeedCoupled => Self::SeedCoupled,
            Verification::Lenient { lenience } => Self::Lenient(lenience.into()),
        }
    }
}

impl From<Lenience> for drafthorse::Lenience {
    fn from(lenience: Lenience) -> Self {
        match lenience {
            Lenience::Linear { epsilon } => Self::Linear(epsilon),
            Lenience::Square { epsilon } => Self::Square(epsilon),
            Lenience::Exponential { epsilon } => Self::Exponential(epsilon),
        }
    }
}

impl From<DraftLength> for drafthorse::DraftLength {
    fn from(length: DraftLength) -> Self {
        match length {
            DraftLength::Fixed { tokens } => Self::Fixed(size(tokens)),
            DraftLength::Adaptive { tokens_max } => Self::Adaptive(size(tokens_max)),
        }
    }
}
