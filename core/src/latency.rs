//! Percentiles of many short times in bounded memory.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Order statistics by nearest rank, in milliseconds; all 0 if there was nothing to rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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

/// Times in milliseconds, each with the number of tokens it counts for: exact for generations of ordinary length,
/// within 1 % beyond.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    /// (ms, tokens), in order of arrival; no longer than what was reserved.
    exact: Vec<(f32, u32)>,
    capacity: usize,
    /// Tokens per bin of 1 %, used once `exact` is full.
    bins: Vec<u32>,
    max: f64,
}

/// Entries that are kept exactly, at most.
const EXACT_LEN_MAX: usize = 8192;

/// Bins from a microsecond to about a quarter of an hour.
const BIN_COUNT: usize = 2048;
const BIN_FIRST_MS: f64 = 1e-3;
const BIN_RATIO: f64 = 1.01;

impl Latencies {
    /// Room for `len` times; exact up to `EXACT_LEN_MAX` of them.
    pub(crate) fn new(len: usize) -> Self {
        let capacity = len.min(EXACT_LEN_MAX);
        let bins = if len > EXACT_LEN_MAX { vec![0; BIN_COUNT] } else { Vec::new() };
        Self { exact: Vec::with_capacity(capacity), capacity, bins, max: 0.0 }
    }

    /// Adds a time that counts for `tokens` tokens.
    pub(crate) fn push(&mut self, ms: f64, tokens: usize) {
        self.max = self.max.max(ms);
        if self.exact.len() < self.capacity {
            self.exact.push((ms as f32, tokens as u32));
            return;
        }
        if self.bins.is_empty() {
            // Only reached if more came than was announced.
            self.bins.resize(BIN_COUNT, 0);
        }
        self.bins[bin(ms)] += tokens as u32;
    }

    /// Percentiles over tokens, by nearest rank.
    pub(crate) fn percentiles(&self) -> Percentiles {
        let mut sorted: Vec<(f64, u64)> = self.exact.iter().map(|&(ms, n)| (f64::from(ms), u64::from(n))).collect();
        let binned = self.bins.iter().enumerate().filter(|(_, n)| **n > 0);
        sorted.extend(binned.map(|(bin, &n)| (BIN_FIRST_MS * BIN_RATIO.powf(bin as f64 + 0.5), u64::from(n))));
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: u64 = sorted.iter().map(|entry| entry.1).sum();
        let at = |share: f64| {
            let rank = (share * total as f64).ceil() as u64;
            let mut below = 0;
            let entry = sorted.iter().find(|entry| {
                below += entry.1;
                below >= rank
            });
            entry.map_or(0.0, |entry| entry.0)
        };
        Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: self.max }
    }
}

fn bin(ms: f64) -> usize {
    let bin = (ms / BIN_FIRST_MS).ln() / BIN_RATIO.ln();
    (bin.max(0.0) as usize).min(BIN_COUNT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks_over_tokens() {
        let mut latencies = Latencies::new(200);
        (1..=100).rev().for_each(|ms| latencies.push(f64::from(ms), 1));
        assert_eq!(latencies.percentiles(), Percentiles { p50: 50.0, p90: 90.0, p99: 99.0, max: 100.0 });
        latencies.push(1000.0, 100);
        assert_eq!(latencies.percentiles(), Percentiles { p50: 100.0, p90: 1000.0, p99: 1000.0, max: 1000.0 });
        assert_eq!(Latencies::new(0).percentiles(), Percentiles::default());
    }

    #[test]
    fn very_long_generations_are_exact_to_a_per_cent() {
        for announced in [0, 50_000] {
            let mut latencies = Latencies::new(announced);
            for i in 0..50_000 {
                latencies.push(0.01 * f64::from((i * 7919) % 50_000 + 1), 1);
            }
            let got = latencies.percentiles();
            for (got, exact) in [(got.p50, 250.0), (got.p90, 450.0), (got.p99, 495.0)] {
                assert!((got / exact - 1.0).abs() < 0.01, "{got} instead of {exact}");
            }
            assert_eq!(got.max, 500.0);
        }
        let mut extremes = Latencies::new(0);
        [0.0, 1e-9, 1e12].into_iter().for_each(|ms| extremes.push(ms, 1));
        assert_eq!(extremes.percentiles().max, 1e12);
    }
}
