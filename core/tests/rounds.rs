//! Whole rounds on scripted models: sink, verifier, history, constraint and drafters together, against the target alone.

use std::collections::HashMap;

use drafthorse::scripted::{ScriptedDrafter, ScriptedModel};
use drafthorse::{
    CombinedDrafter, Distribution, DraftLength, Drafter, EarlyStop, Error, GenerationOptions, GenerationPlan, History,
    Lenience, Model, ModelDrafter, PlanContext, PromptLookup, Proposal, Random, Result, TokenId, TokenMaskSource,
    Verification, Verifier, Warper,
};

/// Logits in ±`spread` from the last two tokens, so that texts repeat themselves now and then.
fn logits(salt: u32, spread: f32) -> impl Fn(&[TokenId], &mut [f32]) + Send + Clone + 'static {
    move |tokens, row| {
        let last: u32 = tokens.iter().rev().take(2).fold(salt, |h, t| h.wrapping_mul(31).wrapping_add(t + 1));
        let noise = Random::new(u64::from(last)).noise(1);
        (0..).zip(row).for_each(|(token, logit)| *logit = (noise.uniform(token) as f32 * 2.0 - 1.0) * spread);
    }
}

/// Allows two thirds of the tokens, by position; every fifth position is free. Refuses what it does not allow.
#[derive(Default)]
struct Thirds {
    pushed: Vec<TokenId>,
    mask: Vec<u32>,
}

impl Thirds {
    fn allows(&self, token: TokenId) -> bool {
        self.pushed.len() % 5 == 4 || !(token as usize + self.pushed.len()).is_multiple_of(3)
    }
}

impl TokenMaskSource for Thirds {
    fn mask(&mut self) -> Result<Option<&[u32]>> {
        if self.pushed.len() % 5 == 4 {
            return Ok(None);
        }
        let mut mask = vec![0; 3];
        for token in (0..96).filter(|&token| self.allows(token)) {
            mask[token as usize / 32] |= 1 << (token % 32);
        }
        self.mask = mask;
        Ok(Some(&self.mask))
    }

    fn push(&mut self, token: TokenId) -> Result<()> {
        if !self.allows(token) {
            return Err(Error::Constraint { reason: format!("token {token} at {}", self.pushed.len()) });
        }
        self.pushed.push(token);
        Ok(())
    }

    fn rollback(&mut self, count: usize) -> Result<()> {
        assert!(count <= self.pushed.len(), "rolled back beyond the beginning");
        self.pushed.truncate(self.pushed.len() - count);
        Ok(())
    }
}

struct Setup {
    plan: GenerationPlan,
    vocab_len: usize,
    prompt: Vec<TokenId>,
    constrained: bool,
    target: Box<dyn Fn() -> ScriptedModel>,
}

impl Setup {
    fn new(vocab_len: usize, options: GenerationOptions, constrained: bool) -> Self {
        let defaults = GenerationOptions::default();
        let context = PlanContext { vocab_len, tokens_left: 4000, stop_tokens: &[], defaults: &defaults, seed: 0 };
        Self {
            plan: options.plan(&context).unwrap(),
            vocab_len,
            prompt: vec![1, 2, 0, 1, 2],
            constrained,
            target: Box::new(move || ScriptedModel::new(vocab_len, logits(7, 3.0))),
        }
    }

