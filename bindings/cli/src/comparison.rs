//! Two sides of the demo: their speeds, what the drafter achieved, and whether the texts are the same.

use std::io::Write;

use drafthorse::{Account, TokenId};
use drafthorse_bench::statistics::median;

use crate::failure::Result;
use crate::style::{BAD, FAINT, GOOD, STRONG};

/// One greedy generation.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) account: Account,
}

/// Where two greedy texts part.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Difference {
    pub(crate) prompt: String,
    /// First token of the output that differs, from 0.
    #[serde(rename = "token")]
    pub(crate) index: usize,
    /// Between the target's two largest logits there; small means a near tie.
    pub(crate) margin: f32,
}

/// Runs of both sides, taken in turns.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    runs: Vec<(Run, Run)>,
    difference: Option<Difference>,
}

impl Comparison {
    pub(crate) fn add(&mut self, alone: Run, pair: Run, difference: Option<Difference>) {
        self.runs.push((alone, pair));
        self.difference = self.difference.take().or(difference);
    }

    /// Tokens per second of decoding, median of the runs: target alone, pair; and the median of the ratios.
    fn speeds(&self) -> (f64, f64, f64) {
        let rate = |run: &Run| run.account.decode_tokens_per_s;
        (
            median(self.runs.iter().map(|(alone, _)| rate(alone)).collect()),
            median(self.runs.iter().map(|(_, pair)| rate(pair)).collect()),
            median(self.runs.iter().map(|(alone, pair)| rate(pair) / rate(alone)).collect()),
        )
    }

    fn total(&self, figure: impl Fn(&Account) -> usize) -> usize {
        self.runs.iter().map(|(_, pair)| figure(&pair.account)).sum()
    }

    /// Share of drafted tokens that the target accepted.
    fn acceptance(&self) -> Option<f64> {
        let proposed = self.total(|account| account.proposed);
        (proposed > 0).then(|| self.total(|account| account.accepted) as f64 / proposed as f64)
    }

    /// Over all rounds; the tokens of a round that ended the text count, as in the accounts.
    fn tokens_per_target_call(&self) -> f64 {
        let rounds = self.total(|account| account.rounds);
        let tokens: f64 =
            self.runs.iter().map(|(_, pair)| pair.account.tokens_per_target_call * pair.account.rounds as f64).sum();
        tokens / rounds.max(1) as f64
    }

    pub(crate) fn as_json(&self) -> serde_json::Value {
        let (alone, pair, ratio) = self.speeds();
        serde_json::json!({
            "target_alone_tokens_per_second": alone,
            "pair_tokens_per_second": pair,
            "speed_up": ratio,
            "acceptance": self.acceptance(),
            "tokens_per_target_call": self.tokens_per_target_call(),
            "identical": self.difference.is_none(),
            "first_difference": self.difference,
            "runs": self.runs.len(),
        })
    }

    pub(crate) fn write(&self, out: &mut impl Write) -> Result<()> {
        let (alone, pair, ratio) = self.speeds();
        let mut line = |name: &str, value: String| writeln!(out, "  {FAINT}{name:<24}{FAINT:#}{value}");
        line("", String::new())?;
        line("target alone", format!("{alone:.1} tokens/s"))?;
        line("target and drafter", format!("{STRONG}{pair:.1} tokens/s, {ratio:.2}× as fast{STRONG:#}"))?;
        line(
            "acceptance",
            self.acceptance().map_or("nothing was drafted".to_owned(), |share| format!("{:.1} %", 100.0 * share)),
        )?;
        line("tokens per target call", format!("{:.2}", self.tokens_per_target_call()))?;
        let undrafted: Vec<_> = self.runs.iter().filter_map(|(_, pair)| pair.account.passthrough).collect();
        if let Some(reason) = undrafted.first() {
            line(
                "mostly not drafted",
                format!("in {} of {} runs, in the first of them as {reason}", undrafted.len(), self.runs.len()),
            )?;
        }
        line("measured", format!("medians of {} runs of each, taken in turns, after a warm-up", self.runs.len()))?;
        match &self.difference {
            None => writeln!(out, "\nidentical to the target alone: {GOOD}yes{GOOD:#}")?,
            Some(Difference { index, margin, prompt }) => writeln!(
                out,
                "\nidentical to the target alone: {BAD}no{BAD:#} (first difference at token {index} with margin {margin:.2e}, after {prompt:?})"
            )?,
        }
        Ok(())
    }
}

/// Index of the first token that differs, also where one text is longer.
pub(crate) fn first_difference(left: &[TokenId], right: &[TokenId]) -> Option<usize> {
    let shared = left.len().min(right.len());
    (0..shared).find(|&index| left[index] != right[index]).or((left.len() != right.len()).then_some(shared))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found_and_a_longer_text_differs() {
        assert_eq!(first_difference(&[1, 2, 3], &[1, 2, 3]), None);
        assert_eq!(first_difference(&[1, 2, 3], &[1, 9, 3]), Some(1));
        assert_eq!(first_difference(&[1, 2], &[1, 2, 3]), Some(2));
    }
}
