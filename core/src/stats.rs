//! The account of a generation: what was done, how fast, and where the time went.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::latency::{Latencies, millis};
use crate::{DRAFT_LEN_MAX, Passthrough, Percentiles};

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
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

/// What a generation did, and what it took. Times leave out what the caller does between two events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Why it ended.
    pub stop_reason: StopReason,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, tokens that were in the cache from the last turn.
    pub prompt_tokens_kept: usize,
    /// Tokens emitted.
    pub tokens: usize,
    /// From the start to the first token, the preparation of the prompt and of a constraint included; 0 if there was none.
    pub ttft_ms: f64,
    /// Times between tokens: a round's time is shared evenly by the tokens it confirmed. The first round's tokens
    /// arrive with the first one and have none.
    pub inter_token_ms: Percentiles,
    /// Prompt tokens per second of the target's prefill; 0 without prefill.
    pub prefill_tokens_per_s: f64,
    /// Tokens per second after the first round; 0 if there was no second.
    pub decode_tokens_per_s: f64,
    /// Rounds, each with one pass of the target.
    pub rounds: usize,
    /// Tokens drafted, those that the target was not asked about included.
    pub drafted: usize,
    /// Drafted tokens that the target was asked about.
    pub proposed: usize,
    /// Of these, accepted.
    pub accepted: usize,
    /// `accepted / proposed`; 0 if nothing was proposed.
    pub acceptance_rate: f64,
    /// Per draft position, up to the longest draft.
    pub positions: Vec<PositionCount>,
    /// Tokens confirmed per pass of the target (block efficiency), those after the end token included.
    pub tokens_per_target_call: f64,
    /// Where the time went.
    pub time: TimeSpent,
    /// Bytes of both caches when full.
    pub cache_bytes: usize,
    /// What computed the models.
    pub nodes: NodeCounts,
    /// How many rounds drafted so many tokens, from 0 up to the longest draft.
    pub draft_lens: Vec<usize>,
    /// Rounds that drafted nothing.
    pub passthrough_rounds: usize,
    /// The last reason for that, if it was so in at least half of the rounds.
    pub passthrough: Option<Passthrough>,
    /// Seed of the random source; see `GenerationOptions::seed` for what it reproduces.
    pub seed: u64,
    /// True if the output has the target's own distribution.
    pub lossless: bool,
}

/// Nodes of the models' graphs by execution provider (the runtime's names), as they really ran. Empty for models of the
/// caller's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCounts {
    /// The target's.
    pub target: BTreeMap<String, usize>,
    /// The drafter's; empty where no model drafts.
    pub drafter: BTreeMap<String, usize>,
}

/// What became of the tokens at one place of the draft.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionCount {
    /// Drafted tokens there that the target was asked about.
    pub proposed: usize,
    /// Of these, accepted.
    pub accepted: usize,
}

/// Where a generation's time went, in milliseconds; the parts sum to the total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// Everything else: preparation, text and events. What the caller does between two events counts nowhere.
    pub other_ms: f64,
}

/// What is known of a generation before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, tokens kept in the cache from the last turn.
    pub prompt_tokens_kept: usize,
    /// Bytes of both caches when full.
    pub cache_bytes: usize,
    /// What computes the models.
    pub nodes: Arc<NodeCounts>,
    /// Seed of the random source.
    pub seed: u64,
    /// True if the output has the target's own distribution.
    pub lossless: bool,
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RoundRecord {
    /// Tokens drafted.
    pub drafted: usize,
    /// Of these, the first ones, which the target was asked about.
    pub proposed: usize,
    /// Drafted tokens accepted.
    pub accepted: usize,
    /// Tokens emitted: at most `accepted + 1`, fewer where the generation ended among them.
    pub emitted: usize,
    /// Why nothing was drafted, if so.
    pub passthrough: Option<Passthrough>,
    /// The drafter's time.
    pub draft: Duration,
    /// The target's time.
    pub score: Duration,
    /// Verification and truncation.
    pub accept: Duration,
}

/// Keeps a generation's account. Notes nothing on the heap after construction.
///
/// It has no clock: `at` is the time since the generation's start.
#[derive(Clone, Debug)]
pub struct Recorder {
    known: Known,
    prefilled: usize,
    prefill: Duration,
    drafter_prefill: Duration,
    rounds: usize,
    confirmed: usize,
    emitted: usize,
    drafted: usize,
    /// When the first and the last round with tokens ended, and the tokens of the first.
    first: Option<(Duration, usize)>,
    last: Duration,
    latencies: Latencies,
    positions: [PositionCount; DRAFT_LEN_MAX],
    draft_lens: [usize; DRAFT_LEN_MAX + 1],
    passthrough_rounds: usize,
    passthrough: Option<Passthrough>,
    draft: Duration,
    score: Duration,
    accept: Duration,
}

