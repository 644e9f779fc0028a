//! What a drafter is worth: acceptance, tokens per target call and memory-bound speed-up, with intervals.
//!
//! Speculation is simulated on text that the target itself wrote, one forward pass of each model over it. This is the
//! real process, not an approximation. Greedy, the emitted text is the target's greedy text whatever the drafter, and
//! a drafted token is accepted exactly where the drafter's best token on that prefix is the next token of the text.
//! Sampled, token-level verification emits v with probability p(v) and accepts it as drafted with probability
//! min(p(v), q(v)); so given that the text has v there, it was accepted with chance min(1, q(v)/p(v)). Rounds over a
//! sampled text thus have the distribution of rounds in a live run, and their expectation over the remaining draws is
//! taken exactly, by a forward pass over where rounds may start, instead of by drawing.

pub mod trace;

use serde::{Deserialize, Serialize};

use crate::random::Stream;

/// How the target chooses its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The best token, the lowest id among equals.
    Greedy,
    /// A draw at this temperature.
    Sampled(f64),
}

impl Mode {
    /// The mode of a recipe's temperature, where 0 is greedy.
    pub fn at(temperature: f64) -> Self {
        if temperature == 0.0 { Self::Greedy } else { Self::Sampled(temperature) }
    }

    /// Its temperature; 0 when greedy.
    pub fn temperature(self) -> f64 {
        if let Self::Sampled(temperature) = self { temperature } else { 0.0 }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Greedy => write!(out, "greedy"),
            Self::Sampled(temperature) => write!(out, "T = {temperature}"),
        }
    }
}

/// One text of the target and how the drafter does on it.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// For each completion token, the chance that it would have been accepted had it been due for drafting.
    pub chances: Vec<f32>,
    /// Σ min(p, q) at each completion token, at the temperature of the mode (1 when greedy).
    pub overlaps: Vec<f32>,
}

/// Expected counts of the rounds over one text.
#[derive(Clone, Debug, PartialEq)]
struct Rounds {
    tokens: f64,
    calls: f64,
    /// Rounds that came to draft position `i`.
    reached: Vec<f64>,
    /// Those in which its token was accepted.
    accepted: Vec<f64>,
}

/// Rounds over a text whose token `t` is accepted with `chances[t]`, drafting at most `draft_len` tokens and never
/// past the last token but one.
fn rounds(chances: &[f32], draft_len: usize) -> Rounds {
    let count = chances.len();
    let mut result =
        Rounds { tokens: count as f64, calls: 0.0, reached: vec![0.0; draft_len], accepted: vec![0.0; draft_len] };
    // Probability that a round begins at each token.
    let mut starts = vec![0.0; count + 1];
    starts[0] = 1.0;
    for start in 0..count {
        let drafted = draft_len.min(count - start - 1);
        let mut reach = starts[start];
        result.calls += reach;
        for position in 0..drafted {
            let accepted = reach * f64::from(chances[start + position]);
            result.reached[position] += reach;
            result.accepted[position] += accepted;
            starts[start + position + 1] += reach - accepted;
            reach = accepted;
        }
        starts[start + drafted + 1] += reach;
    }
    result
}

/// A figure with its 95 % bootstrap interval over texts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Over all texts.
    pub value: f64,
    /// 2.5 % of the resamples lie below.
    pub low: f64,
    /// 2.5 % of the resamples lie above.
    pub high: f64,
}

impl std::fmt::Display for Figure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:.3} [{:.3}, {:.3}]", self.value, self.low, self.high)
    }
}

/// Block efficiency at one draft length.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlockEfficiency {
    /// Most tokens drafted in a round, γ.
    pub draft_len: usize,
    /// Tokens emitted per target call, τ, at most γ + 1.
    pub tokens_per_call: Figure,
    /// τ / (cγ + 1), c the drafter's parameters over the target's (Leviathan et al., arXiv 2211.17192).
    pub memory_bound_speedup: Figure,
    /// Share of the drafted tokens that were tried, those behind a rejected one not being, and accepted.
    pub acceptance: f64,
    /// Chance that draft position `i` is accepted, given that the round came to it; none if no round did.
    pub acceptance_by_position: Vec<Option<f64>>,
}

/// A drafter's worth on a set of texts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// How the texts were chosen by the target.
    pub mode: Mode,
    /// Texts with at least one completion token.
    pub texts: usize,
    /// Completion tokens in them.
    pub tokens: usize,
    /// Share of tokens that would be accepted if each were drafted on its true prefix: agreement when greedy.
    pub acceptance: Figure,
    /// Mean Σ min(p, q).
    pub overlap: Figure,
    /// At each draft length asked for.
    pub block: Vec<BlockEfficiency>,
}

/// Resamples taken for an interval.
const RESAMPLES: usize = 1000;