    fn drafters(&self) -> Vec<(&'static str, Box<dyn Drafter>)> {
        let vocab_len = self.vocab_len;
        let lookup = || PromptLookup::new(2, 4, 256);
        // Agrees with the target at about two thirds of the places.
        let near = move |width: usize| {
            let (same, other) = (logits(7, 3.0), logits(9, 3.0));
            ScriptedModel::new(
                width,
                move |tokens, row| {
                    if tokens.len() % 3 == 0 { other(tokens, row) } else { same(tokens, row) }
                },
            )
        };
        let trimmed = {
            let same = logits(7, 3.0);
            let ids: Vec<TokenId> = (0..vocab_len as TokenId).rev().filter(|id| id % 4 != 1).collect();
            let width = ids.len() + 3;
            let known = ids.clone();
            let model = ScriptedModel::new(width, move |tokens, row| {
                let mut full = vec![0.0; vocab_len];
                same(tokens, &mut full);
                known.iter().zip(row.iter_mut()).for_each(|(&id, logit)| *logit = full[id as usize]);
                row[known.len()..].fill(99.0); // Padding must never be drafted.
            });
            ModelDrafter::with_ids(model, ids, vocab_len).unwrap()
        };
        let wrong = ScriptedDrafter::new(move |context| {
            (0..16).map(|i| (context.len() * 5 + i * 3) as TokenId % vocab_len as TokenId).collect()
        });
        vec![
            ("model", Box::new(ModelDrafter::new(near(vocab_len + 5), vocab_len))),
            ("trimmed", Box::new(trimmed)),
            ("lookup", Box::new(lookup())),
            ("combined", Box::new(CombinedDrafter::new(lookup(), ModelDrafter::new(near(vocab_len), vocab_len), 3))),
            ("wrong", Box::new(wrong)),
        ]
    }

    /// `len` tokens by rounds of `draft_len(round)` drafted tokens, and how many drafted ones were accepted.
    fn generate(
        &self,
        seed: u64,
        len: usize,
        mut drafter: Option<&mut dyn Drafter>,
        draft_len: impl Fn(usize) -> usize,
    ) -> (Vec<TokenId>, usize) {
        let mut plan = self.plan.clone();
        plan.seed = seed;
        let mut target = (self.target)();
        let mut verifier = Verifier::new(&plan, self.vocab_len);
        let mut proposal = Proposal::new(self.vocab_len, 16);
        let mut history = History::new(self.vocab_len, 512);
        let mut constraint = Thirds::default();
        history.extend(&self.prompt);
        history.begin_output();
        target.score(&self.prompt[..self.prompt.len() - 1]).unwrap();
        if let Some(drafter) = &mut drafter {
            drafter.truncate(0).unwrap();
        }
        let mut kept = 0;
        for round in 0.. {
            if history.output().len() >= len {
                break;
            }
            let confirmed = history.tokens().to_vec();
            proposal.clear();
            if let Some(drafter) = &mut drafter {
                let limit = draft_len(round);
                let rules = self.constrained.then_some(&mut constraint as &mut dyn TokenMaskSource);
                let mut sink = verifier.sink(&mut proposal, &mut history, rules, limit, &EarlyStop::NEVER);
                drafter.propose(&confirmed, limit, &mut sink).unwrap();
                assert!(proposal.len() <= limit);
            }
            let logits = target.score(&history.tokens()[confirmed.len() - 1..]).unwrap();
            let rules = self.constrained.then_some(&mut constraint as &mut dyn TokenMaskSource);
            let acceptance = verifier.verify(&proposal, logits, &mut history, rules).unwrap();
            kept += acceptance.accepted;
            assert_eq!(history.len(), confirmed.len() + acceptance.accepted);
            history.push(acceptance.next);
            if self.constrained {
                constraint.push(acceptance.next).unwrap();
                assert_eq!(constraint.pushed, history.output());
            }
            target.truncate(history.len() - 1).unwrap();
            if let Some(drafter) = &mut drafter {
                drafter.truncate(history.len() - 1).unwrap();
            }
        }
        (history.output()[..len].to_vec(), kept)
    }
}

fn penalised() -> GenerationOptions {
    GenerationOptions {
        repetition_penalty: Some(1.2),
        frequency_penalty: Some(0.1),
        presence_penalty: Some(0.2),
        logit_bias: vec![(3, 0.5), (0, -1.0)],
        ..GenerationOptions::default()
    }
}

