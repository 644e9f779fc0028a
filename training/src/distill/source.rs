//! Where the texts of a batch come from: fixed, the target's, the drafter's own, and generic ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::batch::Example;
use super::rollout::{Limits, Request, Sampling, rollout};
use crate::model::Llama;
use crate::random::Stream;
use crate::{Error, Result};

/// Shares of the sources. The first three are weights among themselves; generic text is a share of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mixture {
    /// Completions as they stand in the data.
    pub fixed: f64,
    /// Completions that the target wrote.
    pub target: f64,
    /// Completions that the drafter writes while it learns.
    pub on_policy: f64,
    /// Share of rows taken from generic text, against forgetting.
    pub generic_share: f64,
}

impl Default for Mixture {
    fn default() -> Self {
        Self { fixed: 0.0, target: 0.5, on_policy: 0.5, generic_share: 0.1 }
    }
}

impl Mixture {
    /// Checks the shares.
    ///
    /// # Errors
    /// `Setting` if a share is negative or not finite, all are zero, or the generic share is not within 0 and 1.
    pub fn check(&self) -> Result<()> {
        for (name, share) in [("fixed", self.fixed), ("target", self.target), ("on_policy", self.on_policy)] {
            if !(share.is_finite() && share >= 0.0) {
                return Err(Error::setting(format!("mixture.{name}"), format!("{share}: at least 0")));
            }
        }
        if !(0.0..=1.0).contains(&self.generic_share) {
            return Err(Error::setting("mixture.generic_share", format!("{}: from 0 to 1", self.generic_share)));
        }
        if self.fixed + self.target + self.on_policy == 0.0 && self.generic_share < 1.0 {
            return Err(Error::setting("mixture", "fixed, target and on_policy are all 0"));
        }
        Ok(())
    }
}

/// How the drafter writes its own texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnPolicy {
    /// Steps that are served from texts of one state of the drafter.
    pub refresh_steps: usize,
    /// One of these is drawn for each text.
    pub temperatures: Vec<f64>,
    /// Nucleus of the draws.
    pub top_p: f64,
}

impl Default for OnPolicy {
    fn default() -> Self {
        Self { refresh_steps: 8, temperatures: vec![1.0], top_p: 1.0 }
    }
}

/// Texts in groups, a group being drawn from by its weight however many texts it has.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    weights: Vec<f64>,
    groups: Vec<Vec<Example>>,
}

impl Pool {
    /// Adds a group; one without texts is left out.
    pub fn add(&mut self, weight: f64, examples: Vec<Example>) {
        if !examples.is_empty() {
            self.weights.push(weight);
            self.groups.push(examples);
        }
    }

    /// The pool without the texts that are `left_out`, and how many those are.
    pub fn without(self, left_out: impl Fn(&Example) -> bool) -> (Self, usize) {
        let (mut kept, mut count) = (Self::default(), 0);
        for (weight, mut group) in self.weights.into_iter().zip(self.groups) {
            let before = group.len();
            group.retain(|example| !left_out(example));
            count += before - group.len();
            kept.add(weight, group);
        }
        (kept, count)
    }

    /// True if no text can be drawn.
    pub fn is_empty(&self) -> bool {
        self.weights.iter().all(|&weight| weight == 0.0)
    }

    /// Each group with its share of the weight.
    pub fn shares(&self) -> impl Iterator<Item = (f64, &[Example])> {
        let sum: f64 = self.weights.iter().sum();
        self.weights.iter().zip(&self.groups).map(move |(weight, group)| (weight / sum, &group[..]))
    }

    fn draw(&self, stream: &mut Stream) -> &Example {
        let group = &self.groups[stream.weighted(&self.weights)];
        &group[stream.below(group.len())]
    }
}

/// Texts to draw from.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    /// Prompts with the completions of the data; their prompts also start the drafter's texts.
    pub fixed: Pool,
    /// Prompts with the target's completions.
    pub target: Pool,
    /// Text of any kind, learned at every position but the first.
    pub generic: Pool,
}

/// What a row of a batch is.
enum Pick<'a> {
    /// A text as it is.
    Text(&'a Example),
    /// What the drafter writes to this text's prompt.
    OnPolicy(&'a Example),
}

/// A text that the drafter wrote for a row of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written {
    step: usize,
    row: usize,
    example: Example,
}

/// Deals the rows of each step; every choice depends on the seed, the step and the row only.
pub struct Dealer {
    pools: Pools,
    mixture: Mixture,
    on_policy: OnPolicy,
    limits: Limits,
    batch_rows: usize,
    seed: u64,
    written: BTreeMap<(usize, usize), Example>,
}