/// Summarises `traces` at each of `draft_lens`, for a drafter with `cost_ratio` of the target's parameters.
///
/// Returns none if no trace has a token. `seed` fixes the resamples.
pub fn summarise(mode: Mode, traces: &[Trace], draft_lens: &[usize], cost_ratio: f64, seed: u64) -> Option<Summary> {
    let traces: Vec<&Trace> = traces.iter().filter(|trace| !trace.chances.is_empty()).collect();
    if traces.is_empty() {
        return None;
    }
    let ratio = |numerator: &dyn Fn(&Trace) -> f64, denominator: &dyn Fn(&Trace) -> f64| {
        let terms: Vec<(f64, f64)> = traces.iter().map(|trace| (numerator(trace), denominator(trace))).collect();
        bootstrap(&terms, seed)
    };
    let length = |trace: &Trace| trace.chances.len() as f64;
    let sum = |values: &[f32]| values.iter().map(|&value| f64::from(value)).sum::<f64>();
    let block = draft_lens
        .iter()
        .map(|&draft_len| {
            let counts: Vec<Rounds> = traces.iter().map(|trace| rounds(&trace.chances, draft_len)).collect();
            let terms: Vec<(f64, f64)> = counts.iter().map(|rounds| (rounds.tokens, rounds.calls)).collect();
            let tokens_per_call = bootstrap(&terms, seed);
            let cost = cost_ratio * draft_len as f64 + 1.0;
            let total = |of: fn(&Rounds) -> &Vec<f64>| counts.iter().flat_map(of).sum::<f64>();
            let tried = total(|rounds| &rounds.reached);
            BlockEfficiency {
                draft_len,
                acceptance: if tried > 0.0 { total(|rounds| &rounds.accepted) / tried } else { 0.0 },
                tokens_per_call,
                memory_bound_speedup: Figure {
                    value: tokens_per_call.value / cost,
                    low: tokens_per_call.low / cost,
                    high: tokens_per_call.high / cost,
                },
                acceptance_by_position: by_position(&counts, draft_len),
            }
        })
        .collect();
    Some(Summary {
        mode,
        texts: traces.len(),
        tokens: traces.iter().map(|trace| trace.chances.len()).sum(),
        acceptance: ratio(&|trace| sum(&trace.chances), &length),
        overlap: ratio(&|trace| sum(&trace.overlaps), &length),
        block,
    })
}

/// How many times as many tokens per target call one drafter gives as another on the same texts, at a draft length.
///
/// The texts are resampled for both drafters alike, so what they share does not widen the interval. `traces` and
/// `other` are of the same texts in the same order.
pub fn gain(traces: &[Trace], other: &[Trace], draft_len: usize, seed: u64) -> Figure {
    let calls = |trace: &Trace| if trace.chances.is_empty() { 0.0 } else { rounds(&trace.chances, draft_len).calls };
    // Both emit the same tokens, so the ratio of tokens per call is the inverse ratio of calls.
    let terms: Vec<(f64, f64)> = traces.iter().zip(other).map(|(new, old)| (calls(old), calls(new))).collect();
    bootstrap(&terms, seed)
}

fn by_position(counts: &[Rounds], draft_len: usize) -> Vec<Option<f64>> {
    let total = |position: usize, of: fn(&Rounds) -> &Vec<f64>| counts.iter().map(|c| of(c)[position]).sum::<f64>();
    (0..draft_len)
        .map(|position| {
            let reached = total(position, |rounds| &rounds.reached);
            (reached > 0.0).then(|| total(position, |rounds| &rounds.accepted) / reached)
        })
        .collect()
}

/// The ratio of sums of `terms`, and the spread of that ratio when whole texts are drawn again with replacement.
pub fn bootstrap(terms: &[(f64, f64)], seed: u64) -> Figure {
    bootstrap_of(terms.len(), seed, |drawn| {
        let (numerator, denominator) =
            drawn.iter().fold((0.0, 0.0), |(sum, other), &index| (sum + terms[index].0, other + terms[index].1));
        if denominator == 0.0 { 0.0 } else { numerator / denominator }
    })
}

