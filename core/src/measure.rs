//! Measures what a forward pass costs, once per pack, provider and machine.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{CostProfile, Model, Result, TokenId};

/// Rows of the target's passes that are timed at an opening; the costs between are interpolated.
pub(crate) const WIDTHS: [usize; 5] = [1, 2, 4, 8, 16];

/// Rows of the widest pass that is timed.
const WIDTH_MAX: usize = 16;

/// Tokens in the cache while measuring: a conversation under way.
const CONTEXT_LEN: usize = 64;

/// Size of the caches that are measured with: half of it is filled.
pub(crate) const CACHE_LEN: usize = 2 * CONTEXT_LEN;

/// Ratio of the median to the quickest pass beyond which a measurement is not kept.
const SPREAD_MAX: f64 = 1.5;

/// Passes per width, and the time after which fewer will do.
const PASSES: usize = 9;
const TIME_MAX: Duration = Duration::from_millis(1500);

/// Times passes of `target` over each of `widths` rows, and of `drafter` over one token, in turns, so that a disturbance
/// meets all of them. Both caches are empty afterwards. Says too whether the machine was calm enough to believe it.
///
/// # Errors
/// Errors of the models.
pub(crate) fn costs(
    target: &mut dyn Model,
    mut drafter: Option<&mut dyn Model>,
    widths: &[usize],
) -> Result<(CostProfile, bool)> {
    let context = vec![1 as TokenId; CONTEXT_LEN.min(target.context_len_max() / 2)];
    target.prefill(&context)?;
    if let Some(drafter) = &mut drafter {
        drafter.prefill(&context)?;
    }
    let fits = |width: usize| {
        width == 1
            || (1..=WIDTH_MAX).contains(&width)
                && target.scores_every_row()
                && context.len() + width <= target.context_len_max()
    };
    let widths: Vec<usize> = widths.iter().copied().filter(|&width| fits(width)).collect();
    let mut target_ms = vec![Vec::new(); widths.len()];
    let mut drafter_ms = Vec::new();
    let start = Instant::now();
    for pass in 0..=PASSES {
        for (times, &width) in target_ms.iter_mut().zip(&widths) {
            let time = timed(target, width, context.len())?;
            // The first pass of a width may make plans and buffers that later ones reuse.
            if pass > 0 || start.elapsed() > TIME_MAX {
                times.push(time);
            }
        }
        if let Some(drafter) = &mut drafter {
            drafter_ms.push(timed(*drafter, 1, context.len())?);
        }
        if start.elapsed() > TIME_MAX && target_ms.iter().all(|times| !times.is_empty()) {
            break;
        }
    }
    target.truncate(0)?;
    if let Some(drafter) = drafter {
        drafter.truncate(0)?;
    }
    let calm = target_ms.iter_mut().all(|times| is_calm(times));
    let target_ms = widths.iter().zip(&mut target_ms).map(|(&width, times)| (width, typical(times))).collect();
    Ok((CostProfile::new(target_ms, (!drafter_ms.is_empty()).then(|| typical(&mut drafter_ms))), calm))
}

/// Milliseconds of one pass over `width` tokens.
fn timed(model: &mut dyn Model, width: usize, context_len: usize) -> Result<f64> {
    let tokens = [1 as TokenId; WIDTH_MAX];
    let start = Instant::now();
    model.score(&tokens[..width])?;
    let time = start.elapsed();
    model.truncate(context_len)?;
    Ok(time.as_secs_f64() * 1e3)
}

/// The lower quartile: what a pass takes when nothing else disturbs it.
fn typical(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 4]
}

/// True if half of the times are close to the quickest: what disturbs a machine does not disturb every pass alike.
fn is_calm(times: &mut [f64]) -> bool {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2] <= times[0] * SPREAD_MAX
}

/// Costs kept between starts, with what they were measured on.
#[derive(Serialize, Deserialize)]
struct Record {
    key: String,
    costs: CostProfile,
}

/// Where measured costs are kept between starts.
pub(crate) struct Kept {
    path: PathBuf,
    key: String,
}

impl Kept {
    /// The place for one combination of models, providers, threads and machine, all of it named in `key`.
    pub(crate) fn new(folder: &Path, key: String) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        // Two keys may share a name; the record says whose costs it holds.
        Self { path: folder.join(format!("costs-{:016x}.json", hasher.finish())), key }
    }

    /// What was kept, if it can be read.
    pub(crate) fn read(&self) -> Option<CostProfile> {
        let record: Record = serde_json::from_slice(&fs::read(&self.path).ok()?).ok()?;
        (record.key == self.key).then_some(record.costs)
    }

    /// Keeps `costs`. A failure is logged: the next start measures again.
    pub(crate) fn write(&self, costs: &CostProfile) {
        let record = Record { key: self.key.clone(), costs: costs.clone() };
        let json = serde_json::to_vec(&record).expect("numbers become JSON");
        let part = self.path.with_extension(format!("{}.part", std::process::id()));
        let written = self.path.parent().map_or(Ok(()), fs::create_dir_all);
        let written = written.and_then(|()| fs::write(&part, json)).and_then(|()| fs::rename(&part, &self.path));
        if let Err(error) = written {
            log::warn!("measured costs were not kept in {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_measurement_is_told_from_a_calm_one() {
        assert!(is_calm(&mut [1.0, 1.1, 1.02, 9.0, 1.3]));
        assert!(!is_calm(&mut [1.0, 2.0, 1.8, 9.0, 1.3]));
    }

    #[test]
    fn kept_costs_are_those_of_the_same_key_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let costs = CostProfile::new(vec![(1, 2.0), (4, 3.0)], Some(0.5));
        let kept = Kept::new(folder.path(), "one".into());
        assert_eq!(kept.read(), None);
        kept.write(&costs);
        assert_eq!(kept.read(), Some(costs));
        // Another key under the same name, as after a collision of hashes.
        let other = Kept { key: "two".into(), ..kept };
        assert_eq!(other.read(), None);
        fs::write(&other.path, "{half").unwrap();
        assert_eq!(other.read(), None);
    }
}
