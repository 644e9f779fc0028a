//! Percentiles, intervals and outliers: what may be said about figures that scatter.
//!
//! Figures come in groups: a group holds the repetitions of one prompt. What is typical of all is the geometric mean over
//! groups of the median in each, which a disturbed repetition does not move. Its interval is a bootstrap on two levels:
//! groups are drawn with replacement, then repetitions within each (Davison and Hinkley, 1997, section 3.8).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Times that everything is drawn again.
pub(crate) const RESAMPLES: usize = 1000;

/// Fewest pairs of measurements from which a ratio is told: below, the interval of a bootstrap is too narrow.
pub const PAIRS_MIN: usize = 5;

/// Distance from the quartiles, in widths of their range, beyond which a figure is an outlier (Tukey, 1977).
const FENCE: f64 = 1.5;

/// A figure with its 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct Figure {
    /// Over everything measured.
    pub value: f64,
    /// 2.5 % of the resamples lie below.
    pub low: f64,
    /// 2.5 % of the resamples lie above.
    pub high: f64,
}

/// How many times as fast one thing is as another.
///
/// `value` is present only where the interval lies on one side of 1 and there were enough pairs: a ratio that could as
/// well be 1 is not told as a number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct Ratio {
    /// The ratio, where it is told apart from 1.
    pub value: Option<f64>,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Pairs that were compared.
    pub pairs: usize,
}

/// Order statistics by nearest rank; all 0 if there was nothing to rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
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

impl Percentiles {
    /// Of `weighted` values, each of which counts as often as its weight says.
    pub fn of_weighted(mut weighted: Vec<(f64, u64)>) -> Self {
        weighted.retain(|(value, weight)| value.is_finite() && *weight > 0);
        weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: u64 = weighted.iter().map(|entry| entry.1).sum();
        let at = |share: f64| {
            let rank = (share * total as f64).ceil() as u64;
            let mut below = 0;
            let found = weighted.iter().find(|entry| {
                below += entry.1;
                below >= rank
            });
            found.map_or(0.0, |entry| entry.0)
        };
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: weighted.last().map_or(0.0, |entry| entry.0) }
    }

    /// Of values that count once each.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        Self::of_weighted(values.into_iter().map(|value| (value, 1)).collect())
    }
}

impl Ratio {
    /// The ratio of `groups` of paired ratios; `None` without a single pair.
    pub fn of(groups: &[Vec<f64>], seed: u64) -> Option<Self> {
        let groups = usable(groups);
        Some(Self::told(resampled(&groups, seed)?, count(&groups)))
    }

    /// `figure` as a ratio from `pairs` pairs, with its value where that may be told.
    fn told(figure: Figure, pairs: usize) -> Self {
        let Figure { value, low, high } = figure;
        let is_told = pairs >= PAIRS_MIN && (low > 1.0 || high < 1.0);
        Self { value: is_told.then_some(value), low, high, pairs }
    }
}

/// What is typical of `groups`, with its interval; `None` without a single positive value.
pub fn bootstrap(groups: &[Vec<f64>], seed: u64) -> Option<Figure> {
    resampled(&usable(groups), seed)
}

/// As [`bootstrap`], of groups that are [`usable`].
fn resampled(groups: &[Vec<f64>], seed: u64) -> Option<Figure> {
    let value = center(groups)?;
    let mut draw = Draw::new(seed);
    let mut values: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let picks = draw.picks(groups.len());
            draw.center(groups, &picks)
        })
        .collect();
    let (low, high) = middle_95(&mut values);
    Some(Figure { value, low, high })
}

/// The ratio of two sets of groups that were not measured in pairs, as of two runs: the typical value of `numerator` over
/// that of `denominator`. With `same_prompts` the groups are of the same prompts in the same order, and are drawn together.
///
/// # Panics
/// With `same_prompts`, if the sets are not as long as each other.
pub fn unpaired_ratio(
    numerator: &[Vec<f64>],
    denominator: &[Vec<f64>],
    same_prompts: bool,
    seed: u64,
) -> Option<Ratio> {
    let (numerator, denominator) = if same_prompts {
        assert_eq!(numerator.len(), denominator.len(), "groups of the same prompts");
        let both = numerator.iter().zip(denominator).map(|(above, below)| (positive(above), positive(below)));
        both.filter(|(above, below)| !above.is_empty() && !below.is_empty()).unzip()
    } else {
        (usable(numerator), usable(denominator))
    };
    let value = center(&numerator)? / center(&denominator)?;
    let mut draw = Draw::new(seed);
    let mut values: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let above = draw.picks(numerator.len());
            let below = if same_prompts { above.clone() } else { draw.picks(denominator.len()) };
            Some(draw.center(&numerator, &above)? / draw.center(&denominator, &below)?)
        })
        .collect();
    let (low, high) = middle_95(&mut values);
    Some(Ratio::told(Figure { value, low, high }, count(&numerator).min(count(&denominator))))
}

