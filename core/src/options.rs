//! What was asked (`GenerationOptions`) and what will be done (`GenerationPlan`).
//!
//! A plan is checked once, here; nothing below validates again.

use serde::{Deserialize, Serialize};

use crate::{Error, Result, TokenId};

/// What the caller asks of one generation. Absent fields take the pack's defaults, then the library's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerationOptions {
    /// Most tokens to emit; default: what the context still holds.
    pub max_tokens: Option<usize>,
    /// Fewest tokens before a stop token is allowed; default 0. Where a constraint allows nothing else, its end comes
    /// first.
    pub min_tokens: Option<usize>,
    /// 0 is greedy; default 0 unless the pack says to sample.
    pub temperature: Option<f32>,
    /// Keep the k likeliest tokens; 0 keeps all.
    pub top_k: Option<usize>,
    /// Keep the likeliest tokens until their probability reaches this, in (0, 1]; 1 keeps all.
    pub top_p: Option<f32>,
    /// Drop tokens less likely than this share of the likeliest one, in [0, 1]; 0 keeps all.
    pub min_p: Option<f32>,
    /// Divides (positive) or multiplies (negative) the logits of tokens already seen; 1 is off.
    pub repetition_penalty: Option<f32>,
    /// Subtracted from a logit once per earlier occurrence in the output; 0 is off.
    pub frequency_penalty: Option<f32>,
    /// Subtracted from a logit if the token occurred in the output; 0 is off.
    pub presence_penalty: Option<f32>,
    /// Added to the logits of single tokens.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Seed of the random source; default: drawn, and reported in the account. It reproduces a sampled text with
    /// `Verification::SeedCoupled`, or with `DraftLength::Fixed`: otherwise the text also depends on how much each round
    /// drafted, and adaptive lengths follow the clock.
    pub seed: Option<u64>,
    /// Texts that end the generation; they are not part of the output.
    pub stop: Vec<String>,
    /// How proposals are checked; default: greedy at temperature 0, block otherwise.
    pub verification: Option<Verification>,
    /// How many tokens are drafted in a round; default adaptive.
    pub draft_length: Option<DraftLength>,
    /// What the output must look like; default anything.
    pub constraint: Option<ConstraintSpec>,
}

/// What the output must look like. Drafts obey it too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConstraintSpec {
    /// A JSON document that fits this JSON schema.
    JsonSchema(String),
    /// A text that this regular expression matches as a whole.
    Regex(String),
    /// A text of this Lark grammar.
    Lark(String),
}

/// How a proposal is checked against the target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// Token by token, exact (Leviathan et al., arXiv 2211.17192).
    Token,
    /// The whole block at once, exact and never shorter than `Token` (arXiv 2403.10444).
    Block,
    /// The text of plain sampling with the same seed, whatever the drafter.
    SeedCoupled,
    /// Accepts more than the target would: **not lossless**, and labelled so in the account.
    Lenient(Lenience),
}

/// How much more than the target a lenient verification accepts; ε in (0, 1], 1 is lossless (arXiv 2310.08461).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lenience {
    /// Accept with min(1, (p/ε) / q).
    Linear(f64),
    /// Accept with min(1, (p/ε²) / q).
    Square(f64),
    /// Accept with min(1, p^ε / q).
    Exponential(f64),
}

impl Lenience {
    /// ε, in (0, 1].
    pub fn epsilon(self) -> f64 {
        match self {
            Self::Linear(epsilon) | Self::Square(epsilon) | Self::Exponential(epsilon) => epsilon,
        }
    }
}

/// How many tokens are drafted in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DraftLength {
    /// Always this many where limits allow; 0 turns speculation off.
    Fixed(usize),
    /// Chosen before every round from measured costs and observed acceptance, at most this many; 0 is a choice.
    Adaptive(usize),
}

impl DraftLength {
    /// Most tokens that a round may draft.
    pub fn len_max(self) -> usize {
        match self {
            Self::Fixed(len) | Self::Adaptive(len) => len,
        }
    }
}

/// Most tokens that may be drafted in a round.
pub const DRAFT_LEN_MAX: usize = 16;

/// Checked settings of the warp from logits to probabilities. Every limit is a number; an inactive one is neutral.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingPlan {
    /// 0 is greedy.
    pub temperature: f32,
    /// Tokens kept; the vocabulary's length and more keep all.
    pub top_k: usize,
    /// In (0, 1]; 1 keeps all.
    pub top_p: f32,
    /// In [0, 1]; 0 keeps all.
    pub min_p: f32,
    /// Above 0; 1 is neutral.
    pub repetition_penalty: f32,
    /// 0 is neutral.
    pub frequency_penalty: f32,
    /// 0 is neutral.
    pub presence_penalty: f32,
    /// Added to single logits; ids below the vocabulary's length.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Tokens that may not appear in the first `min_tokens` of the output: the stop tokens.
    pub stop_tokens: Vec<TokenId>,
    /// Fewest tokens before a stop token is allowed, unless a constraint allows nothing else.
    pub min_tokens: usize,
}

