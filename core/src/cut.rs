//! Top-k, top-p and min-p without sorting the vocabulary.
//!
//! A candidate is a value and its token in one integer, made so that smaller integers come first: falling value and,
//! among equals, rising token. Every cut is therefore exact and the same on every machine, and selecting compares
//! integers.

use crate::TokenId;
use crate::softmax::{BLOCK, block_max};

/// A value and its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate(u64);

impl Candidate {
    /// A candidate of any value but NaN.
    pub(crate) fn new(value: f32, token: TokenId) -> Self {
        // Adding 0 makes −0 the same as 0. Then floats ordered as integers, the falling way round.
        let bits = (value + 0.0).to_bits();
        let rising = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
        Self(u64::from(!rising) << 32 | u64::from(token))
    }

    /// The value.
    pub(crate) fn value(self) -> f32 {
        let rising = !(self.0 >> 32) as u32;
        f32::from_bits(if rising >> 31 == 1 { rising & !(1 << 31) } else { !rising })
    }

    /// The token.
    pub(crate) fn token(self) -> TokenId {
        self.0 as TokenId
    }
}

/// Leaves the `k` first candidates of `row` in `kept`, in no order; −inf is no candidate. `k` is at least 1.
pub(crate) fn top_k(row: &[f32], k: usize, kept: &mut Vec<Candidate>) {
    kept.clear();
    let batch = k + k.max(256);
    let mut threshold = f32::NEG_INFINITY;
    for (block, values) in row.chunks(BLOCK).enumerate() {
        // Later tokens lose against equals, so a block must hold something strictly above the k-th so far.
        if block_max(values) <= threshold {
            continue;
        }
        collect(values, block, kept, |x| x > threshold);
        if kept.len() >= batch {
            keep_first(kept, k);
            threshold = kept[k - 1].value();
        }
    }
    keep_first(kept, k);
}

/// Leaves in `kept` every candidate of `row` that is at least `threshold`, which is above −inf.
pub(crate) fn at_least(row: &[f32], threshold: f32, kept: &mut Vec<Candidate>) {
    kept.clear();
    append_between(row, threshold, f32::INFINITY, kept);
}

/// Leaves in `kept` the fewest first candidates of `weights` (0 or normal numbers, the largest 1) whose sum reaches
/// `share` of `total`, the sum of all.
pub(crate) fn top_p_of_row(weights: &[f32], total: f64, share: f64, kept: &mut Vec<Candidate>) {
    const STEP: f32 = 1.0 / 32.0;
    kept.clear();
    let (mut upper, mut lower) = (f32::INFINITY, STEP);
    let mut reached = 0.0;
    // Likely tokens first, one magnitude after another: most rows are cut within two of them.
    loop {
        let start = kept.len();
        append_between(weights, lower, upper, kept);
        let sum = sum(&kept[start..]);
        if reached + sum >= share * total {
            let cut = start + len_reaching(&mut kept[start..], share * total - reached);
            kept.truncate(cut);
            return;
        }
        if lower == f32::MIN_POSITIVE {
            return; // Rounding may put `share` of the total out of reach by a crumb: keep all.
        }
        reached += sum;
        upper = lower;
        lower = (lower * STEP).max(f32::MIN_POSITIVE);
    }
}

/// Shortens `kept` to the fewest first candidates whose sum reaches `share` of the sum of all.
pub(crate) fn top_p(kept: &mut Vec<Candidate>, share: f64) {
    let goal = share * sum(kept);
    let len = len_reaching(kept, goal);
    kept.truncate(len);
}

/// Sum of the values in f64.
pub(crate) fn sum(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|c| f64::from(c.value())).sum()
}

/// Brings the fewest first candidates whose sum reaches `goal` to the front and returns their number, at least 1
/// if there are any. Halves the part in question in every step, so the cost is linear.
fn len_reaching(candidates: &mut [Candidate], goal: f64) -> usize {
    let (mut start, mut end) = (0, candidates.len());
    let mut reached = 0.0;
    while end - start > 1 {
        let half = (end - start) / 2;
        candidates[start..end].select_nth_unstable(half);
        let upper = sum(&candidates[start..start + half]);
        if reached + upper >= goal {
            end = start + half;
        } else {
            reached += upper;
            start += half;
        }
    }
    end
}