impl Recorder {
    /// A recorder for a generation of up to `tokens_max` tokens.
    pub fn new(known: Known, tokens_max: usize) -> Self {
        Self {
            known,
            prefilled: 0,
            prefill: Duration::ZERO,
            drafter_prefill: Duration::ZERO,
            rounds: 0,
            confirmed: 0,
            emitted: 0,
            drafted: 0,
            first: None,
            last: Duration::ZERO,
            latencies: Latencies::new(tokens_max),
            positions: Default::default(),
            draft_lens: [0; DRAFT_LEN_MAX + 1],
            passthrough_rounds: 0,
            passthrough: None,
            draft: Duration::ZERO,
            score: Duration::ZERO,
            accept: Duration::ZERO,
        }
    }

    /// Notes that the target read `tokens` of the prompt in `time`.
    pub fn prefill(&mut self, tokens: usize, time: Duration) {
        self.prefilled += tokens;
        self.prefill += time;
    }

    /// Notes that the drafter read the prompt in `time`.
    pub fn drafter_prefill(&mut self, time: Duration) {
        self.drafter_prefill += time;
    }

    /// Notes a round that ended `at`.
    pub fn round(&mut self, round: &RoundRecord, at: Duration) {
        self.rounds += 1;
        self.confirmed += round.accepted + 1;
        self.emitted += round.emitted;
        self.draft += round.draft;
        self.score += round.score;
        self.accept += round.accept;
        self.draft_lens[round.drafted.min(DRAFT_LEN_MAX)] += 1;
        for (position, count) in self.positions.iter_mut().enumerate().take(round.proposed) {
            count.proposed += 1;
            count.accepted += usize::from(position < round.accepted);
        }
        self.drafted += round.drafted;
        if round.drafted == 0 {
            self.passthrough_rounds += 1;
            // That a text ends is no reason worth telling where there is another.
            if self.passthrough.is_none() || round.passthrough != Some(Passthrough::OneTokenLeft) {
                self.passthrough = round.passthrough.or(self.passthrough);
            }
        }
        if round.emitted == 0 {
            return;
        }
        match self.first {
            None => self.first = Some((at, round.emitted)),
            Some(_) => {
                let each = millis(at.saturating_sub(self.last)) / round.emitted as f64;
                self.latencies.push(each, round.emitted);
            }
        }
        self.last = at;
    }

