//! From logits to the distribution that is sampled: history processors → temperature → top-k → top-p → min-p →
//! softmax.

use crate::cut::{self, Candidate};
use crate::softmax::{self, Unusable};
use crate::token_mask::allows;
use crate::{Distribution, History, SamplingPlan, TokenId};

/// Applies one [`SamplingPlan`] to rows of logits, the target's and the drafter's alike.
///
/// Owns all the room it needs: nothing is allocated after construction.
#[derive(Clone, Debug)]
pub struct Warper {
    plan: SamplingPlan,
    vocab_len: usize,
    /// 1 / temperature, finite; 0 when greedy.
    scale: f32,
    /// `[vocab_len]`: the logits after the processors.
    edited: Vec<f32>,
    /// `[vocab_len]`: exponentials, where a cut needs all of them.
    weights: Vec<f32>,
    kept: Vec<Candidate>,
}

impl Warper {
    /// A warper for rows whose first `vocab_len` columns are tokens; columns after them are padding and ignored.
    pub fn new(plan: &SamplingPlan, vocab_len: usize) -> Self {
        Self {
            plan: plan.clone(),
            vocab_len,
            // A tiny temperature must not make 0 · ∞ of the best logit.
            scale: if plan.is_greedy() { 0.0 } else { (1.0 / plan.temperature).min(f32::MAX) },
            edited: vec![0.0; vocab_len],
            weights: vec![0.0; vocab_len],
            kept: Vec::with_capacity(vocab_len),
        }
    }

    /// Tokens of the vocabulary.
    pub fn vocab_len(&self) -> usize {
        self.vocab_len
    }

    /// The likeliest token after `history`, the lowest id among equals. `mask`: the tokens allowed, as in
    /// [`TokenMaskSource::mask`](crate::TokenMaskSource::mask). Temperature and cuts do not matter to it.
    ///
    /// # Errors
    /// `Unusable` if a logit is NaN or +∞, or if no token is left.
    ///
    /// # Panics
    /// If `logits` has fewer than `vocab_len` columns.
    pub fn best(&mut self, logits: &[f32], history: &History, mask: Option<&[u32]>) -> Result<TokenId, Unusable> {
        let logits = &logits[..self.vocab_len];
        if self.edits(history, mask) {
            self.edit(logits, history, mask);
            softmax::argmax(&self.edited)
        } else {
            softmax::argmax(logits)
        }
    }

    /// [`best`](Self::best), with its probability at temperature 1 without cuts.
    ///
    /// # Errors
    /// Those of `best`.
    ///
    /// # Panics
    /// If `logits` has fewer than `vocab_len` columns.
    pub fn best_with_chance(
        &mut self,
        logits: &[f32],
        history: &History,
        mask: Option<&[u32]>,
    ) -> Result<(TokenId, f64), Unusable> {
        let best = self.best(logits, history, mask)?;
        let row = if self.edits(history, mask) { &self.edited[..] } else { &logits[..self.vocab_len] };
        let total = softmax::exponentials(row, row[best as usize], 1.0, &mut self.weights);
        Ok((best, 1.0 / total))
    }

    /// Writes the distribution after `history` to `out`, which has room for `vocab_len` tokens. When greedy it is
    /// all on [`best`](Self::best).
    ///
    /// Processors see every token of `history`, so that tokens drafted earlier must be in it. A cut between equals
    /// keeps the lowest ids.
    ///
    /// # Errors
    /// `Unusable` if a logit is NaN or +∞, or if no token is left; `out` is then unchanged.
    ///
    /// # Panics
    /// If `logits` has fewer than `vocab_len` columns.
    pub fn warp(
        &mut self,
        logits: &[f32],
        history: &History,
        mask: Option<&[u32]>,
        out: &mut Distribution,
    ) -> Result<(), Unusable> {
        if self.plan.is_greedy() {
            let best = self.best(logits, history, mask)?;
            out.set_weights([(1.0, best)].into_iter(), 1.0);
            return Ok(());
        }
        let logits = &logits[..self.vocab_len];
        if self.edits(history, mask) {
            self.edit(logits, history, mask);
            let edited = std::mem::take(&mut self.edited);
            let result = self.soften(&edited, out);
            self.edited = edited;
            result
        } else {
            self.soften(logits, out)
        }
    }