#[test]
fn greedy_text_is_the_targets_own_with_every_drafter_and_length() {
    let options = [GenerationOptions::default(), penalised()];
    let mut accepted: HashMap<&str, usize> = HashMap::new();
    for (options, constrained) in options.into_iter().flat_map(|o| [(o.clone(), false), (o, true)]) {
        let setup = Setup::new(70, options, constrained);
        let (plain, _) = setup.generate(0, 120, None, |_| 0);
        for (name, mut drafter) in setup.drafters() {
            for draft_len in 1..=16 {
                let (text, kept) = setup.generate(0, 120, Some(&mut *drafter), |_| draft_len);
                assert_eq!(text, plain, "{name}, {draft_len} drafted");
                *accepted.entry(name).or_default() += kept;
            }
            let (text, _) = setup.generate(0, 120, Some(&mut *drafter), |round| round * 7 % 17);
            assert_eq!(text, plain, "{name}, changing lengths");
        }
    }
    accepted.remove("wrong");
    assert!(accepted.values().all(|&kept| kept > 10), "accepted by drafter: {accepted:?}");
}

#[test]
fn seed_coupled_text_is_that_of_plain_sampling_with_every_drafter() {
    for constrained in [false, true] {
        let options = GenerationOptions {
            temperature: Some(0.8),
            top_p: Some(0.95),
            verification: Some(Verification::SeedCoupled),
            ..penalised()
        };
        let setup = Setup::new(40, options, constrained);
        for seed in 0..12 {
            let (plain, _) = setup.generate(seed, 60, None, |_| 0);
            for (name, mut drafter) in setup.drafters() {
                let (text, _) = setup.generate(seed, 60, Some(&mut *drafter), |round| (round + seed as usize) % 9);
                assert_eq!(text, plain, "{name}, seed {seed}");
            }
        }
    }
}

