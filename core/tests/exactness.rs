//! Verification rules against exact enumeration: every draft, every acceptance, every continuation.

mod common;

use common::{Pair, Texts, Warp, total_variation};
use drafthorse::{
    Acceptance, BlockStep, Distribution, Draft, Lenience, Proposal, Purpose, Random, Relaxation, Residual, Result,
    Rule, TargetRows, TokenId, accept,
};

const TOLERANCE: f64 = 1e-12;

/// 240 pairs: every warp with every kind of drafter.
fn pairs() -> impl Iterator<Item = Pair> {
    let warps = [(1.0, 9, 1.0), (0.6, 9, 1.0), (1.5, 3, 1.0), (1.0, 9, 0.7), (0.8, 3, 0.8)];
    let kinds = [(5, 0, 0.0), (5, 2, 0.0), (5, 0, 0.45), (3, 0, 0.0), (4, 3, 0.4), (5, 1, 0.0)];
    (0..240).map(move |i| {
        let (temperature, top_k, top_p) = warps[i % warps.len()];
        let (drafter_vocab_len, certain_every, stop_below) = kinds[i / warps.len() % kinds.len()];
        let target_warp = Warp { temperature, top_k, top_p };
        // Every third drafter is warped otherwise than the target.
        let drafter_warp = if i % 3 == 0 { Warp { temperature: 1.2, top_k: 4, top_p: 1.0 } } else { target_warp };
        Pair {
            seed: i as u64,
            vocab_len: 5,
            draft_len: 1 + i / 30 % 3,
            target_warp,
            drafter_warp,
            drafter_vocab_len,
            certain_every,
            stop_below,
        }
    })
}

#[test]
fn token_and_block_verification_are_exact_and_block_is_never_shorter() {
    let (mut longer, mut worst) = (0, 0.0_f64);
    for pair in pairs() {
        let plain = pair.plain();
        let (token, token_accepted) = pair.round(Rule::Token);
        let (block, block_accepted) = pair.round(Rule::Block);
        worst = worst.max(total_variation(&token, &plain)).max(total_variation(&block, &plain));
        assert!(worst < TOLERANCE, "total variation {worst} with {pair:?}");
        assert!(block_accepted >= token_accepted - TOLERANCE, "{block_accepted} < {token_accepted} with {pair:?}");
        longer += usize::from(block_accepted > token_accepted + 1e-6);
    }
    assert!(longer > 60, "block verification was longer in only {longer} of 240 pairs");
}

/// What the definition says of a lenient round, in plain numbers: of every drafted token min(q, f(p)) stays, and the rest
/// is replaced by norm(max(f(p) − q, 0)). `f` makes f(p) of p.
fn lenient(pair: &Pair, f: fn(f64) -> f64, draft: &mut Vec<TokenId>, chance: f64, texts: &mut Texts) {
    let (p, q) = (pair.target(draft), pair.drafter(draft));
    let certain = pair.is_certain(draft);
    if draft.len() == pair.draft_len || (!certain && pair.stops(&[], draft, &q)) {
        return pair.finish(draft, chance, texts);
    }
    let (mut rejected, mut residual) = (1.0, Vec::new());
    for token in 0..pair.vocab_len as TokenId {
        let drawn = if certain { f64::from(token == q.best()) } else { q.prob(token) };
        let kept = f(p.prob(token)).min(drawn);
        residual.push(f(p.prob(token)) - kept);
        rejected -= kept;
        if kept > 0.0 {
            draft.push(token);
            lenient(pair, f, draft, chance * kept, texts);
            draft.pop();
        }
    }
    let mass: f64 = residual.iter().sum();
    for (token, weight) in (0..).zip(residual).filter(|_| rejected > 1e-15) {
        draft.push(token);
        pair.finish(draft, chance * rejected * weight / mass, texts);
        draft.pop();
    }
}