    /// True if a processor would change the row.
    fn edits(&self, history: &History, mask: Option<&[u32]>) -> bool {
        mask.is_some()
            || !self.plan.logit_bias.is_empty()
            || self.penalises(history)
            || (self.bans_stop(history) && !self.plan.stop_tokens.is_empty())
    }

    fn penalises(&self, history: &History) -> bool {
        let plan = &self.plan;
        let output = plan.frequency_penalty != 0.0 || plan.presence_penalty != 0.0;
        (plan.repetition_penalty != 1.0 && !history.is_empty()) || (output && !history.output().is_empty())
    }

    fn bans_stop(&self, history: &History) -> bool {
        history.output().len() < self.plan.min_tokens
    }

    /// True if `mask` allows stop tokens and nothing else.
    fn only_stops(&self, mask: &[u32]) -> bool {
        let stops = &self.plan.stop_tokens;
        let other = |(index, &word): (usize, &u32)| {
            let first = index * 32;
            (0..32).any(|bit| {
                let token = (first + bit) as TokenId;
                word >> bit & 1 == 1 && (token as usize) < self.vocab_len && !stops.contains(&token)
            })
        };
        stops.iter().any(|&stop| allows(mask, stop))
            && !mask.iter().enumerate().filter(|(_, word)| **word != 0).any(other)
    }