    /// The account of a generation that ended `at`.
    pub fn account(&self, stop_reason: StopReason, at: Duration) -> Account {
        let proposed: usize = self.positions.iter().map(|count| count.proposed).sum();
        let accepted: usize = self.positions.iter().map(|count| count.accepted).sum();
        let (first_at, first_tokens) = self.first.unwrap_or_default();
        let prefill = self.prefill + self.drafter_prefill;
        let parts = prefill + self.draft + self.score + self.accept;
        Account {
            stop_reason,
            prompt_tokens: self.known.prompt_tokens,
            prompt_tokens_kept: self.known.prompt_tokens_kept,
            tokens: self.emitted,
            ttft_ms: millis(first_at),
            inter_token_ms: self.latencies.percentiles(),
            prefill_tokens_per_s: ratio(self.prefilled as f64, self.prefill.as_secs_f64()),
            decode_tokens_per_s: ratio(
                (self.emitted - first_tokens) as f64,
                self.last.saturating_sub(first_at).as_secs_f64(),
            ),
            rounds: self.rounds,
            drafted: self.drafted,
            proposed,
            accepted,
            acceptance_rate: ratio(accepted as f64, proposed as f64),
            positions: upto_last(&self.positions, |count| count.proposed > 0),
            tokens_per_target_call: ratio(self.confirmed as f64, self.rounds as f64),
            time: TimeSpent {
                total_ms: millis(at),
                prefill_ms: millis(prefill),
                draft_ms: millis(self.draft),
                score_ms: millis(self.score),
                accept_ms: millis(self.accept),
                other_ms: millis(at.saturating_sub(parts)),
            },
            cache_bytes: self.known.cache_bytes,
            nodes: NodeCounts::clone(&self.known.nodes),
            draft_lens: upto_last(&self.draft_lens, |&rounds| rounds > 0),
            passthrough_rounds: self.passthrough_rounds,
            passthrough: self.passthrough.filter(|_| 2 * self.passthrough_rounds >= self.rounds),
            seed: self.known.seed,
            lossless: self.known.lossless,
        }
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// The elements up to the last one that counts.
fn upto_last<T: Clone>(all: &[T], counts: impl Fn(&T) -> bool) -> Vec<T> {
    let len = all.iter().rposition(counts).map_or(0, |last| last + 1);
    all[..len].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let nodes = Arc::new(NodeCounts { target: BTreeMap::from([("CPU".into(), 9)]), ..NodeCounts::default() });
        Known { prompt_tokens: 20, prompt_tokens_kept: 4, cache_bytes: 1000, nodes, seed: 7, lossless: true }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_account_of_three_rounds() {
        let mut recorder = Recorder::new(known(), 100);
        recorder.prefill(8, ms(30));
        recorder.prefill(8, ms(10));
        recorder.drafter_prefill(ms(2));
        let round = |drafted, proposed, accepted, emitted| RoundRecord {
            drafted,
            proposed,
            accepted,
            emitted,
            draft: ms(2 * proposed as u64),
            score: ms(10),
            accept: ms(1),
            passthrough: None,
        };
        recorder.round(&round(4, 4, 2, 3), ms(60));
        recorder.round(&round(4, 3, 3, 4), ms(80));
        let plain = RoundRecord { passthrough: Some(Passthrough::OneTokenLeft), ..round(0, 0, 0, 1) };
        recorder.round(&plain, ms(92));
        let account = recorder.account(StopReason::MaxTokens, ms(95));

        assert_eq!((account.tokens, account.rounds, account.drafted), (8, 3, 8));
        assert_eq!((account.proposed, account.accepted), (7, 5));
        assert_eq!((account.ttft_ms, account.prefill_tokens_per_s), (60.0, 400.0));
        assert_eq!(account.decode_tokens_per_s, 5.0 / 0.032);
        // Four tokens of 5 ms and one of 12 ms.
        assert_eq!(account.inter_token_ms, Percentiles { p50: 5.0, p90: 12.0, p99: 12.0, max: 12.0 });
        assert!((account.acceptance_rate - 5.0 / 7.0).abs() < 1e-12);
        assert!((account.tokens_per_target_call - 8.0 / 3.0).abs() < 1e-12);
        let positions: Vec<_> = account.positions.iter().map(|count| (count.proposed, count.accepted)).collect();
        assert_eq!(positions, [(2, 2), (2, 2), (2, 1), (1, 0)]);
        assert_eq!(account.draft_lens, [1, 0, 0, 0, 2]);
        assert_eq!(account.nodes.target["CPU"], 9);
        assert_eq!((account.passthrough_rounds, account.passthrough), (1, None));
        // A draft that was pruned whole is one all the same.
        recorder.round(&round(2, 0, 0, 1), ms(93));
        assert_eq!(recorder.account(StopReason::MaxTokens, ms(95)).passthrough_rounds, 1);
        let time = account.time;
        assert_eq!((time.draft_ms, time.score_ms, time.accept_ms, time.other_ms), (14.0, 30.0, 3.0, 6.0));
        assert_eq!(time.prefill_ms + time.draft_ms + time.score_ms + time.accept_ms + time.other_ms, time.total_ms);
    }

    #[test]
    fn an_account_of_nothing_has_no_infinities_and_survives_json() {
        let mut recorder = Recorder::new(known(), 0);
        let empty = recorder.account(StopReason::Cancelled, Duration::ZERO);
        assert_eq!((empty.decode_tokens_per_s, empty.acceptance_rate, empty.tokens_per_target_call), (0.0, 0.0, 0.0));
        recorder
            .round(&RoundRecord { passthrough: Some(Passthrough::NoDrafter), emitted: 1, ..Default::default() }, ms(1));
        let account = recorder.account(StopReason::StopToken, ms(1));
        assert_eq!(account.passthrough, Some(Passthrough::NoDrafter));
        let json = serde_json::to_string(&account).unwrap();
        assert!(json.contains("\"STOP_TOKEN\""), "{json}");
        assert_eq!(serde_json::from_str::<Account>(&json).unwrap(), account);
    }
}
