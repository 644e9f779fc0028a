//! Random pairs of models in f64, and every outcome of a round on them with its exact probability.

use std::collections::HashMap;

use drafthorse::{BlockStep, Distribution, Draft, Relaxation, Residual, Rule, TokenId};

/// How a pair of next-token distributions is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Warp {
    /// Divides the logits.
    pub(crate) temperature: f64,
    /// Tokens kept.
    pub(crate) top_k: usize,
    /// Share kept.
    pub(crate) top_p: f64,
}

/// A target and a drafter whose distributions depend on all tokens before, drawn from a seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) seed: u64,
    pub(crate) vocab_len: usize,
    pub(crate) draft_len: usize,
    pub(crate) target_warp: Warp,
    pub(crate) drafter_warp: Warp,
    /// The drafter knows only ids below this.
    pub(crate) drafter_vocab_len: usize,
    /// One position in this many is drafted by a drafter without doubt; 0: none.
    pub(crate) certain_every: u64,
    /// Drafting stops where the next distribution's largest probability is below this, and after a drafted token that
    /// was less likely than half of it.
    pub(crate) stop_below: f64,
}

fn hash(seed: u64, prefix: &[TokenId], salt: u64) -> u64 {
    let mut z = seed ^ salt.wrapping_mul(0xd6e8_feb8_6659_fd93);
    for &token in prefix {
        z = (z ^ (u64::from(token) + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z ^= z >> 29;
    }
    z = (z ^ (z >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    z ^ (z >> 32)
}

fn warp(mut logits: Vec<f64>, warp: Warp) -> Vec<f64> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let max = logits[order[0]];
    logits.iter_mut().for_each(|x| *x = ((*x - max) / warp.temperature).exp());
    order.iter().skip(warp.top_k).for_each(|&token| logits[token] = 0.0);
    let total: f64 = logits.iter().sum();
    let mut reached = 0.0;
    for &token in &order {
        let weight = logits[token];
        if reached >= warp.top_p * total {
            logits[token] = 0.0;
        }
        reached += weight;
    }
    let total: f64 = logits.iter().sum();
    logits.iter().map(|w| w / total).collect()
}

impl Pair {
    fn logits(&self, prefix: &[TokenId], salt: u64) -> Vec<f64> {
        (0..self.vocab_len as u64).map(|v| (hash(self.seed, prefix, salt * 1000 + v) >> 11) as f64 / 2e15).collect()
    }

    /// p after `prefix`.
    pub(crate) fn target(&self, prefix: &[TokenId]) -> Distribution<f64> {
        Distribution::from_probs(warp(self.logits(prefix, 1), self.target_warp))
    }

    /// q after `prefix`: the target's logits, disturbed, over the ids that the drafter knows.
    pub(crate) fn drafter(&self, prefix: &[TokenId]) -> Distribution<f64> {
        let other = self.logits(prefix, 2);
        let mut logits: Vec<f64> = self.logits(prefix, 1).iter().zip(other).map(|(a, b)| a + 0.7 * b).collect();
        logits[self.drafter_vocab_len..].fill(f64::NEG_INFINITY);
        Distribution::from_probs(warp(logits, self.drafter_warp))
    }

    /// True if the drafter has no doubt after `prefix`: it proposes the likeliest token, one-hot.
    pub(crate) fn is_certain(&self, prefix: &[TokenId]) -> bool {
        self.certain_every > 0 && hash(self.seed, prefix, 3).is_multiple_of(self.certain_every)
    }

    /// True if the drafter stops before it samples from `q`, the distribution after `prefix` and `draft`.
    pub(crate) fn stops(&self, prefix: &[TokenId], draft: &[TokenId], q: &Distribution<f64>) -> bool {
        let unlikely = draft.split_last().is_some_and(|(&last, before)| {
            let before = [prefix, before].concat();
            !self.is_certain(&before) && self.drafter(&before).prob(last) < 0.5 * self.stop_below
        });
        unlikely || q.prob_max() < self.stop_below
    }

    /// The exact probability of every text of `draft_len + 1` tokens that one round under `rule` begins and plain
    /// sampling finishes, and the expected number of accepted tokens.
    pub(crate) fn round(&self, rule: Rule) -> (Texts, f64) {
        let mut outcome = Outcome { pair: *self, rule, texts: HashMap::new(), accepted: 0.0 };
        outcome.draft(&mut Vec::new(), 1.0);
        (outcome.texts, outcome.accepted)
    }

    /// The same for plain sampling.
    pub(crate) fn plain(&self) -> Texts {
        let mut texts = HashMap::new();
        self.finish(&mut Vec::new(), 1.0, &mut texts);
        texts
    }

    /// Adds to `texts` every text that plain sampling makes of `text`, which has probability `chance`.
    pub(crate) fn finish(&self, text: &mut Vec<TokenId>, chance: f64, texts: &mut Texts) {
        if text.len() == self.draft_len + 1 {
            *texts.entry(text.clone()).or_default() += chance;
            return;
        }
        let p = self.target(text);
        for token in 0..self.vocab_len as TokenId {
            if p.prob(token) > 0.0 {
                text.push(token);
                self.finish(text, chance * p.prob(token), texts);
                text.pop();
            }
        }
    }
}

/// Text → probability.
pub(crate) type Texts = HashMap<Vec<TokenId>, f64>;

/// ½ Σ |a − b|.
pub(crate) fn total_variation(a: &Texts, b: &Texts) -> f64 {
    let only_b: f64 = b.iter().filter(|(text, _)| !a.contains_key(*text)).map(|(_, p)| p).sum();
    let rest: f64 = a.iter().map(|(text, p)| (p - b.get(text).unwrap_or(&0.0)).abs()).sum();
    0.5 * (only_b + rest)
}

struct Outcome {
    pair: Pair,
    rule: Rule,
    texts: Texts,
    accepted: f64,
}

impl Outcome {
    /// Walks every draft that begins with `draft`, which has probability `chance`.
    fn draft(&mut self, draft: &mut Vec<TokenId>, chance: f64) {
        let q = self.pair.drafter(draft);
        let certain = self.pair.is_certain(draft);
        if draft.len() == self.pair.draft_len || (!certain && self.pair.stops(&[], draft, &q)) {
            return self.verify(draft, chance);
        }
        for token in 0..self.pair.vocab_len as TokenId {
            let drawn = if certain { f64::from(token == q.best()) } else { q.prob(token) };
            if drawn > 0.0 {
                draft.push(token);
                self.draft(draft, chance * drawn);
                draft.pop();
            }
        }
    }

    /// Spreads a draft's probability over what verification makes of it.
    fn verify(&mut self, draft: &[TokenId], chance: f64) {
        let pair = self.pair;
        let p: Vec<_> = (0..=draft.len()).map(|i| pair.target(&draft[..i])).collect();
        let q: Vec<_> = (0..draft.len()).map(|i| pair.drafter(&draft[..i])).collect();
        let row = |i: usize| match pair.is_certain(&draft[..i]) {
            true => Draft::Certain(draft[i]),
            false => Draft::Sampled(&q[i]),
        };
        let chances = |i: usize| (p[i].prob(draft[i]), row(i).prob(draft[i]));
        // Per length: its chance, and how the residual after it is made.
        let mut lengths = Vec::new();
        match self.rule {
            Rule::Block => {
                let mut step = BlockStep::START;
                let mut heads = vec![(1.0, step)];
                for i in 0..draft.len() {
                    let (p_x, q_x) = chances(i);
                    step = step.advance(p_x, q_x);
                    let inside = |i: usize| Residual { target: &p[i], draft: row(i), relaxation: step.relaxation() };
                    let keep = match i + 1 == draft.len() {
                        true => step.chance(),
                        false => step.chance_inside(inside(i + 1).mass()),
                    };
                    heads.push((keep, step));
                }
                let mut longer_fail = 1.0;
                for (keep, step) in heads.into_iter().rev() {
                    lengths.push((longer_fail * keep, step.relaxation()));
                    longer_fail *= 1.0 - keep;
                }
                lengths.reverse();
            }
            Rule::Token | Rule::Lenient(_) => {
                let relaxation = if let Rule::Lenient(lenience) = self.rule {
                    Relaxation::Lenient(lenience)
                } else {
                    Relaxation::Exact
                };
                let mut reach = 1.0;
                for i in 0..draft.len() {
                    let (p_x, q_x) = chances(i);
                    let keep = relaxation.keep_chance(p_x, q_x);
                    lengths.push((reach * (1.0 - keep), relaxation));
                    reach *= keep;
                }
                lengths.push((reach, relaxation));
            }
            _ => unreachable!("these rules are not random given the draft"),
        }
        for (len, (share, relaxation)) in lengths.into_iter().enumerate() {
            self.accepted += chance * share * len as f64;
            for next in 0..pair.vocab_len as TokenId {
                let drawn = match len == draft.len() {
                    true => p[len].prob(next),
                    false => Residual { target: &p[len], draft: row(len), relaxation }.prob(next),
                };
                if chance * share * drawn > 0.0 {
                    let mut text = draft[..len].to_vec();
                    text.push(next);
                    pair.finish(&mut text, chance * share * drawn, &mut self.texts);
                }
            }
        }
    }
}
