//! How many tokens to draft next, from measured costs and observed acceptance.

use std::time::Duration;

use crate::acceptance_record::AcceptanceRecord;
use crate::early_stop::{ConfidenceRecord, TokenCost};
use crate::latency::millis;
use crate::{CostProfile, DRAFT_LEN_MAX, DraftLength, DraftSource, EarlyStop, Passthrough};

/// What the next round is to draft.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DraftChoice {
    /// Most tokens to draft; 0 is a plain step.
    pub len: usize,
    /// When to draft less.
    pub stop: EarlyStop,
    /// Why nothing is drafted, where `len` is 0.
    pub passthrough: Option<Passthrough>,
}

/// The time of a round's passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTime {
    /// The drafter's.
    pub draft: Duration,
    /// The target's.
    pub score: Duration,
}

/// What a round drafted, and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct DraftedRound<'a> {
    /// What drafted.
    pub source: DraftSource,
    /// Tokens that no source drafted and that came first; what they gain and cost is not the source's merit.
    pub forced: usize,
    /// How sure the source was, one for each token that it drafted.
    pub confidences: &'a [f32],
    /// The confidences are the source's own, and not 1 because nobody asked.
    pub confidences_known: bool,
    /// Of the source's tokens, the first ones, which the target was asked about.
    pub checked: usize,
    /// Tokens that stayed, those forced among them.
    pub accepted: usize,
    /// The target's own token is the first one that it was not asked about.
    pub foreseen: bool,
    /// Time of the passes.
    pub time: RoundTime,
}

impl<'a> DraftedRound<'a> {
    /// A round in which the target was asked about everything that `source` drafted, and of which `accepted` stayed.
    pub fn all_checked(source: DraftSource, confidences: &'a [f32], accepted: usize, time: RoundTime) -> Self {
        let checked = confidences.len();
        Self { source, forced: 0, confidences, confidences_known: true, checked, accepted, foreseen: false, time }
    }
}

/// Chooses draft lengths, round by round, for a session.
///
/// Fixed lengths are kept wherever limits allow. An adaptive length is the one with the most tokens per unit of time,
/// by the profile's costs and the running acceptance of every draft position; the choice moves only for a gain worth
/// having. Around it a draft by a model ends earlier or later, as its tokens' own probabilities say, and where that is
/// sound, drafted tokens that do not pay for their rows of the target's pass are dropped before it.
///
/// Where none pays, single tokens are still tried now and then, paid for by the plain steps in between, so that
/// speculation that cannot win costs at most [`LOSS_SHARE`] of the plain time, and one plain step more at the start
/// (one and a half where the drafter was measured to be good).
#[derive(Clone, Debug)]
pub struct DraftLengthController {
    mode: DraftLength,
    /// Drafted tokens may be dropped before the target sees them.
    allows_pruning: bool,
    /// v(0..): index is rows; `[DRAFT_LEN_MAX + 2]`.
    verify_cost: [f64; DRAFT_LEN_MAX + 2],
    model: Source,
    lookup: Source,
    /// Plain steps that drafting has earned and may lose again.
    credit: f64,
    /// Plain steps since something was last drafted.
    plain_rounds: usize,
    /// What a plain step takes, in milliseconds: the profile's at first, then what the target's passes say, so that a
    /// warm or busy device slows both models alike.
    plain_ms: f64,
}

/// One origin of proposals.
#[derive(Clone, Debug)]
struct Source {
    record: AcceptanceRecord,
    confidences: ConfidenceRecord,
    /// Tokens and costs of late, the older the lighter.
    tokens: f64,
    cost: f64,
    /// c: a drafted token in plain steps.
    draft_cost: f64,
    /// What drafting took of late beyond that, in plain steps per round.
    extra_cost: f64,
    /// The length in force.
    len: usize,
}

/// Share of the plain time that trying drafts may cost where none pays.
pub const LOSS_SHARE: f64 = 0.015;