impl Dealer {
    /// A dealer of `batch_rows` rows per step; `limits` bounds what the drafter writes.
    ///
    /// # Errors
    /// `Setting` if a share has no text to draw from, or a setting is out of its range.
    pub fn new(
        pools: Pools,
        mixture: Mixture,
        on_policy: OnPolicy,
        limits: Limits,
        batch_rows: usize,
        seed: u64,
    ) -> Result<Self> {
        mixture.check()?;
        let tempered = |t: &f64| t.is_finite() && *t >= 0.0;
        if on_policy.refresh_steps == 0 || on_policy.temperatures.is_empty() || batch_rows == 0 {
            return Err(Error::setting("on_policy", "refresh_steps, temperatures and batch_rows may not be empty"));
        }
        let nucleus = on_policy.top_p > 0.0 && on_policy.top_p <= 1.0;
        if !(nucleus && on_policy.temperatures.iter().all(tempered)) {
            return Err(Error::setting("on_policy", "temperatures are at least 0, top_p above 0 and at most 1"));
        }
        let needs = [
            ("fixed", mixture.fixed, &pools.fixed),
            ("target", mixture.target, &pools.target),
            ("on_policy", mixture.on_policy, &pools.fixed),
            ("generic_share", mixture.generic_share, &pools.generic),
        ];
        for (name, share, pool) in needs {
            if share > 0.0 && pool.is_empty() {
                return Err(Error::setting(format!("mixture.{name}"), "above 0, but there is no text for it"));
            }
        }
        Ok(Self { pools, mixture, on_policy, limits, batch_rows, seed, written: BTreeMap::new() })
    }

    /// The examples of `step`. If the step begins a refresh, `drafter` first writes the texts of the next steps.
    ///
    /// # Errors
    /// Of the rollout.
    pub fn deal(&mut self, step: usize, drafter: &Llama) -> Result<Vec<Example>> {
        if step.is_multiple_of(self.on_policy.refresh_steps) {
            self.refresh(step, drafter)?;
        }
        let rows = (0..self.batch_rows).map(|row| match self.pick(step, row) {
            Pick::Text(example) => Ok(example.clone()),
            Pick::OnPolicy(_) => self.written.get(&(step, row)).cloned().ok_or_else(|| {
                Error::setting("resume", format!("the checkpoint lacks the drafter's texts of step {step}"))
            }),
        });
        rows.collect()
    }

    fn pick(&self, step: usize, row: usize) -> Pick<'_> {
        let mut stream = Stream::new(self.seed, step as u64, row as u64);
        if stream.uniform() < self.mixture.generic_share {
            return Pick::Text(self.pools.generic.draw(&mut stream));
        }
        match stream.weighted(&[self.mixture.fixed, self.mixture.target, self.mixture.on_policy]) {
            0 => Pick::Text(self.pools.fixed.draw(&mut stream)),
            1 => Pick::Text(self.pools.target.draw(&mut stream)),
            _ => Pick::OnPolicy(self.pools.fixed.draw(&mut stream)),
        }
    }

    fn refresh(&mut self, first: usize, drafter: &Llama) -> Result<()> {
        let mut places = Vec::new();
        for step in first..first + self.on_policy.refresh_steps {
            for row in 0..self.batch_rows {
                if let Pick::OnPolicy(example) = self.pick(step, row) {
                    places.push((step, row, &example.prompt));
                }
            }
        }
        let temperatures = &self.on_policy.temperatures;
        let requests: Vec<Request<'_>> = places
            .iter()
            .map(|&(step, row, prompt)| {
                let key = (step * self.batch_rows + row) as u64;
                let temperature = temperatures[Stream::new(self.seed, 0x7465_6d70, key).below(temperatures.len())];
                Request { prompt, sampling: Sampling { temperature, top_p: self.on_policy.top_p }, key }
            })
            .collect();
        let frozen = drafter.clone().frozen();
        let answers = rollout(&frozen, &requests, self.limits, self.seed)?;
        let written = places
            .into_iter()
            .zip(answers)
            .map(|((step, row, prompt), completion)| ((step, row), Example::new(prompt.clone(), completion)));
        self.written = written.collect();
        Ok(())
    }

    /// The drafter's texts that later steps still need, for a checkpoint.
    pub fn written(&self) -> Vec<Written> {
        let written = self.written.iter();
        written.map(|(&(step, row), example)| Written { step, row, example: example.clone() }).collect()
    }

    /// Takes back what `written` gave.
    pub fn restore(&mut self, written: Vec<Written>) {
        self.written = written.into_iter().map(|w| ((w.step, w.row), w.example)).collect();
    }
}

/// `count` requests over `prompts` in order, each at one of `temperatures`.
///
/// # Errors
/// `Setting` without prompts or temperatures.
pub fn requests<'a>(prompts: &[&'a [u32]], count: usize, temperatures: &[f64], top_p: f64) -> Result<Vec<Request<'a>>> {
    if prompts.is_empty() || temperatures.is_empty() {
        return Err(Error::setting("target text", "needs at least one prompt and one temperature"));
    }
    let request = |index| {
        // Each pass over the prompts begins one temperature later, so that all pairs come about.
        let turn = index + index / prompts.len();
        let sampling = Sampling { temperature: temperatures[turn % temperatures.len()], top_p };
        Request { prompt: prompts[index % prompts.len()], sampling, key: index as u64 }
    };
    Ok((0..count).map(request).collect())
}