#[test]
fn a_seed_gives_the_same_text_again_and_another_seed_another() {
    let options = GenerationOptions { temperature: Some(1.0), ..GenerationOptions::default() };
    let setup = Setup::new(40, options, false);
    let mut drafters = setup.drafters();
    let mut run = |seed| setup.generate(seed, 50, Some(&mut *drafters[0].1), |_| 5).0;
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

/// Every text of `len` tokens with its exact probability, by the warper alone.
fn enumerate(setup: &Setup, len: usize) -> HashMap<Vec<TokenId>, f64> {
    let mut warper = Warper::new(&setup.plan.sampling, setup.vocab_len);
    let mut texts = HashMap::from([(Vec::new(), 1.0)]);
    for _ in 0..len {
        let mut longer = HashMap::new();
        for (text, chance) in texts {
            let mut history = History::new(setup.vocab_len, 64);
            history.extend(&setup.prompt);
            history.begin_output();
            history.extend(&text);
            let mut constraint = Thirds { pushed: text.clone(), ..Thirds::default() };
            let mask = if setup.constrained { constraint.mask().unwrap() } else { None };
            let mut model = (setup.target)();
            let mut out = Distribution::new(setup.vocab_len);
            warper.warp(model.score(history.tokens()).unwrap().last(), &history, mask, &mut out).unwrap();
            for token in (0..setup.vocab_len as TokenId).filter(|&token| out.prob(token) > 0.0) {
                longer.insert([&text[..], &[token]].concat(), chance * out.prob(token));
            }
        }
        texts = longer;
    }
    texts
}

#[test]
fn sampled_texts_have_the_targets_distribution_with_every_drafter() {
    const SEEDS: u64 = 6_000;
    let rules = [
        Verification::Token,
        Verification::Block,
        Verification::SeedCoupled,
        Verification::Lenient(Lenience::Exponential(1.0)),
    ];
    for (i, verification) in rules.into_iter().enumerate() {
        let options = GenerationOptions {
            temperature: Some(1.3),
            top_k: (i == 1).then_some(4),
            top_p: (i == 0).then_some(0.9),
            verification: Some(verification),
            draft_length: Some(DraftLength::Fixed(3)),
            ..penalised()
        };
        let setup = Setup::new(6, options, i % 2 == 1);
        let expected = enumerate(&setup, 3);
        for (name, mut drafter) in setup.drafters() {
            let mut counts: HashMap<Vec<TokenId>, f64> = HashMap::new();
            for seed in 0..SEEDS {
                let (text, _) = setup.generate(seed, 3, Some(&mut *drafter), |_| 3);
                *counts.entry(text).or_default() += 1.0;
            }
            // Rare texts share a bin; an impossible one fails at once.
            let (mut chi2, mut bins, mut rare) = (0.0, 0.0, (0.0, 0.0));
            for text in counts.keys() {
                assert!(expected.contains_key(text), "{name}, {verification:?}: {text:?} is impossible");
            }
            for (text, chance) in &expected {
                let (mean, seen) = (chance * SEEDS as f64, counts.get(text).copied().unwrap_or(0.0));
                if mean < 8.0 {
                    rare = (rare.0 + mean, rare.1 + seen);
                } else {
                    chi2 += (seen - mean) * (seen - mean) / mean;
                    bins += 1.0;
                }
            }
            chi2 += if rare.0 > 0.0 { (rare.1 - rare.0) * (rare.1 - rare.0) / rare.0 } else { 0.0 };
            let bound = bins + 5.0 * (2.0_f64 * bins).sqrt() + 12.0;
            assert!(bins > 20.0 && chi2 < bound, "{name}, {verification:?}: chi-square {chi2} over {bins} bins");
        }
    }
}

#[test]
fn unusable_logits_name_the_model_and_the_row_and_leave_everything_at_the_anchor() {
    let mut setup = Setup::new(10, GenerationOptions::default(), true);
    setup.target = Box::new(|| {
        ScriptedModel::new(10, |tokens, row| {
            row[tokens.len() % 10] = 1.0;
            row[2] = if tokens.len() == 7 { f32::NAN } else { row[2] };
        })
    });
    let mut verifier = Verifier::new(&setup.plan, 10);
    let (mut proposal, mut history) = (Proposal::new(10, 4), History::new(10, 64));
    let mut constraint = Thirds::default();
    history.extend(&setup.prompt);
    history.begin_output();
    let mut sink = verifier.sink(&mut proposal, &mut history, Some(&mut constraint), 4, &EarlyStop::NEVER);
    ScriptedDrafter::new(|_| vec![5, 6, 6]).propose(&setup.prompt, 4, &mut sink).unwrap();
    assert_eq!((proposal.tokens(), history.output()), (&[5, 6, 6][..], &[5, 6, 6][..]));

    let mut target = (setup.target)();
    target.score(&setup.prompt[..4]).unwrap();
    let logits = target.score(&[2, 5, 6, 6]).unwrap();
    let error = verifier.verify(&proposal, logits, &mut history, Some(&mut constraint)).unwrap_err();
    assert!(matches!(error, Error::InvalidLogits { model: "target", row: 2, .. }), "{error}");
    assert_eq!((history.tokens(), &constraint.pushed[..]), (&setup.prompt[..], &[][..]));
}

#[test]
fn the_sink_ends_a_draft_where_it_should() {
    let vocab_len = 10;
    let defaults = GenerationOptions::default();
    let context = PlanContext { vocab_len, tokens_left: 99, stop_tokens: &[4], defaults: &defaults, seed: 0 };
    let plan = GenerationOptions::default().plan(&context).unwrap();
    let mut verifier = Verifier::new(&plan, vocab_len);
    let (mut proposal, mut history) = (Proposal::new(vocab_len, 8), History::new(vocab_len, 64));
    let mut draft = |tokens: &'static [TokenId], constrained: bool| {
        history.truncate(0);
        history.extend(&[1, 2]);
        history.begin_output();
        let mut constraint = Thirds::default();
        let rules = constrained.then_some(&mut constraint as &mut dyn TokenMaskSource);
        let mut sink = verifier.sink(&mut proposal, &mut history, rules, 6, &EarlyStop::NEVER);
        ScriptedDrafter::new(|_| tokens.to_vec()).propose(&[1, 2], 6, &mut sink).unwrap();
        proposal.tokens().to_vec()
    };
    assert_eq!(draft(&[5, 6, 7, 8, 9, 0, 1, 2], false), [5, 6, 7, 8, 9, 0]);
    assert_eq!(draft(&[5, 4, 6], false), [5, 4], "after a stop token");
    assert_eq!(draft(&[5, 99, 6], false), [5], "before a token that does not exist");
    assert_eq!(draft(&[5, 2, 6], true), [5], "before a token that the constraint refuses");
}