#[test]
fn lenient_verification_is_exact_at_one_and_as_defined_below() {
    type Kind = (fn(f64) -> Lenience, fn(f64) -> f64);
    let kinds: [Kind; 3] =
        [(Lenience::Linear, |p| p / 0.5), (Lenience::Square, |p| p / 0.25), (Lenience::Exponential, |p| p.sqrt())];
    for pair in pairs() {
        let plain = pair.plain();
        let (_, token_accepted) = pair.round(Rule::Token);
        for (lenience, f) in kinds {
            let (exact, _) = pair.round(Rule::Lenient(lenience(1.0)));
            assert!(total_variation(&exact, &plain) < TOLERANCE);
            let (lossy, accepted) = pair.round(Rule::Lenient(lenience(0.5)));
            let mut defined = Texts::new();
            lenient(&pair, f, &mut Vec::new(), 1.0, &mut defined);
            let off = total_variation(&lossy, &defined);
            assert!(off < TOLERANCE, "total variation {off} with {pair:?}");
            assert!(accepted >= token_accepted - TOLERANCE, "lenience accepted less with {pair:?}");
            // The first token's chance never exceeds f(p).
            let p = pair.target(&[]);
            for token in 0..pair.vocab_len as TokenId {
                let first: f64 = lossy.iter().filter(|(text, _)| text[0] == token).map(|(_, chance)| chance).sum();
                let bound = Relaxation::Lenient(lenience(0.5)).apply(p.prob(token));
                assert!(first <= bound + TOLERANCE, "{first} > {bound} with {pair:?}");
            }
        }
    }
}

/// The block verification paper's example: accepted tokens of two, p = (1/3, 2/3), q = (2/3, 1/3).
#[test]
fn the_toy_of_the_block_paper_gives_eleven_and_ten_ninths() {
    let (p, q) = ([1.0 / 3.0, 2.0 / 3.0], [2.0 / 3.0, 1.0 / 3.0]);
    let (mut token, mut block) = (0.0, 0.0);
    for (first, second) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let chance = q[first] * q[second];
        let keep = |x: usize| Relaxation::Exact.keep_chance(p[x], q[x]);
        token += chance * (keep(first) + keep(first) * keep(second));
        let one = BlockStep::START.advance(p[first], q[first]);
        let two = one.advance(p[second], q[second]);
        let (target, draft) = (Distribution::from_probs(p.to_vec()), Distribution::from_probs(q.to_vec()));
        let mass = Residual { target: &target, draft: Draft::Sampled(&draft), relaxation: one.relaxation() }.mass();
        block += chance * (2.0 * two.chance() + (1.0 - two.chance()) * one.chance_inside(mass));
    }
    assert!((token - 10.0 / 9.0).abs() < TOLERANCE && (block - 11.0 / 9.0).abs() < TOLERANCE, "{token} {block}");
}

/// The method must see a bias where there is one: the two wrong ways that the specification works out.
#[test]
fn biased_rules_are_caught() {
    // An argmax draft judged by the soft q instead of the one-hot one.
    let (p, q) = ([0.5, 0.3, 0.2], [0.1, 0.6, 0.3]);
    let target = Distribution::from_probs(p.to_vec());
    let drafter = Distribution::from_probs(q.to_vec());
    let outcome = |draft: Draft<'_, f64>| -> Vec<f64> {
        let keep = Relaxation::Exact.keep_chance(target.prob(1), draft.prob(1));
        let residual = Residual { target: &target, draft, relaxation: Relaxation::Exact };
        (0..3).map(|v| keep * f64::from(v == 1) + (1.0 - keep) * residual.prob(v)).collect()
    };
    let distance = |out: &[f64]| 0.5 * out.iter().zip(&p).map(|(a, b)| (a - b).abs()).sum::<f64>();
    assert!(distance(&outcome(Draft::Certain(1))) < TOLERANCE);
    assert!(distance(&outcome(Draft::Sampled(&drafter))) > 0.1);

    // A sampled token thrown away because its q is low, and the target sampled plainly instead.
    let (p, q) = ([0.5, 0.5], [0.8, 0.2]);
    let keep = Relaxation::Exact.keep_chance(p[0], q[0]);
    let residual_of_the_other = 1.0; // max(p − q, 0) is on token 1 alone.
    let first = q[0] * keep + q[1] * p[0];
    let second = q[0] * (1.0 - keep) * residual_of_the_other + q[1] * p[1];
    assert!((first - 0.6).abs() < TOLERANCE && (second - 0.4).abs() < TOLERANCE, "{first} {second}");
}

/// Serves a pair's distributions to `accept`.
struct Rows<'a> {
    pair: &'a Pair,
    prefix: &'a [TokenId],
    draft: Vec<TokenId>,
    row: Distribution<f64>,
}

impl TargetRows<f64> for Rows<'_> {
    fn row(&mut self, index: usize) -> Result<&Distribution<f64>> {
        self.row = self.pair.target(&[self.prefix, &self.draft[..index]].concat());
        Ok(&self.row)
    }

    fn best(&mut self, index: usize) -> Result<TokenId> {
        Ok(self.row(index)?.best())
    }
}