/// Plain steps that may be lost before anything was gained.
const CREDIT_START: f64 = 1.0;

/// The same for a drafter that was measured, as a pack's card records, and found to be right more often than not: a bad
/// beginning is no reason to give it up.
const CREDIT_START_MEASURED: f64 = 1.5;

/// Most plain steps that gains are remembered for: what a text that turns unpredictable may cost.
const CREDIT_MAX: f64 = 4.0;

/// A length in force is left for one that is faster by this share.
const HYSTERESIS: f64 = 0.02;

/// Weight that a round's speed keeps at the next round.
const SPEED_MEMORY: f64 = 0.95;

/// Plain steps that the predicted speed counts as beside the observed one.
const SPEED_PRIOR_COST: f64 = 5.0;

/// Weight of a target pass's time against those before it.
const PLAIN_WEIGHT: f64 = 0.1;

/// Weight of what a draft took beyond the profile against those before it.
const EXTRA_WEIGHT: f64 = 0.2;

/// Least that drafts owe: what one round that the machine held up may leave behind.
const CREDIT_MIN: f64 = -0.25;

/// Plain steps by which a round may outlast what was expected before it is taken for a disturbance.
const DISTURBED: f64 = 4.0;

/// Chance that a drafted token is accepted, before anything is known.
const ACCEPTANCE_PRIOR: f64 = 0.7;

impl DraftLengthController {
    /// A controller for models that cost as `profile` says. `acceptance` is the drafter's known acceptance per token
    /// (a pack's card), if there is one.
    pub fn new(mode: DraftLength, profile: &CostProfile, acceptance: Option<f64>) -> Self {
        let prior = acceptance.filter(|a| a.is_finite()).unwrap_or(ACCEPTANCE_PRIOR).clamp(0.0, 1.0);
        let source = |prior, draft_cost| Source {
            record: AcceptanceRecord::new(prior),
            confidences: ConfidenceRecord::default(),
            tokens: 0.0,
            cost: 0.0,
            draft_cost,
            extra_cost: 0.0,
            len: 0,
        };
        Self {
            mode,
            allows_pruning: false,
            verify_cost: std::array::from_fn(|rows| profile.verify_cost(rows.max(1))),
            model: source(prior, profile.draft_cost()),
            lookup: source(ACCEPTANCE_PRIOR, 0.0),
            credit: if acceptance.is_some() && prior > 0.5 { CREDIT_START_MEASURED } else { CREDIT_START },
            plain_rounds: 0,
            plain_ms: profile.target_ms(1),
        }
    }

    /// Changes the mode and keeps what was learnt, for the session's next generation. `allows_pruning`: the output does not
    /// depend on what is drafted, so that drafts may be pruned.
    pub fn set_mode(&mut self, mode: DraftLength, allows_pruning: bool) {
        self.mode = mode;
        self.allows_pruning = allows_pruning;
    }

    /// The next round's draft, which comes from `source` and may not be longer than `limit`: one less than the tokens
    /// left and than the context left.
    pub fn choose(&mut self, source: DraftSource, limit: usize) -> DraftChoice {
        let (DraftLength::Fixed(len) | DraftLength::Adaptive(len)) = self.mode;
        let len_max = len.min(limit).min(DRAFT_LEN_MAX);
        if len == 0 {
            return DraftChoice::nothing(Passthrough::Off);
        }
        if limit == 0 {
            return DraftChoice::nothing(Passthrough::OneTokenLeft);
        }
        let Some(index) = Which::of(source) else { return DraftChoice::nothing(Passthrough::NothingToPropose) };
        match self.mode {
            DraftLength::Fixed(_) => DraftChoice::fixed(len_max),
            DraftLength::Adaptive(len) => self.adapt(index, len.min(DRAFT_LEN_MAX), len_max),
        }
    }