/// The positive values of `groups`, without groups that hold none.
fn usable(groups: &[Vec<f64>]) -> Vec<Vec<f64>> {
    groups.iter().map(|group| positive(group)).filter(|group| !group.is_empty()).collect()
}

fn count(groups: &[Vec<f64>]) -> usize {
    groups.iter().map(Vec::len).sum()
}

fn center(groups: &[Vec<f64>]) -> Option<f64> {
    typical(groups.iter().map(|group| median(group.clone())))
}

/// The geometric mean; `None` of nothing.
fn typical(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value.ln(), count + 1));
    (count > 0).then(|| (sum / count as f64).exp())
}

fn positive(values: &[f64]) -> Vec<f64> {
    values.iter().copied().filter(|value| value.is_finite() && *value > 0.0).collect()
}

/// The middle value, or the mean of the two in the middle; NaN of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Which of `values` lie beyond Tukey's fences. Outliers are marked, never left out.
pub(crate) fn outliers(values: &[f64]) -> Vec<bool> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    if sorted.len() < 4 {
        return vec![false; values.len()];
    }
    sorted.sort_by(f64::total_cmp);
    let quartile = |share: f64| {
        let place = share * (sorted.len() - 1) as f64;
        let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
        low + (high - low) * place.fract()
    };
    let (first, third) = (quartile(0.25), quartile(0.75));
    let reach = FENCE * (third - first);
    values.iter().map(|&value| value < first - reach || value > third + reach).collect()
}

/// The ends of the middle 95 %.
fn middle_95(resampled: &mut [f64]) -> (f64, f64) {
    resampled.sort_by(f64::total_cmp);
    let at = |share: f64| resampled[((resampled.len() - 1) as f64 * share).round() as usize];
    if resampled.is_empty() { (f64::NAN, f64::NAN) } else { (at(0.025), at(0.975)) }
}

/// Random places, the same for the same seed.
struct Draw(ChaCha8Rng);

impl Draw {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Uniform in `0..len`, by the upper bits of a product (Lemire, 2019); its bias is below len / 2^64.
    fn below(&mut self, len: usize) -> usize {
        ((u128::from(self.0.next_u64()) * len as u128) >> 64) as usize
    }

    /// As many places below `len`, with replacement.
    fn picks(&mut self, len: usize) -> Vec<usize> {
        (0..len).map(|_| self.below(len)).collect()
    }

