//! Runs one generation and takes its time, round by round.

use std::time::Instant;

use drafthorse::{Event, GenerationOptions, PositionCount, Prompt, Session, StopReason};
use serde::{Deserialize, Serialize};

use crate::plan::{Decoding, Mode};
use crate::{Error, Result};

/// One generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct Generation {
    /// Begin, in seconds since the run began.
    pub at_s: f64,
    /// Number of the prompt in this run, from 0.
    pub prompt: usize,
    /// Turn of the conversation, from 0.
    #[serde(default)]
    pub turn: usize,
    /// The prompt's task.
    pub task: String,
    /// Repetition, from 0.
    pub repetition: usize,
    /// How tokens were chosen.
    pub decoding: Decoding,
    /// How tokens were drafted.
    pub mode: Mode,
    /// Tokens of the prompt, those kept in the cache from the turn before included.
    pub prompt_tokens: usize,
    /// Tokens emitted.
    pub tokens: usize,
    /// From the start to the first token.
    pub ttft_ms: f64,
    /// Prompt tokens per second; 0 without prefill.
    pub prefill_tokens_per_s: f64,
    /// Tokens per second after the first round; 0 if there was no second.
    pub decode_tokens_per_s: f64,
    /// Passes of the target over anchor and draft; 0 where a peer does not tell.
    pub rounds: usize,
    /// Tokens drafted, those that the target was not asked about included; 0 where a peer does not tell.
    #[serde(default)]
    pub drafted: usize,
    /// Of these, what the target was asked about.
    pub proposed: usize,
    /// Of these, accepted.
    pub accepted: usize,
    /// Rounds that drafted nothing.
    #[serde(default)]
    pub passthrough_rounds: usize,
    /// Why it ended.
    pub stop_reason: String,
    /// True if the output has the target's own distribution.
    pub lossless: bool,
    /// Digest of the tokens: equal texts have equal digests.
    pub text_digest: String,
    /// Energy used meanwhile by the sensors' counter, idle power and other programs included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_j: Option<f64>,
    /// True if its speed lies beyond Tukey's fences among the repetitions of its case; it counts like any other.
    #[serde(default)]
    pub outlier: bool,
    /// What only the figures are made from; left out of a report unless asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
}

/// The rounds of a generation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Detail {
    /// Milliseconds since the round before and tokens of each round after the first.
    pub rounds: Vec<(f64, u32)>,
    /// By draft position: (proposed, accepted).
    pub positions: Vec<(usize, usize)>,
    /// How many rounds chose each draft length, from 0 on.
    pub draft_lens: Vec<usize>,
}

/// What identifies a generation within a run.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    pub prompt: usize,
    pub turn: usize,
    pub task: &'a str,
    pub repetition: usize,
    pub decoding: Decoding,
    pub mode: Mode,
}

/// Generates, `at_s` seconds after the run began, notes when each round's tokens came, and returns the text beside.
///
/// # Errors
/// Those of the generation.
pub(crate) fn measure(
    session: &Session,
    prompt: Prompt<'_>,
    options: &GenerationOptions,
    at_s: f64,
    place: &Place<'_>,
) -> Result<(Generation, String)> {
    let mut times: Vec<(Instant, u32)> = Vec::with_capacity(options.max_tokens.unwrap_or(256).min(65_536));
    let mut text = String::new();
    let mut digest = Digest::default();
    for event in session.generate(prompt, options)? {
        match event? {
            Event::Tokens(chunk) => {
                times.push((Instant::now(), chunk.tokens.len() as u32));
                chunk.tokens.iter().for_each(|token| digest.push(token.id));
                text.push_str(&chunk.text);
            }
            Event::Finished(account) => {
                if account.stop_reason == StopReason::Cancelled {
                    return Err(Error::Cancelled);
                }
                let rounds = times.windows(2).map(|pair| (millis(pair[0].0, pair[1].0), pair[1].1)).collect();
                let position = |count: &PositionCount| (count.proposed, count.accepted);
                let detail = Detail {
                    rounds,
                    positions: account.positions.iter().map(position).collect(),
                    draft_lens: account.draft_lens.clone(),
                };
                let generation = Generation {
                    at_s,
                    prompt: place.prompt,
                    turn: place.turn,
                    task: place.task.to_owned(),
                    repetition: place.repetition,
                    decoding: place.decoding,
                    mode: place.mode,
                    prompt_tokens: account.prompt_tokens,
                    tokens: account.tokens,
                    ttft_ms: account.ttft_ms,
                    prefill_tokens_per_s: account.prefill_tokens_per_s,
                    decode_tokens_per_s: account.decode_tokens_per_s,
                    rounds: account.rounds,
                    drafted: account.drafted,
                    proposed: account.proposed,
                    accepted: account.accepted,
                    passthrough_rounds: account.passthrough_rounds,
                    stop_reason: stop_reason(account.stop_reason).to_owned(),
                    lossless: account.lossless,
                    text_digest: digest.finish(),
                    energy_j: None,
                    outlier: false,
                    detail: Some(detail),
                };
                return Ok((generation, text));
            }
            _ => {}
        }
    }
    unreachable!("a generation ends with its account or an error")
}

fn millis(from: Instant, to: Instant) -> f64 {
    (to - from).as_secs_f64() * 1e3
}

fn stop_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::StopToken => "STOP_TOKEN",
        StopReason::StopSequence => "STOP_SEQUENCE",
        StopReason::MaxTokens => "MAX_TOKENS",
        StopReason::ContextFull => "CONTEXT_FULL",
        StopReason::Cancelled => "CANCELLED",
    }
}

/// FNV-1a over the token ids (Fowler, Noll, Vo): cheap enough for the timed loop, and no secret to keep.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn push(&mut self, token: u32) {
        for byte in token.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> String {
        format!("{:016x}", self.0)
    }
}