    /// Takes note of a round.
    ///
    /// Drafting that took longer than the profile says, as when a drafter that was not asked for long has to catch up,
    /// is charged what it took. The target's time tells how fast the device is just now.
    pub fn observe(&mut self, round: &DraftedRound<'_>) {
        let &DraftedRound { source, forced, confidences, confidences_known, checked, accepted, foreseen, time } = round;
        let drafted = confidences.len();
        let rows = |checked: usize| (forced + checked).min(DRAFT_LEN_MAX) + 1;
        self.follow_pace(rows(checked), time.score);
        let Some(which) = Which::of(source).filter(|_| drafted > 0) else {
            self.plain_rounds += 1;
            if self.credit < CREDIT_START {
                self.credit += LOSS_SHARE;
            }
            return;
        };
        // As if the rows of the forced tokens were a plain step.
        let verify_cost = 1.0 + self.verify_cost[rows(checked)] - self.verify_cost[rows(0)];
        let cost = self.source(which).draft_cost * drafted as f64 + verify_cost;
        // A draft that the machine held up says nothing about the next one.
        let charged = (verify_cost + millis(time.draft) / self.plain_ms).clamp(cost, cost + DISTURBED);
        let from_source = accepted.saturating_sub(forced);
        let gained = (1 + from_source) as f64 - charged;
        self.credit = (self.credit + gained).clamp(CREDIT_MIN, CREDIT_MAX);
        self.plain_rounds = 0;
        let source = self.source_mut(which);
        source.extra_cost += (charged - cost - source.extra_cost) * EXTRA_WEIGHT;
        if accepted >= forced {
            // The target's own token judges the first one that it was not asked about.
            let pruned = usize::from(from_source == checked && checked < drafted);
            let (judged, right) = (checked + pruned, from_source + usize::from(foreseen) * pruned);
            source.record.observe(judged, right);
            if confidences_known {
                source.confidences.observe(confidences, judged, right);
            }
        }
        source.tokens = source.tokens * SPEED_MEMORY + (1 + from_source) as f64;
        source.cost = source.cost * SPEED_MEMORY + cost;
    }

    /// Lets the time of a target pass over `rows` rows change what a plain step is taken to last.
    fn follow_pace(&mut self, rows: usize, time: Duration) {
        let pace = millis(time) / (self.verify_cost[rows] * self.plain_ms);
        if pace > 0.0 {
            self.plain_ms *= 1.0 + (pace.min(DISTURBED) - 1.0) * PLAIN_WEIGHT;
        }
    }

    /// Estimated chance that the token at draft position `position` (from 0) is accepted if those before it are.
    pub fn acceptance(&self, source: DraftSource, position: usize) -> f64 {
        Which::of(source).map_or(0.0, |which| self.source(which).record.acceptance(position))
    }

    /// The length in force is judged without the limit, so that the end of a text does not change it.
    fn adapt(&mut self, which: Which, len_asked: usize, len_max: usize) -> DraftChoice {
        let speeds = self.speeds(which);
        let best = fastest(&speeds[..=len_asked]);
        let source = self.source_mut(which);
        let current = source.len.min(len_asked);
        source.len = if speeds[best] > speeds[current] * (1.0 + HYSTERESIS) { best } else { current };
        let (len, stop) = match (source.len, which) {
            (0, _) => (0, EarlyStop::NEVER),
            (len, Which::Lookup) => (len, EarlyStop::NEVER),
            (len, Which::Model) => (2 * len + 1, self.stop(which, speeds[len])),
        };
        let wanted = len.min(len_max);

        let affordable = (0..=wanted).rev().find(|&len| self.round_cost(which, len) - 1.0 <= self.credit);
        match affordable.filter(|&len| len > 0) {
            Some(len) => DraftChoice { len, stop, passthrough: None },
            None if self.may_try(which) => DraftChoice { stop: EarlyStop::WATCHING, ..DraftChoice::fixed(1) },
            None if wanted > 0 => DraftChoice::nothing(Passthrough::TooManyRejections),
            None => DraftChoice::nothing(Passthrough::DoesNotPay {
                acceptance: self.source(which).record.acceptance(0),
                cost: self.round_cost(which, 1) - 1.0,
            }),
        }
    }