    /// What is typical of the groups at `picks`, the values of each drawn again.
    fn center(&mut self, groups: &[Vec<f64>], picks: &[usize]) -> Option<f64> {
        typical(picks.iter().map(|&pick| {
            let group = &groups[pick];
            median(self.picks(group.len()).into_iter().map(|place| group[place]).collect())
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Standard normal numbers by the sum of twelve uniform ones.
    fn normal(draw: &mut Draw) -> f64 {
        (0..12).map(|_| draw.0.next_u64() as f64 / u64::MAX as f64).sum::<f64>() - 6.0
    }

    fn groups(draw: &mut Draw, center: f64, between: f64, within: f64) -> Vec<Vec<f64>> {
        (0..16)
            .map(|_| {
                let own = center.ln() + between * normal(draw);
                (0..5).map(|_| (own + within * normal(draw)).exp()).collect()
            })
            .collect()
    }

    #[test]
    fn percentiles_of_known_ranks() {
        assert_eq!(
            Percentiles::of((1..=100).rev().map(f64::from)),
            Percentiles { p50: 50.0, p90: 90.0, p99: 99.0, max: 100.0 }
        );
        let weighted = Percentiles::of_weighted(vec![(1.0, 9), (100.0, 1), (f64::NAN, 50)]);
        assert_eq!((weighted.p50, weighted.p90, weighted.p99), (1.0, 1.0, 100.0));
        assert_eq!(Percentiles::of([]), Percentiles::default());
    }

    #[test]
    fn median_of_even_and_odd() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn the_interval_covers_the_truth_about_as_often_as_it_says() {
        let mut draw = Draw::new(7);
        let trials = 200;
        let covered = (0..trials)
            .filter(|&trial| {
                let figure = bootstrap(&groups(&mut draw, 2.0, 0.1, 0.05), trial).unwrap();
                figure.low <= 2.0 && 2.0 <= figure.high
            })
            .count();
        // A percentile bootstrap over 16 groups is known to cover a little less than 95 %.
        assert!((174..=198).contains(&covered), "{covered} of {trials}");
    }

    #[test]
    fn a_ratio_that_could_be_one_is_not_told() {
        let mut draw = Draw::new(3);
        let false_claims = (0..200)
            .filter(|&trial| Ratio::of(&groups(&mut draw, 1.0, 0.05, 0.05), trial).unwrap().value.is_some())
            .count();
        assert!(false_claims <= 26, "{false_claims} of 200 claim a difference where there is none");
        let faster = Ratio::of(&groups(&mut draw, 1.5, 0.05, 0.05), 0).unwrap();
        assert!((faster.value.unwrap() - 1.5).abs() < 0.1 && faster.low > 1.0, "{faster:?}");
    }

    #[test]
    fn too_few_pairs_tell_nothing() {
        let ratio = Ratio::of(&[vec![2.0, 2.0], vec![2.0, 2.0]], 0).unwrap();
        assert_eq!((ratio.value, ratio.low, ratio.pairs), (None, 2.0, 4));
        assert_eq!(Ratio::of(&[vec![], vec![f64::NAN, 0.0]], 0), None);
        let mostly_nothing = Ratio::of(&[vec![2.0, 2.0, 0.0, f64::NAN], vec![2.0, f64::INFINITY]], 0).unwrap();
        assert_eq!((mostly_nothing.value, mostly_nothing.pairs), (None, 3), "what is no measurement is no pair");
    }

    #[test]
    fn one_disturbed_repetition_moves_nothing() {
        let calm = vec![vec![10.0; 5]; 8];
        let mut disturbed = calm.clone();
        disturbed[3][2] = 500.0;
        assert_eq!(bootstrap(&calm, 1).unwrap().value, bootstrap(&disturbed, 1).unwrap().value);
        let marks = outliers(&disturbed.concat());
        assert_eq!(marks.iter().filter(|mark| **mark).count(), 1);
    }

    #[test]
    fn runs_are_compared_prompt_by_prompt() {
        // Prompts differ tenfold, the runs by a tenth: only drawing them together shows it.
        let run = |factor: f64| (0..12).map(|p| vec![factor * f64::from(p + 1); 3]).collect::<Vec<_>>();
        let ratio = unpaired_ratio(&run(1.1), &run(1.0), true, 5).unwrap();
        assert!((ratio.value.unwrap() - 1.1).abs() < 1e-9, "{ratio:?}");
        let other = unpaired_ratio(&run(1.1)[..11], &run(1.0), false, 5).unwrap();
        assert_eq!(other.value, None);
        let by_chance_as_many = unpaired_ratio(&run(1.1), &run(1.0), false, 5).unwrap();
        assert_eq!(by_chance_as_many.value, None, "as many groups are not yet the same prompts");
    }

    #[test]
    fn a_generation_without_a_speed_does_not_move_the_interval() {
        let run = |factor: f64| (0..12).map(|p| vec![factor * f64::from(p + 1); 3]).collect::<Vec<_>>();
        let mut failed = run(1.1);
        failed[0] = vec![0.0; 3];
        failed[5][1] = f64::NAN;
        let ratio = unpaired_ratio(&failed, &run(1.0), true, 5).unwrap();
        assert_eq!(ratio.pairs, 32);
        assert!((ratio.low - 1.1).abs() < 1e-9 && (ratio.high - 1.1).abs() < 1e-9, "{ratio:?}");
        let apart = unpaired_ratio(&failed, &run(1.0), false, 5).unwrap();
        assert!(apart.low > 0.1 && apart.high.is_finite(), "{apart:?}");
    }

    #[test]
    fn fences_of_a_normal_distribution_leave_out_the_known_share() {
        let mut draw = Draw::new(11);
        let values: Vec<f64> = (0..20_000).map(|_| normal(&mut draw)).collect();
        let share = outliers(&values).iter().filter(|mark| **mark).count() as f64 / 20_000.0;
        // 0.70 % of a normal distribution lie beyond the fences.
        assert!((0.004..0.010).contains(&share), "{share}");
        assert_eq!(outliers(&[1.0, 100.0, 1.0]), [false; 3]);
    }
}