fn keep_first(kept: &mut Vec<Candidate>, k: usize) {
    if kept.len() > k {
        kept.select_nth_unstable(k - 1);
        kept.truncate(k);
    }
}

/// Appends what lies in `[lower, upper)`.
fn append_between(row: &[f32], lower: f32, upper: f32, kept: &mut Vec<Candidate>) {
    for (block, values) in row.chunks(BLOCK).enumerate() {
        if block_max(values) >= lower {
            collect(values, block, kept, |x| x >= lower && x < upper);
        }
    }
}

fn collect(values: &[f32], block: usize, kept: &mut Vec<Candidate>, wanted: impl Fn(f32) -> bool) {
    let first = (block * BLOCK) as TokenId;
    for (token, &x) in (first..).zip(values) {
        if wanted(x) {
            kept.push(Candidate::new(x, token));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(row: &[f32]) -> Vec<Candidate> {
        let mut all: Vec<(f32, TokenId)> = row.iter().copied().zip(0..).filter(|c| c.0 > f32::NEG_INFINITY).collect();
        all.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
        all.into_iter().map(|(value, token)| Candidate::new(value, token)).collect()
    }

    fn row() -> impl Strategy<Value = Vec<f32>> {
        // Few distinct values, so that ties are common; long enough for several blocks and batches.
        prop::collection::vec(prop_oneof![(-20..20).prop_map(|x| x as f32 * 0.5), Just(f32::NEG_INFINITY)], 1..2000)
    }

    #[test]
    fn a_candidate_gives_back_what_it_holds() {
        for value in [0.0, 1.5, -1.5, f32::MAX, f32::MIN, f32::MIN_POSITIVE, f32::INFINITY, f32::NEG_INFINITY] {
            let candidate = Candidate::new(value, 77);
            assert_eq!((candidate.value(), candidate.token()), (value, 77));
        }
        assert_eq!(Candidate::new(-0.0, 1), Candidate::new(0.0, 1));
    }

    proptest! {
        #[test]
        fn top_k_is_the_head_of_the_sorted_row(row in row(), k in 1_usize..2000) {
            let mut kept = Vec::new();
            top_k(&row, k, &mut kept);
            kept.sort();
            let mut expected = sorted(&row);
            expected.truncate(k);
            prop_assert_eq!(kept, expected);
        }

        #[test]
        fn at_least_keeps_what_reaches_the_threshold(row in row(), threshold in -11.0_f32..11.0) {
            let mut kept = Vec::new();
            at_least(&row, threshold, &mut kept);
            prop_assert_eq!(kept.len(), row.iter().filter(|&&x| x >= threshold).count());
        }

        #[test]
        fn both_forms_of_top_p_are_the_shortest_head_of_the_sorted_row(
            row in row(), share in 0.01_f64..1.0, flat in 0.001_f32..4.0,
        ) {
            let largest = row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
            prop_assume!(largest > f32::NEG_INFINITY);
            let weights: Vec<f32> = row.iter().map(|x| crate::softmax::exp((x - largest) * flat)).collect();
            let mut all = sorted(&weights);
            all.retain(|c| c.value() > 0.0);
            let total = sum(&all);

            let mut kept = Vec::new();
            top_p_of_row(&weights, total, share, &mut kept);
            let mut of_list = all.clone();
            top_p(&mut of_list, share);
            for mut kept in [kept, of_list] {
                // Whoever is left out is not before anyone kept, and the last one kept was needed.
                kept.sort();
                prop_assert_eq!(&kept[..], &all[..kept.len()]);
                prop_assert!(sum(&kept) >= share * total * (1.0 - 1e-12));
                prop_assert!(sum(&kept[..kept.len() - 1]) < share * total * (1.0 + 1e-12));
            }
        }
    }
}
