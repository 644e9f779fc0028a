//! The best speed that the measured costs allow, beside the one that was reached.

use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::plan::{Decoding, Mode};
use crate::report::Costs;

/// What S = E / (cγ + v(γ+1)) promises with the costs and the acceptance of this run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct Prediction {
    /// How tokens were chosen.
    pub decoding: Decoding,
    /// α for which E(α, γ) is the block efficiency that mode `drafter` reached.
    pub acceptance: f64,
    /// S by draft length, from 0 on.
    pub speedup_by_draft_len: Vec<f64>,
    /// The draft length with the greatest S.
    pub draft_len_best: usize,
    /// Its S.
    pub speedup_best: f64,
    /// What mode `adaptive` reached against `plain`; absent where it cannot be told from 1.
    pub reached: Option<f64>,
}

/// Predictions for every decoding in `cases` that has a drafter's case.
pub(crate) fn predictions(costs: &Costs, cases: &[Case], draft_len: usize) -> Vec<Prediction> {
    let (Some(&step_ms), Some(drafter_ms)) = (costs.target_ms.first(), costs.drafter_ms) else { return Vec::new() };
    let case = |decoding, mode| {
        cases.iter().find(move |case| case.decoding == decoding && case.mode == mode && case.task.is_none())
    };
    let predict = |decoding| {
        let acceptance = drafthorse::acceptance_for(case(decoding, Mode::Drafter)?.tokens_per_target_call?, draft_len);
        let speedup_by_draft_len: Vec<f64> = costs
            .target_ms
            .iter()
            .enumerate()
            .map(|(len, ms)| drafthorse::speedup(acceptance, len, drafter_ms / step_ms, ms / step_ms, 0.0))
            .collect();
        let best = (0..speedup_by_draft_len.len())
            .max_by(|&a, &b| speedup_by_draft_len[a].total_cmp(&speedup_by_draft_len[b]))?;
        Some(Prediction {
            decoding,
            acceptance,
            draft_len_best: best,
            speedup_best: speedup_by_draft_len[best],
            speedup_by_draft_len,
            reached: case(decoding, Mode::Adaptive).and_then(|case| case.speedup?.value),
        })
    };
    Decoding::ALL.into_iter().filter_map(predict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Context, cases, tests::run};

    #[test]
    fn the_best_length_is_where_the_formula_peaks() {
        let cases = cases(&run(), Context { parameter_ratio: None, seed: 1 });
        // Verification is free up to four rows and dear beyond.
        let target_ms = vec![10.0, 10.0, 10.0, 10.0, 40.0, 50.0];
        let costs = Costs { target_ms, drafter_ms: Some(0.5), sweeps: 2, change: 0.0, stable: true };
        let found = predictions(&costs, &cases, 2);
        assert_eq!(found.len(), 1);
        // 1 + α + α² = 2 has its root at the golden ratio's inverse.
        assert!((found[0].acceptance - 0.618_034).abs() < 1e-5);
        assert_eq!((found[0].draft_len_best, found[0].speedup_by_draft_len[0]), (3, 1.0));
        assert_eq!(found[0].reached, None);
    }
}
