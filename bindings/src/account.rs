//! The account of a generation: what was done, how fast, and where the time went.

use std::collections::{BTreeMap, HashMap};

use crate::number::count;

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum StopReason {
    /// The model emitted an end token.
    StopToken,
    /// The text reached one of the stop texts.
    StopSequence,
    /// As many tokens as asked for.
    MaxTokens,
    /// The context holds no more.
    ContextFull,
    /// The caller cancelled.
    Cancelled,
}

/// What a generation did, and what it took.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Account {
    /// Why it ended.
    pub stop_reason: StopReason,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Of these, tokens that were in the cache from the last turn.
    pub prompt_tokens_kept: u64,
    /// Tokens emitted.
    pub tokens: u64,
    /// From the start to the first token, preparation included; 0 if there was none.
    pub ttft_ms: f64,
    /// Times between tokens: a round's time is shared evenly by the tokens it confirmed.
    pub inter_token_ms: Percentiles,
    /// Prompt tokens per second of the target's prefill; 0 without prefill.
    pub prefill_tokens_per_s: f64,
    /// Tokens per second after the first round; 0 if there was no second.
    pub decode_tokens_per_s: f64,
    /// Rounds, each with one pass of the target.
    pub rounds: u64,
    /// Tokens drafted, those that the target was not asked about included.
    pub drafted: u64,
    /// Drafted tokens that the target was asked about.
    pub proposed: u64,
    /// Drafted tokens that were accepted.
    pub accepted: u64,
    /// `accepted / proposed`; 0 if nothing was drafted.
    pub acceptance_rate: f64,
    /// Per draft position, up to the longest draft.
    pub positions: Vec<PositionCount>,
    /// Tokens confirmed per pass of the target (block efficiency).
    pub tokens_per_target_call: f64,
    /// Where the time went.
    pub time: TimeSpent,
    /// Bytes of both caches when full.
    pub cache_bytes: u64,
    /// Nodes of the target's graph by execution provider (the runtime's names), as they really ran.
    pub target_nodes: HashMap<String, u64>,
    /// The same of the drafter's; empty where no model drafts.
    pub drafter_nodes: HashMap<String, u64>,
    /// How many rounds drafted so many tokens.
    pub draft_lengths: Vec<DraftLengthCount>,
    /// Rounds that drafted nothing.
    pub passthrough_rounds: u64,
    /// The last reason for that, if it was so in at least half of the rounds.
    pub passthrough: Option<Passthrough>,
    /// The same reason in words.
    pub passthrough_text: Option<String>,
    /// Seed of the random source.
    pub seed: u64,
    /// True if the output has the target's own distribution.
    pub lossless: bool,
}

/// Order statistics in milliseconds; all 0 if there was nothing to rank.
#[derive(Clone, Copy, Debug, PartialEq, uniffi::Record)]
pub struct Percentiles {
    /// Half are no greater.
    pub p50: f64,
    /// Nine in ten are no greater.
    pub p90: f64,
    /// 99 in a hundred are no greater.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
}

/// What became of the tokens at one place of the draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct PositionCount {
    /// Drafted tokens there that the target was asked about.
    pub proposed: u64,
    /// Of these, accepted.
    pub accepted: u64,
}

/// How many rounds drafted so many tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct DraftLengthCount {
    /// Tokens drafted.
    pub tokens: u64,
    /// Rounds that drafted so many.
    pub rounds: u64,
}

/// Where a generation's time went, in milliseconds; the parts sum to the total.
#[derive(Clone, Copy, Debug, PartialEq, uniffi::Record)]
pub struct TimeSpent {
    /// From the start to the end.
    pub total_ms: f64,
    /// Both models' passes over the prompt.
    pub prefill_ms: f64,
    /// The drafter's passes of the rounds.
    pub draft_ms: f64,
    /// The target's passes over anchor and draft.
    pub score_ms: f64,
    /// Verification and truncation.
    pub accept_ms: f64,
    /// Everything else: text and events. What the caller does between two events counts nowhere.
    pub other_ms: f64,
}