/// One round through the executing function. `draft_len` tokens at most.
fn run_round(pair: &Pair, rule: Rule, text: &mut Vec<TokenId>, random: &Random, draft_len: usize) -> Acceptance {
    let position = text.len();
    let (mut tokens, mut certain, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    while tokens.len() < draft_len {
        let prefix = [&text[..], &tokens[..]].concat();
        let q = pair.drafter(&prefix);
        let is_certain = pair.is_certain(&prefix);
        if !is_certain && pair.stops(text, &tokens, &q) {
            break;
        }
        tokens.push(match rule {
            _ if is_certain => q.best(),
            Rule::Greedy | Rule::GreedyLenient(_) => q.best(),
            Rule::SeedCoupled => q.pick(random.noise(prefix.len())),
            _ => q.sample(random.uniform(position, Purpose::Draft, tokens.len())),
        });
        certain.push(is_certain || matches!(rule, Rule::Greedy));
        rows.push(q);
    }
    let proposal = Proposal::from_rows(&tokens, &certain, rows);
    let row = Distribution::from_probs(Vec::new());
    let mut rows = Rows { pair, prefix: text, draft: tokens.clone(), row };
    let acceptance = accept(rule, &proposal, &mut rows, random, position).unwrap();
    text.extend(&tokens[..acceptance.accepted]);
    text.push(acceptance.next);
    acceptance
}

/// Texts of `len` tokens generated over many seeds, against the exact chances: chi-square per degree of freedom.
fn chi_square(pair: &Pair, len: usize, seeds: u64, generate: impl Fn(&Random) -> Vec<TokenId>) -> (f64, f64) {
    let mut counts = std::collections::HashMap::new();
    for seed in 0..seeds {
        *counts.entry(generate(&Random::new(seed))[..len].to_vec()).or_insert(0_u64) += 1;
    }
    let expected: Texts = Pair { draft_len: len - 1, ..*pair }.plain();
    assert!(counts.keys().all(|text| expected.contains_key(text)), "an impossible text came out");
    let (mut chi2, mut bins, mut rare) = (0.0, 0.0, (0.0, 0.0));
    for (text, chance) in expected {
        let (mean, seen) = (chance * seeds as f64, *counts.get(&text).unwrap_or(&0) as f64);
        if mean < 8.0 {
            rare = (rare.0 + mean, rare.1 + seen);
        } else {
            chi2 += (seen - mean).powi(2) / mean;
            bins += 1.0;
        }
    }
    if rare.0 >= 8.0 {
        chi2 += (rare.1 - rare.0).powi(2) / rare.0;
        bins += 1.0;
    }
    (chi2, bins - 1.0)
}

fn sampled_pair(seed: u64) -> Pair {
    let warp = Warp { temperature: 0.9, top_k: 9, top_p: 1.0 };
    Pair {
        seed,
        vocab_len: 4,
        draft_len: 3,
        target_warp: warp,
        drafter_warp: Warp { temperature: 1.1, ..warp },
        drafter_vocab_len: 4,
        certain_every: 5,
        stop_below: 0.35,
    }
}

/// Chi-square beyond this is a chance of less than one in a million.
fn bound(freedom: f64) -> f64 {
    freedom + 5.0 * (2.0 * freedom).sqrt() + 12.0
}

#[test]
fn the_executing_functions_draw_what_the_chances_say() {
    for (seed, rule) in (1..).zip([Rule::Token, Rule::Block, Rule::SeedCoupled, Rule::Lenient(Lenience::Linear(1.0))]) {
        let pair = sampled_pair(seed);
        let (chi2, freedom) = chi_square(&pair, 4, 60_000, |random| {
            let mut text = Vec::new();
            while text.len() < 4 {
                run_round(&pair, rule, &mut text, random, 3);
            }
            text
        });
        assert!(chi2 < bound(freedom), "{rule:?}: chi-square {chi2} with {freedom} degrees of freedom");
    }
}

/// Why uniforms are addressed by anchor and offset: block verification looks at the numbers of positions that it
/// rejects, so drawing the same numbers there again in the next round is biased.
#[test]
fn numbers_addressed_by_the_drafted_position_would_bias_block_verification() {
    let (p, q) = ([1.0 / 3.0, 2.0 / 3.0], [2.0 / 3.0, 1.0 / 3.0]);
    let generate = |random: &Random, by_anchor: bool| {
        let mut text: Vec<TokenId> = Vec::new();
        while text.len() < 3 {
            let anchor = text.len();
            let draw = |purpose, offset| match by_anchor {
                true => random.uniform(anchor, purpose, offset),
                false => random.uniform(anchor + offset, purpose, 0),
            };
            let (target, drafter) = (Distribution::from_probs(p.to_vec()), Distribution::from_probs(q.to_vec()));
            let draft = [0, 1].map(|offset| drafter.sample(draw(Purpose::Draft, offset)));
            let one = BlockStep::START.advance(p[draft[0] as usize], q[draft[0] as usize]);
            let two = one.advance(p[draft[1] as usize], q[draft[1] as usize]);
            let residual = |step: BlockStep| Residual {
                target: &target,
                draft: Draft::Sampled(&drafter),
                relaxation: step.relaxation(),
            };
            let (accepted, next) = if draw(Purpose::Accept, 1) < two.chance() {
                (2, target.sample(draw(Purpose::Next, 2)))
            } else if draw(Purpose::Accept, 0) < one.chance_inside(residual(one).mass()) {
                (1, residual(one).sample(draw(Purpose::Next, 1)))
            } else {
                (0, residual(BlockStep::START).sample(draw(Purpose::Next, 0)))
            };
            text.extend(&draft[..accepted]);
            text.push(next);
        }
        text[..3].to_vec()
    };
    let share = |by_anchor: bool| {
        let mut second = 0.0;
        for seed in 0..100_000 {
            second += f64::from(generate(&Random::new(seed), by_anchor)[1] == 1);
        }
        second / 1e5
    };
    assert!((share(true) - 2.0 / 3.0).abs() < 0.008, "{}", share(true));
    assert!((share(false) - 2.0 / 3.0).abs() > 0.02, "{}", share(false));
}

/// Equal for every seed, which is more than equal chances; the noise behind them cannot be enumerated.
#[test]
fn seed_coupled_text_is_that_of_plain_sampling_whatever_is_drafted() {
    for pair in pairs() {
        let random = Random::new(pair.seed * 31 + 5);
        let mut plain = Vec::new();
        for position in 0..24 {
            plain.push(pair.target(&plain).pick(random.noise(position)));
        }
        for draft_len in [0, 1, 2, 5] {
            let mut text = Vec::new();
            while text.len() < 24 {
                // Draft lengths that change from round to round.
                let len = if draft_len == 5 { text.len() % 6 } else { draft_len };
                run_round(&pair, Rule::SeedCoupled, &mut text, &random, len);
            }
            assert_eq!(text[..24], plain[..], "{pair:?}");
        }
    }
}

#[test]
fn greedy_text_is_the_chain_of_the_likeliest_tokens() {
    let mut accepted = 0;
    for pair in pairs() {
        let mut plain = Vec::new();
        for _ in 0..16 {
            plain.push(pair.target(&plain).best());
        }
        let mut text = Vec::new();
        while text.len() < 16 {
            accepted += run_round(&pair, Rule::Greedy, &mut text, &Random::new(0), 3).accepted;
        }
        assert_eq!(text[..16], plain[..]);
    }
    assert!(accepted > 0, "nothing was ever accepted");
}

#[test]
fn greedy_leniency_keeps_what_is_nearly_best_and_nothing_at_one() {
    let pair = sampled_pair(9);
    let p = pair.target(&[]);
    for token in 0..4 {
        for (lenience, floor) in [
            (Lenience::Linear(0.5), 0.5 * p.prob_max()),
            (Lenience::Square(0.5), 0.25 * p.prob_max()),
            (Lenience::Exponential(0.5), p.prob_max().powi(2)),
            (Lenience::Linear(1.0), f64::INFINITY),
        ] {
            let proposal = Proposal::from_rows(&[token], &[true], vec![p.clone()]);
            let row = Distribution::from_probs(Vec::new());
            let mut rows = Rows { pair: &pair, prefix: &[], draft: vec![token], row };
            let acceptance = accept(Rule::GreedyLenient(lenience), &proposal, &mut rows, &Random::new(0), 0).unwrap();
            let kept = token == p.best() || p.prob(token) >= floor;
            assert_eq!(acceptance.accepted, usize::from(kept), "{lenience:?} token {token}");
            let after = if kept { vec![token] } else { vec![] };
            assert_eq!(acceptance.next, pair.target(&after).best());
        }
    }
}