/// A statistic of `count` texts, given as their indices, and its spread when they are drawn again with replacement.
pub fn bootstrap_of(count: usize, seed: u64, statistic: impl Fn(&[usize]) -> f64) -> Figure {
    let all: Vec<usize> = (0..count).collect();
    let mut stream = Stream::new(seed, 0x626f_6f74, count as u64);
    let mut resampled: Vec<f64> =
        (0..RESAMPLES).map(|_| statistic(&all.iter().map(|_| stream.below(count)).collect::<Vec<_>>())).collect();
    resampled.sort_by(f64::total_cmp);
    let at = |share: f64| resampled[((RESAMPLES - 1) as f64 * share).round() as usize];
    Figure { value: statistic(&all), low: at(0.025), high: at(0.975) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(chances: &[f32]) -> Trace {
        Trace { chances: chances.to_vec(), overlaps: chances.to_vec() }
    }

    #[test]
    fn greedy_rounds_are_the_runs_of_agreement() {
        // γ = 2: [1 1 bonus] [0] [1 0] [last], the last token being a plain step.
        let rounds = rounds(&[1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0], 2);
        assert_eq!((rounds.tokens, rounds.calls), (7.0, 4.0));
        assert_eq!(rounds.reached, [3.0, 2.0]);
        assert_eq!(rounds.accepted, [2.0, 1.0]);
    }

    #[test]
    fn constant_acceptance_gives_the_closed_form() {
        // E = (1 − α^(γ+1)) / (1 − α), but for the text's end.
        let (chance, draft_len) = (0.8_f64, 5);
        let found = rounds(&vec![chance as f32; 200_000], draft_len);
        let wanted = (1.0 - chance.powi(draft_len as i32 + 1)) / (1.0 - chance);
        assert!((found.tokens / found.calls - wanted).abs() < 1e-3, "{}", found.tokens / found.calls);
    }

    #[test]
    fn the_ends_are_exact() {
        assert_eq!(rounds(&[0.0; 10], 5).calls, 10.0);
        assert_eq!(rounds(&[1.0; 12], 3).calls, 3.0);
        assert_eq!(rounds(&[1.0], 3).calls, 1.0);
        assert!(summarise(Mode::Greedy, &[trace(&[])], &[3], 0.1, 0).is_none());
    }

    /// A toy language: the next token's distribution depends on the last token.
    fn next(table: &[[f64; 3]; 3], last: usize) -> &[f64] {
        &table[last]
    }

    /// Tokens per call of a live run with token-level verification, by drawing drafts from q.
    fn live(p: &[[f64; 3]; 3], q: &[[f64; 3]; 3], draft_len: usize, length: usize, texts: u64) -> f64 {
        let (mut tokens, mut calls) = (0.0, 0.0);
        for text in 0..texts {
            let mut stream = Stream::new(5, text, 0);
            let mut written = vec![0];
            while written.len() <= length {
                let drafted = draft_len.min(length - written.len());
                calls += 1.0;
                let mut complete = true;
                for _ in 0..drafted {
                    let last = written[written.len() - 1];
                    let draft = stream.weighted(next(q, last));
                    if stream.uniform() * q[last][draft] < p[last][draft] {
                        written.push(draft);
                        continue;
                    }
                    let residual: Vec<f64> = (0..3).map(|v| (p[last][v] - q[last][v]).max(0.0)).collect();
                    written.push(stream.weighted(&residual));
                    complete = false;
                    break;
                }
                if complete {
                    let last = written[written.len() - 1];
                    written.push(stream.weighted(next(p, last)));
                }
            }
            tokens += length as f64;
        }
        tokens / calls
    }

    #[test]
    fn rounds_over_sampled_text_equal_a_live_run() {
        let p = [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]];
        let q = [[0.5, 0.4, 0.1], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7]];
        let (length, draft_len) = (24, 3);
        let traces: Vec<Trace> = (0..20_000)
            .map(|text| {
                let mut stream = Stream::new(6, text, 0);
                let mut last = 0;
                let chance = |_| {
                    let token = stream.weighted(next(&p, last));
                    let chance = (q[last][token] / p[last][token]).min(1.0) as f32;
                    last = token;
                    chance
                };
                trace(&(0..length).map(chance).collect::<Vec<_>>())
            })
            .collect();
        let summary = summarise(Mode::Sampled(1.0), &traces, &[draft_len], 0.1, 1).unwrap();
        let found = summary.block[0].tokens_per_call;
        let wanted = live(&p, &q, draft_len, length, 20_000);
        assert!((found.value - wanted).abs() < 0.015, "{found} against {wanted}");
        assert!(found.low < found.value && found.value < found.high && found.high - found.low < 0.05);
    }

    #[test]
    fn a_gain_is_the_ratio_of_tokens_per_call_in_a_paired_interval() {
        // Texts differ widely, drafters by a constant factor: the paired interval knows it exactly.
        let (new, old): (Vec<Trace>, Vec<Trace>) =
            (1..30).map(|len| (trace(&vec![1.0; 4 * len]), trace(&vec![0.0; 4 * len]))).unzip();
        let found = gain(&new, &old, 3, 0);
        assert_eq!((found.low, found.value, found.high), (4.0, 4.0, 4.0));
    }

    #[test]
    fn the_interval_covers_and_narrows() {
        let texts = |count: u64| -> Vec<(f64, f64)> {
            (0..count).map(|text| (Stream::new(3, text, 0).uniform(), 1.0)).collect()
        };
        let (few, many) = (bootstrap(&texts(20), 0), bootstrap(&texts(2000), 0));
        assert!(many.low < 0.5 && 0.5 < many.high);
        assert!(many.high - many.low < 0.3 * (few.high - few.low));
    }

    #[test]
    fn memory_bound_speedup_divides_by_the_cost() {
        let summary = summarise(Mode::Greedy, &[trace(&[1.0; 40])], &[3], 0.1, 0).unwrap();
        let block = &summary.block[0];
        assert_eq!(block.tokens_per_call.value, 4.0);
        assert!((block.memory_bound_speedup.value - 4.0 / 1.3).abs() < 1e-12);
        assert_eq!((block.acceptance, &block.acceptance_by_position[..]), (1.0, &[Some(1.0); 3][..]));
    }
}