/// The texts of requests and their answers.
pub fn texts(requests: &[Request<'_>], answers: Vec<Vec<u32>>) -> Vec<Example> {
    let answered = requests.iter().zip(answers);
    answered.map(|(request, completion)| Example::new(request.prompt.to_vec(), completion)).collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::ModelConfig;

    const LIMITS: Limits = Limits { completion_len_max: 6, batch_rows: 8 };

    fn drafter(seed: u64) -> Llama {
        Llama::random(ModelConfig::tiny(), seed, &Device::flex()).unwrap().map(|_, tensor| tensor.mul_scalar(4.0))
    }

    fn pools() -> Pools {
        let pool = |first: u32| {
            let mut pool = Pool::default();
            pool.add(1.0, vec![Example::new(vec![first], vec![first]); 3]);
            pool
        };
        Pools { fixed: pool(1), target: pool(2), generic: pool(3) }
    }

    fn dealer(mixture: Mixture) -> Dealer {
        let on_policy = OnPolicy { refresh_steps: 4, ..OnPolicy::default() };
        Dealer::new(pools(), mixture, on_policy, LIMITS, 16, 11).unwrap()
    }

    #[test]
    fn shares_are_kept() {
        let mixture = Mixture { fixed: 1.0, target: 3.0, on_policy: 0.0, generic_share: 0.2 };
        let mut dealer = dealer(mixture);
        let rows: Vec<Example> = (0..200).flat_map(|step| dealer.deal(step, &drafter(1)).unwrap()).collect();
        let share = |first| rows.iter().filter(|row| row.prompt == [first]).count() as f64 / rows.len() as f64;
        for (first, wanted) in [(1, 0.2), (2, 0.6), (3, 0.2)] {
            assert!((share(first) - wanted).abs() < 0.03, "{first}: {}", share(first));
        }
    }

    #[test]
    fn groups_are_drawn_by_weight_however_many_texts_they_have() {
        let mut pool = Pool::default();
        for (weight, first, count) in [(3.0, 1, 1), (1.0, 2, 50), (1.0, 3, 0)] {
            pool.add(weight, vec![Example::new(vec![first], vec![]); count]);
        }
        let mut stream = Stream::new(1, 1, 1);
        let hits = (0..2000).filter(|_| pool.draw(&mut stream).prompt == [1]).count();
        assert!((1400..1600).contains(&hits), "{hits}");
        assert_eq!(
            pool.shares().map(|(share, group)| (share, group.len())).collect::<Vec<_>>(),
            [(0.75, 1), (0.25, 50)]
        );
    }

    #[test]
    fn the_drafters_texts_follow_its_state_at_the_refresh_only() {
        let mixture = Mixture { fixed: 0.0, target: 0.0, on_policy: 1.0, generic_share: 0.0 };
        let (mut one, mut other) = (dealer(mixture), dealer(mixture));
        let _ = (one.deal(0, &drafter(1)).unwrap(), other.deal(0, &drafter(1)).unwrap());
        // Within the refresh another drafter changes nothing; the next refresh sees it.
        assert_eq!(one.deal(3, &drafter(1)).unwrap(), other.deal(3, &drafter(2)).unwrap());
        assert_ne!(one.deal(4, &drafter(1)).unwrap(), other.deal(4, &drafter(2)).unwrap());
    }

    #[test]
    fn a_restored_dealer_goes_on_in_the_middle_of_a_refresh() {
        let mixture = Mixture { fixed: 0.0, target: 0.0, on_policy: 1.0, generic_share: 0.0 };
        let (mut one, mut other) = (dealer(mixture), dealer(mixture));
        let _ = one.deal(0, &drafter(1)).unwrap();
        assert!(other.deal(2, &drafter(1)).is_err());
        other.restore(one.written());
        assert_eq!(one.deal(2, &drafter(1)).unwrap(), other.deal(2, &drafter(2)).unwrap());
    }

    #[test]
    fn shares_without_text_and_bad_shares_are_refused() {
        let refused = |mixture, pools| {
            Dealer::new(pools, mixture, OnPolicy::default(), LIMITS, 4, 0).err().map(|error| error.to_string())
        };
        let good = Mixture { fixed: 1.0, target: 0.0, on_policy: 0.0, generic_share: 0.1 };
        assert!(refused(good, pools()).is_none());
        assert!(refused(good, Pools { generic: Pool::default(), ..pools() }).unwrap().contains("generic_share"));
        assert!(refused(Mixture { fixed: -1.0, ..good }, pools()).unwrap().contains("fixed"));
        assert!(refused(Mixture { fixed: 0.0, ..good }, pools()).is_some());
        assert!(refused(Mixture { generic_share: f64::NAN, ..good }, pools()).is_some());
    }

    #[test]
    fn every_prompt_meets_every_temperature() {
        let model = drafter(1);
        let prompts: [&[u32]; 2] = [&[1], &[2]];
        let answered = |count, temperatures: &[f64], seed| {
            let asked = requests(&prompts, count, temperatures, 1.0).unwrap();
            texts(&asked, rollout(&model, &asked, LIMITS, seed).unwrap())
        };
        let (texts, greedy) = (answered(4, &[0.0, 1.0], 5), answered(2, &[0.0], 6));
        assert_eq!(texts[0], greedy[0]);
        assert_eq!(texts[3], greedy[1]);
    }
}