impl SamplingPlan {
    /// The model's own distribution: temperature 1, nothing cut, nothing penalised.
    pub fn neutral() -> Self {
        Self {
            temperature: 1.0,
            top_k: usize::MAX,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            stop_tokens: Vec::new(),
            min_tokens: 0,
        }
    }

    /// True if the most likely token is always taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }
}

/// What one generation will do, every limit a checked number.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationPlan {
    /// Most tokens to emit, at least 1.
    pub max_tokens: usize,
    /// The warp, the same for target and drafter.
    pub sampling: SamplingPlan,
    /// Seed of the random source; see [`GenerationOptions::seed`] for what it reproduces.
    pub seed: u64,
    /// Texts that end the generation, none empty.
    pub stop: Vec<String>,
    /// How proposals are checked; of no effect when greedy, unless lenient.
    pub verification: Verification,
    /// How many tokens are drafted.
    pub draft_length: DraftLength,
}

/// What the pack and the model say about a generation that the caller left open.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanContext<'a> {
    /// Width of the target's vocabulary.
    pub vocab_len: usize,
    /// Tokens that the context still holds after the prompt.
    pub tokens_left: usize,
    /// Tokens that end a generation.
    pub stop_tokens: &'a [TokenId],
    /// Defaults of the pack (`search` of genai_config.json, or generation_config.json).
    pub defaults: &'a GenerationOptions,
    /// Seed to use where the caller gave none.
    pub seed: u64,
}

impl GenerationOptions {
    /// Checks the options and fills what they leave open.
    ///
    /// # Errors
    /// `InvalidOption` with the option's name and the range allowed.
    pub fn plan(&self, context: &PlanContext<'_>) -> Result<GenerationPlan> {
        let defaults = context.defaults;
        let temperature = self.temperature.or(defaults.temperature).unwrap_or(0.0);
        let top_p = self.top_p.or(defaults.top_p).unwrap_or(1.0);
        let min_p = self.min_p.or(defaults.min_p).unwrap_or(0.0);
        let repetition_penalty = self.repetition_penalty.or(defaults.repetition_penalty).unwrap_or(1.0);
        let frequency_penalty = self.frequency_penalty.or(defaults.frequency_penalty).unwrap_or(0.0);
        let presence_penalty = self.presence_penalty.or(defaults.presence_penalty).unwrap_or(0.0);
        check("temperature", temperature, temperature >= 0.0, "0 (greedy) or above")?;
        check("top_p", top_p, top_p > 0.0 && top_p <= 1.0, "above 0 and at most 1")?;
        check("min_p", min_p, (0.0..=1.0).contains(&min_p), "from 0 to 1")?;
        check("repetition_penalty", repetition_penalty, repetition_penalty > 0.0, "above 0; 1 is off")?;
        check("frequency_penalty", frequency_penalty, true, "finite")?;
        check("presence_penalty", presence_penalty, true, "finite")?;

        for &(token, bias) in &self.logit_bias {
            if token as usize >= context.vocab_len || !bias.is_finite() {
                return Err(invalid(
                    "logit_bias",
                    format!("({token}, {bias}): tokens are below {}, biases finite", context.vocab_len),
                ));
            }
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(invalid("stop", "an empty text would stop at once; leave it out".into()));
        }
        if self.max_tokens == Some(0) {
            return Err(invalid("max_tokens", "0 would generate nothing; at least 1".into()));
        }
        let verification = self.verification.unwrap_or(Verification::Block);
        if let Verification::Lenient(lenience) = verification {
            let epsilon = lenience.epsilon();
            if !(epsilon > 0.0 && epsilon <= 1.0) {
                return Err(invalid("lenience", format!("{epsilon}: above 0 and at most 1 (1 is lossless)")));
            }
        }
        let draft_length = self.draft_length.unwrap_or(DraftLength::Adaptive(DRAFT_LEN_MAX));
        let len = draft_length.len_max();
        if len > DRAFT_LEN_MAX {
            return Err(invalid("max_draft_tokens", format!("{len}: at most {DRAFT_LEN_MAX}")));
        }

        Ok(GenerationPlan {
            max_tokens: self.max_tokens.or(defaults.max_tokens).unwrap_or(usize::MAX).min(context.tokens_left),
            sampling: SamplingPlan {
                temperature,
                top_k: match self.top_k.or(defaults.top_k).unwrap_or(0) {
                    0 => context.vocab_len,
                    k => k.min(context.vocab_len),
                },
                top_p,
                min_p,
                repetition_penalty,
                frequency_penalty,
                presence_penalty,
                logit_bias: self.logit_bias.clone(),
                stop_tokens: context.stop_tokens.to_vec(),
                min_tokens: self.min_tokens.or(defaults.min_tokens).unwrap_or(0),
            },
            seed: self.seed.or(defaults.seed).unwrap_or(context.seed),
            stop: self.stop.clone(),
            verification,
            draft_length,
        })
    }
}

fn check(option: &'static str, value: f32, in_range: bool, allowed: &str) -> Result<()> {
    if value.is_finite() && in_range { Ok(()) } else { Err(invalid(option, format!("{value}: must be {allowed}"))) }
}

fn invalid(option: &'static str, reason: String) -> Error {
    Error::InvalidOption { option, reason }
}