/// Why a round drafts nothing.
#[derive(Clone, Copy, Debug, PartialEq, uniffi::Enum)]
pub enum Passthrough {
    /// A draft length of 0 was asked for.
    Off,
    /// The session has no drafter.
    NoDrafter,
    /// The target returns logits for the last token only, so that proposals cannot be checked.
    LastRowOnly,
    /// The drafter has nothing to propose here.
    NothingToPropose,
    /// One token is left of the tokens allowed or of the context.
    OneTokenLeft,
    /// Drafting would cost more time than the accepted tokens save.
    DoesNotPay {
        /// Estimated chance that the first drafted token is accepted.
        acceptance: f64,
        /// Time of drafting and checking that token, as a share of a plain step.
        cost: f64,
    },
    /// Drafts of late cost more than they saved.
    TooManyRejections,
}

impl From<drafthorse::StopReason> for StopReason {
    fn from(reason: drafthorse::StopReason) -> Self {
        use drafthorse::StopReason as Core;
        match reason {
            Core::StopToken => Self::StopToken,
            Core::StopSequence => Self::StopSequence,
            Core::MaxTokens => Self::MaxTokens,
            Core::ContextFull => Self::ContextFull,
            Core::Cancelled => Self::Cancelled,
        }
    }
}

impl From<drafthorse::Account> for Account {
    fn from(account: drafthorse::Account) -> Self {
        Self {
            stop_reason: account.stop_reason.into(),
            prompt_tokens: count(account.prompt_tokens),
            prompt_tokens_kept: count(account.prompt_tokens_kept),
            tokens: count(account.tokens),
            ttft_ms: account.ttft_ms,
            inter_token_ms: account.inter_token_ms.into(),
            prefill_tokens_per_s: account.prefill_tokens_per_s,
            decode_tokens_per_s: account.decode_tokens_per_s,
            rounds: count(account.rounds),
            drafted: count(account.drafted),
            proposed: count(account.proposed),
            accepted: count(account.accepted),
            acceptance_rate: account.acceptance_rate,
            positions: account.positions.into_iter().map(Into::into).collect(),
            tokens_per_target_call: account.tokens_per_target_call,
            time: account.time.into(),
            cache_bytes: count(account.cache_bytes),
            target_nodes: nodes(account.nodes.target),
            drafter_nodes: nodes(account.nodes.drafter),
            draft_lengths: (0..)
                .zip(account.draft_lens)
                .map(|(tokens, rounds)| DraftLengthCount { tokens, rounds: count(rounds) })
                .collect(),
            passthrough_rounds: count(account.passthrough_rounds),
            passthrough: account.passthrough.map(Into::into),
            passthrough_text: account.passthrough.map(|reason| reason.to_string()),
            seed: account.seed,
            lossless: account.lossless,
        }
    }
}

fn nodes(counts: BTreeMap<String, usize>) -> HashMap<String, u64> {
    counts.into_iter().map(|(provider, nodes)| (provider, count(nodes))).collect()
}

impl From<drafthorse::Percentiles> for Percentiles {
    fn from(drafthorse::Percentiles { p50, p90, p99, max }: drafthorse::Percentiles) -> Self {
        Self { p50, p90, p99, max }
    }
}

impl From<drafthorse::PositionCount> for PositionCount {
    fn from(position: drafthorse::PositionCount) -> Self {
        Self { proposed: count(position.proposed), accepted: count(position.accepted) }
    }
}

impl From<drafthorse::TimeSpent> for TimeSpent {
    fn from(time: drafthorse::TimeSpent) -> Self {
        let drafthorse::TimeSpent { total_ms, prefill_ms, draft_ms, score_ms, accept_ms, other_ms } = time;
        Self { total_ms, prefill_ms, draft_ms, score_ms, accept_ms, other_ms }
    }
}

impl From<drafthorse::Passthrough> for Passthrough {
    fn from(reason: drafthorse::Passthrough) -> Self {
        use drafthorse::Passthrough as Core;
        match reason {
            Core::Off => Self::Off,
            Core::NoDrafter => Self::NoDrafter,
            Core::LastRowOnly => Self::LastRowOnly,
            Core::NothingToPropose => Self::NothingToPropose,
            Core::OneTokenLeft => Self::OneTokenLeft,
            Core::DoesNotPay { acceptance, cost } => Self::DoesNotPay { acceptance, cost },
            Core::TooManyRejections => Self::TooManyRejections,
        }
    }
}