    fn edit(&mut self, logits: &[f32], history: &History, mask: Option<&[u32]>) {
        self.edited.copy_from_slice(logits);
        if self.penalises(history) {
            self.penalise(history);
        }
        for &(token, bias) in &self.plan.logit_bias {
            if let Some(logit) = self.edited.get_mut(token as usize) {
                *logit += bias;
            }
        }
        if let Some(mask) = mask {
            apply_mask(&mut self.edited, mask);
        }
        // A complete constraint allows nothing but the end, and there is nothing else to say.
        if self.bans_stop(history) && !mask.is_some_and(|mask| self.only_stops(mask)) {
            for &token in &self.plan.stop_tokens {
                if let Some(logit) = self.edited.get_mut(token as usize) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }

    fn penalise(&mut self, history: &History) {
        let SamplingPlan { repetition_penalty, frequency_penalty, presence_penalty, .. } = self.plan;
        for &token in history.distinct() {
            let Some(logit) = self.edited.get_mut(token as usize) else { continue };
            *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
            let count = history.output_count(token);
            if count > 0 {
                *logit -= frequency_penalty * count as f32 + presence_penalty;
            }
        }
    }

    /// Temperature, cuts and softmax over a row that the processors are done with.
    fn soften(&mut self, row: &[f32], out: &mut Distribution) -> Result<(), Unusable> {
        let max = softmax::max(row)?;
        let SamplingPlan { top_k, top_p, min_p, .. } = self.plan;
        if top_k < self.vocab_len {
            cut::top_k(row, top_k, &mut self.kept);
            self.exponentiate(max);
            if top_p < 1.0 {
                cut::top_p(&mut self.kept, f64::from(top_p));
            }
        } else if top_p < 1.0 {
            let total = softmax::exponentials(row, max, self.scale, &mut self.weights);
            cut::top_p_of_row(&self.weights, total, f64::from(top_p), &mut self.kept);
        } else if min_p > 0.0 {
            // A little too many: the exact comparison is the one of exponentials below.
            let bound = f64::from(max) + (f64::from(min_p).ln() - 1e-3) / f64::from(self.scale);
            cut::at_least(row, (bound as f32).max(f32::MIN), &mut self.kept);
            self.exponentiate(max);
        } else {
            let dense = out.dense_mut();
            let total = softmax::exponentials(row, max, self.scale, dense);
            let factor = (1.0 / total) as f32;
            dense.iter_mut().for_each(|p| *p *= factor);
            return Ok(());
        }
        // The largest weight is 1, so a weight is its own share of the largest.
        self.kept.retain(|c| c.value() >= min_p && c.value() > 0.0);
        let weights = self.kept.iter().map(|c| (c.value(), c.token()));
        out.set_weights(weights, cut::sum(&self.kept));
        Ok(())
    }

    /// Makes the kept logits weights.
    fn exponentiate(&mut self, max: f32) {
        for candidate in &mut self.kept {
            *candidate = Candidate::new(softmax::exp((candidate.value() - max) * self.scale), candidate.token());
        }
    }
}

/// Makes every token that `mask` does not allow impossible.
fn apply_mask(row: &mut [f32], mask: &[u32]) {
    for (index, logits) in row.chunks_mut(32).enumerate() {
        match mask.get(index).copied().unwrap_or(0) {
            u32::MAX => {}
            0 => logits.fill(f32::NEG_INFINITY),
            _ => {
                for (token, logit) in ((index * 32) as TokenId..).zip(logits) {
                    if !allows(mask, token) {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, step by step in f64 with a full sort.
    fn reference(plan: &SamplingPlan, logits: &[f32], history: &History, mask: Option<&[u32]>) -> Vec<f64> {
        let mut row: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
        for (token, x) in (0_u32..).zip(&mut row) {
            let seen = history.tokens().contains(&token);
            let count = history.output().iter().filter(|&&t| t == token).count() as f64;
            let penalty = f64::from(plan.repetition_penalty);
            *x = match seen {
                true if *x > 0.0 => *x / penalty,
                true => *x * penalty,
                false => *x,
            };
            *x -= count * f64::from(plan.frequency_penalty);
            *x -= if count > 0.0 { f64::from(plan.presence_penalty) } else { 0.0 };
            *x += plan.logit_bias.iter().filter(|b| b.0 == token).map(|b| f64::from(b.1)).sum::<f64>();
            let allowed = |token: &TokenId| mask.is_none_or(|mask| allows(mask, *token));
            let other = (0..logits.len() as TokenId).any(|token| allowed(&token) && !plan.stop_tokens.contains(&token));
            let early = other && history.output().len() < plan.min_tokens && plan.stop_tokens.contains(&token);
            if early || mask.is_some_and(|mask| !allows(mask, token)) {
                *x = f64::NEG_INFINITY;
            }
        }
        let max = row.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| row[b].partial_cmp(&row[a]).unwrap().then(a.cmp(&b)));
        let mut weights: Vec<f64> = row.iter().map(|x| ((x - max) / f64::from(plan.temperature)).exp()).collect();
        for &token in order.iter().skip(plan.top_k) {
            weights[token] = 0.0;
        }
        let total: f64 = weights.iter().sum();
        let mut reached = 0.0;
        for &token in &order {
            if reached >= f64::from(plan.top_p) * total && plan.top_p < 1.0 {
                weights[token] = 0.0;
            }
            reached += weights[token];
        }
        weights.iter_mut().filter(|w| **w < f64::from(plan.min_p)).for_each(|w| *w = 0.0);
        let total: f64 = weights.iter().sum();
        weights.iter().map(|w| w / total).collect()
    }

    fn check(plan: &SamplingPlan, logits: &[f32], history: &History, mask: Option<&[u32]>) {
        let mut warper = Warper::new(plan, logits.len());
        let mut out = Distribution::new(logits.len());
        warper.warp(logits, history, mask, &mut out).unwrap();
        let expected = reference(plan, logits, history, mask);
        for (token, &p) in (0_u32..).zip(&expected) {
            assert!((out.prob(token) - p).abs() < 1e-6, "token {token}: {} instead of {p}", out.prob(token));
        }
    }

    proptest! {
        #[test]
        fn warping_follows_the_definition(
            logits in prop::collection::vec(-8.0_f32..8.0, 40..400),
            seen in prop::collection::vec(0_u32..40, 0..30),
            output_start in 0_usize..30,
            temperature in 0.2_f32..3.0,
            top_k in prop_oneof![Just(usize::MAX), 1_usize..60],
            top_p in prop_oneof![Just(1.0_f32), 0.05_f32..0.99],
            min_p in prop_oneof![Just(0.0_f32), 0.001_f32..0.5],
            penalties in prop_oneof![Just((1.0_f32, 0.0_f32, 0.0_f32)), (0.7_f32..1.6, -0.5_f32..1.0, -0.5_f32..1.0)],
            bias in prop::collection::vec((0_u32..40, -3.0_f32..3.0), 0..3),
            mask in prop::option::of(prop::collection::vec(any::<u32>(), 13)),
            min_tokens in 0_usize..40,
        ) {
            let mut history = History::new(logits.len(), 64);
            history.extend(&seen[..output_start.min(seen.len())]);
            history.begin_output();
            history.extend(&seen[output_start.min(seen.len())..]);
            let plan = SamplingPlan {
                temperature, top_k, top_p, min_p,
                repetition_penalty: penalties.0, frequency_penalty: penalties.1, presence_penalty: penalties.2,
                logit_bias: bias, stop_tokens: vec![1, 7], min_tokens,
            };
            check(&plan, &logits, &history, mask.as_deref());
        }
    }

    #[test]
    fn the_worked_example_of_each_cut() {
        // Probabilities .5 .25 .125 .125 at temperature 1.
        let logits = [4.0_f32, 2.0, 1.0, 1.0].map(|x| x.ln());
        let history = History::new(4, 4);
        let warp = |plan: SamplingPlan| {
            let mut out = Distribution::new(4);
            Warper::new(&plan, 4).warp(&logits, &history, None, &mut out).unwrap();
            out.probs().iter().map(|p| (p * 1000.0).round() as u32).collect::<Vec<_>>()
        };
        assert_eq!(warp(SamplingPlan::neutral()), [500, 250, 125, 125]);
        assert_eq!(warp(SamplingPlan { top_k: 2, ..SamplingPlan::neutral() }), [667, 333, 0, 0]);
        assert_eq!(warp(SamplingPlan { top_k: 3, ..SamplingPlan::neutral() }), [571, 286, 143, 0]);
        assert_eq!(warp(SamplingPlan { top_p: 0.6, ..SamplingPlan::neutral() }), [667, 333, 0, 0]);
        // After top-k 2 the shares are 2/3 and 1/3, so .6 is reached by the first alone.
        assert_eq!(warp(SamplingPlan { top_k: 2, top_p: 0.6, ..SamplingPlan::neutral() }), [1000, 0, 0, 0]);
        assert_eq!(warp(SamplingPlan { min_p: 0.5, ..SamplingPlan::neutral() }), [667, 333, 0, 0]);
        assert_eq!(warp(SamplingPlan { temperature: 0.5, ..SamplingPlan::neutral() }), [727, 182, 45, 45]);
        assert_eq!(warp(SamplingPlan { temperature: 0.0, ..SamplingPlan::neutral() }), [1000, 0, 0, 0]);
        assert_eq!(warp(SamplingPlan { temperature: 1e-40, ..SamplingPlan::neutral() }), [1000, 0, 0, 0]);
    }

    #[test]
    fn padding_is_ignored_and_a_used_row_leaves_no_trace() {
        let history = History::new(3, 4);
        let mut warper = Warper::new(&SamplingPlan { top_k: 2, ..SamplingPlan::neutral() }, 3);
        let mut out = Distribution::new(3);
        warper.warp(&[0.0, 1.0, 2.0, 99.0, f32::NAN], &history, None, &mut out).unwrap();
        warper.warp(&[2.0, 2.0, 2.0, 99.0], &history, None, &mut out).unwrap();
        assert_eq!(out.probs(), [0.5, 0.5, 0.0]);
        assert_eq!(warper.best(&[0.0, 2.0, 2.0, 99.0], &history, None), Ok(1));
    }

    #[test]
    fn greedy_obeys_the_processors() {
        let mut history = History::new(4, 8);
        history.extend(&[3]);
        history.begin_output();
        let logits = [1.0, 2.0, 3.0, 4.0];
        let best = |plan: &SamplingPlan, history: &History, mask| Warper::new(plan, 4).best(&logits, history, mask);
        let plan = SamplingPlan { temperature: 0.0, ..SamplingPlan::neutral() };
        assert_eq!(best(&plan, &history, None), Ok(3));
        assert_eq!(best(&SamplingPlan { repetition_penalty: 2.0, ..plan.clone() }, &history, None), Ok(2));
        // The prompt does not count for the other two penalties.
        assert_eq!(best(&SamplingPlan { presence_penalty: 9.0, ..plan.clone() }, &history, None), Ok(3));
        assert_eq!(best(&plan, &history, Some(&[0b0011])), Ok(1));
        assert_eq!(best(&plan, &history, Some(&[0])), Err(Unusable::NothingFinite));
        let ends = SamplingPlan { stop_tokens: vec![3], min_tokens: 1, ..plan.clone() };
        assert_eq!(best(&ends, &history, None), Ok(2));
        assert_eq!(best(&ends, &history, Some(&[0b1001])), Ok(0), "there is something else to say");
        assert_eq!(best(&ends, &history, Some(&[0b1000])), Ok(3), "a complete constraint ends before min_tokens");
        history.push(0);
        assert_eq!(best(&ends, &history, None), Ok(3));
        history.push(3);
        assert_eq!(best(&SamplingPlan { presence_penalty: 9.0, ..plan }, &history, None), Ok(2));
    }
}