    /// Ends drafts whose next token is worth less than the speed reached so far; `speed` until there is one.
    fn stop(&self, which: Which, speed: f64) -> EarlyStop {
        let source = self.source(which);
        let speed = (source.tokens + SPEED_PRIOR_COST * speed) / (source.cost + SPEED_PRIOR_COST);
        let (len, rows) = (source.len as f64, &self.verify_cost);
        // The mean over the length in force: a step in the cost of rows is paid once, by whoever takes it.
        let row_cost = (rows[source.len + 1] - rows[1]) / len;
        let cost = |drafted: usize| TokenCost {
            draft: source.draft_cost,
            row: if drafted > source.len { rows[drafted + 1] - rows[drafted] } else { row_cost },
        };
        let prunes = self.allows_pruning.then_some(rows);
        source.confidences.stop(source.record.acceptance(0), speed.max(1.0), cost, prunes)
    }

    /// Expected tokens per plain step's time, by draft length.
    fn speeds(&self, which: Which) -> [f64; DRAFT_LEN_MAX + 1] {
        let source = self.source(which);
        let (mut reach, mut tokens) = (1.0, 0.0);
        let mut speeds = std::array::from_fn(|len| {
            tokens += reach;
            reach *= source.record.acceptance(len);
            tokens / self.round_cost(which, len)
        });
        if self.allows_pruning && matches!(which, Which::Model) {
            let row = self.verify_cost[2] - self.verify_cost[1];
            let cost = TokenCost { draft: source.draft_cost + source.extra_cost, row };
            speeds[1] = source.confidences.speed_of_one(source.record.acceptance(0), cost).max(speeds[1]);
        }
        speeds
    }

    /// c·γ + v(γ+1), and what drafting took beyond that of late.
    fn round_cost(&self, which: Which, len: usize) -> f64 {
        let Source { draft_cost, extra_cost, .. } = self.source(which);
        draft_cost * len as f64 + self.verify_cost[len + 1] + if len > 0 { *extra_cost } else { 0.0 }
    }

    /// True if the plain steps since the last draft have paid for trying a single token.
    fn may_try(&self, which: Which) -> bool {
        let loss = self.round_cost(which, 1) - 1.0;
        self.credit >= loss && self.plain_rounds as f64 * LOSS_SHARE >= loss
    }

    fn source(&self, which: Which) -> &Source {
        match which {
            Which::Model => &self.model,
            Which::Lookup => &self.lookup,
        }
    }

    fn source_mut(&mut self, which: Which) -> &mut Source {
        match which {
            Which::Model => &mut self.model,
            Which::Lookup => &mut self.lookup,
        }
    }
}

impl DraftChoice {
    /// A plain step.
    pub fn nothing(reason: Passthrough) -> Self {
        Self { len: 0, stop: EarlyStop::NEVER, passthrough: Some(reason) }
    }

    fn fixed(len: usize) -> Self {
        Self { len, stop: EarlyStop::NEVER, passthrough: None }
    }
}

/// A source that proposes.
#[derive(Clone, Copy)]
enum Which {
    Model,
    Lookup,
}

impl Which {
    fn of(source: DraftSource) -> Option<Self> {
        match source {
            DraftSource::Model => Some(Self::Model),
            DraftSource::Lookup => Some(Self::Lookup),
            DraftSource::Nothing => None,
        }
    }
}

/// The shortest of the fastest lengths. Every length is looked at: the marginal rule (draft on while the next token's
/// chance per cost exceeds the speed so far) stops at the first step of a cost that rises in steps, as int4 kernels'
/// does, and agrees with this where costs are convex.
fn fastest(speeds: &[f64]) -> usize {
    (0..speeds.len()).fold(0, |best, len| if speeds[len] > speeds[best] { len } else { best })
}

#[cfg(test)]
mod tests;
