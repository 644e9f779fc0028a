//! What is left of the target's distribution after a draft had its chance.

use crate::{Distribution, Lenience, TokenId};

/// The distribution q that a token was drafted from.
#[derive(Clone, Copy, Debug)]
pub enum Draft<'a, F = f32> {
    /// None was drafted: q is 0 everywhere.
    Nothing,
    /// A token without an alternative: q is 1 for it and 0 elsewhere.
    Certain(TokenId),
    /// The warped distribution that was sampled.
    Sampled(&'a Distribution<F>),
}

impl<F: Copy + Into<f64>> Draft<'_, F> {
    /// q of one token.
    pub fn prob(&self, token: TokenId) -> f64 {
        match *self {
            Self::Nothing => 0.0,
            Self::Certain(certain) => f64::from(certain == token),
            Self::Sampled(row) => row.prob(token),
        }
    }
}

/// What a rule makes of a probability p of the target before it compares with q.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Relaxation {
    /// p: token-level verification.
    Exact,
    /// b·p with b in [0, 1]: block verification.
    Scaled(f64),
    /// f(p, ε) ≥ p: lenient verification.
    Lenient(Lenience),
}

impl Relaxation {
    /// f(p).
    pub fn apply(self, p: f64) -> f64 {
        match self {
            Self::Exact => p,
            Self::Scaled(b) => b * p,
            Self::Lenient(Lenience::Linear(epsilon)) => p / epsilon,
            Self::Lenient(Lenience::Square(epsilon)) => p / (epsilon * epsilon),
            Self::Lenient(Lenience::Exponential(epsilon)) => p.powf(epsilon),
        }
    }

    /// Chance of keeping a token drafted with probability `q` > 0: min(1, f(p)/q).
    pub fn keep_chance(self, p: f64, q: f64) -> f64 {
        (self.apply(p) / q).min(1.0)
    }
}

/// norm(max(f(p) − q, 0)), or p itself where rounding leaves nothing of it.
#[derive(Clone, Copy, Debug)]
pub struct Residual<'a, F = f32> {
    /// p.
    pub target: &'a Distribution<F>,
    /// q.
    pub draft: Draft<'a, F>,
    /// f.
    pub relaxation: Relaxation,
}

/// Tokens that are summed at once while looking for a sample.
const BLOCK: usize = 128;

impl<F: Copy + Into<f64>> Residual<'_, F> {
    /// Σ max(f(p) − q, 0), in f64.
    pub fn mass(&self) -> f64 {
        match self.target.support() {
            Some(support) => support.iter().map(|&token| self.weight(token)).sum(),
            None => (0..self.blocks()).map(|block| self.block_mass(block)).sum(),
        }
    }

    /// The probability of one token.
    pub fn prob(&self, token: TokenId) -> f64 {
        let mass = self.mass();
        if mass > 0.0 { self.weight(token) / mass } else { self.target.prob(token) }
    }

    /// The token at share `u` in [0, 1) of the cumulated probability.
    pub fn sample(&self, u: f64) -> TokenId {
        let mass = self.mass();
        if mass > 0.0 { self.sample_at(u * mass) } else { self.target.sample(u) }
    }

    /// max(f(p) − q, 0).
    fn weight(&self, token: TokenId) -> f64 {
        excess(self.relaxation.apply(self.target.prob(token)), self.draft.prob(token))
    }

    /// The token where the cumulated weight passes `left`. Rounding may leave a crumb at the end: it falls to the
    /// last token with a weight.
    fn sample_at(&self, mut left: f64) -> TokenId {
        if let Some(support) = self.target.support() {
            return self.sample_of(support.iter().copied(), left).unwrap_or(0);
        }
        let mut last = 0;
        for block in 0..self.blocks() {
            let mass = self.block_mass(block);
            if mass > 0.0 {
                last = block;
                if left < mass {
                    break;
                }
                left -= mass;
            }
        }
        let first = last * BLOCK;
        let end = (first + BLOCK).min(self.target.probs().len());
        self.sample_of(first as TokenId..end as TokenId, left).unwrap_or(0)
    }

    fn sample_of(&self, tokens: impl Iterator<Item = TokenId>, mut left: f64) -> Option<TokenId> {
        let mut last = None;
        for token in tokens {
            let weight = self.weight(token);
            if weight > 0.0 {
                last = Some(token);
                left -= weight;
                if left < 0.0 {
                    break;
                }
            }
        }
        last
    }

    fn blocks(&self) -> usize {
        self.target.probs().len().div_ceil(BLOCK)
    }

    fn block_mass(&self, block: usize) -> f64 {
        let first = block * BLOCK;
        let p = &self.target.probs()[first..(first + BLOCK).min(self.target.probs().len())];
        match (self.draft, self.relaxation) {
            (Draft::Sampled(q), relaxation) if q.probs().len() >= first + p.len() => {
                let q = &q.probs()[first..first + p.len()];
                match relaxation {
                    Relaxation::Exact => sum_pairs(p, q, excess),
                    Relaxation::Scaled(b) => sum_pairs(p, q, |p, q| excess(b * p, q)),
                    Relaxation::Lenient(_) => sum_pairs(p, q, |p, q| excess(relaxation.apply(p), q)),
                }
            }
            (Draft::Nothing, Relaxation::Exact) => sum_pairs(p, p, |p, _| p),
            _ => (first..first + p.len()).map(|token| self.weight(token as TokenId)).sum(),
        }
    }
}

impl<F: Copy + Into<f64>> Distribution<F> {
    /// The token at share `u` in [0, 1) of the cumulated probability.
    pub fn sample(&self, u: f64) -> TokenId {
        Residual { target: self, draft: Draft::Nothing, relaxation: Relaxation::Exact }.sample_at(u)
    }
}

/// max(p − q, 0), without a branch.
fn excess(p: f64, q: f64) -> f64 {
    let rest = p - q;
    if rest > 0.0 { rest } else { 0.0 }
}

/// Σ `weight(p, q)` over two slices of one length, in lanes that the compiler vectorises.
fn sum_pairs<F: Copy + Into<f64>>(p: &[F], q: &[F], weight: impl Fn(f64, f64) -> f64) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [0.0; LANES];
    let (mut ps, mut qs) = (p.chunks_exact(LANES), q.chunks_exact(LANES));
    for (p, q) in (&mut ps).zip(&mut qs) {
        for lane in 0..LANES {
            lanes[lane] += weight(p[lane].into(), q[lane].into());
        }
    }
    let rest = ps.remainder().iter().zip(qs.remainder());
    let rest: f64 = rest.map(|(&p, &q)| weight(p.into(), q.into())).sum();
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(len: usize, seed: usize, listed: bool) -> Distribution {
        let weights: Vec<(f32, TokenId)> =
            (0..len).map(|i| ((((i + seed) * 7919) % 101) as f32 + 1.0, i as TokenId)).collect();
        let mut row = Distribution::new(len);
        let total = weights.iter().map(|w| f64::from(w.0)).sum();
        row.set_weights(weights.into_iter(), total);
        if listed { row } else { Distribution::from_probs(row.probs().to_vec()) }
    }

    #[test]
    fn every_way_to_sum_and_sample_agrees_with_the_definition() {
        let relaxations = [
            Relaxation::Exact,
            Relaxation::Scaled(0.6),
            Relaxation::Lenient(Lenience::Linear(0.5)),
            Relaxation::Lenient(Lenience::Exponential(0.5)),
        ];
        for len in [1, 7, 128, 129, 300] {
            for relaxation in relaxations {
                for listed in [false, true] {
                    let (target, q) = (row(len, 3, listed), row(len, 50, false));
                    for draft in [Draft::Nothing, Draft::Certain(len as TokenId / 2), Draft::Sampled(&q)] {
                        check(&Residual { target: &target, draft, relaxation });
                    }
                }
            }
        }
    }

    fn check(residual: &Residual<'_>) {
        let vocab = 0..residual.target.probs().len() as TokenId;
        let mass: f64 = vocab.clone().map(|v| residual.weight(v)).sum();
        assert!((residual.mass() - mass).abs() < 1e-12);
        // Walk the cumulated distribution: the middle of every token's share must give that token.
        let mut below = 0.0;
        for token in vocab {
            let p = residual.prob(token);
            if p > 1e-9 {
                assert_eq!(residual.sample(below + p / 2.0), token);
            }
            below += p;
        }
        assert!((below - 1.0).abs() < 1e-6);
    }

    #[test]
    fn sampling_inverts_the_cumulated_probability() {
        let row = Distribution::from_probs(vec![0.0, 0.25, 0.0, 0.5, 0.25, 0.0]);
        let drawn: Vec<_> = [0.0, 0.24, 0.25, 0.74, 0.76, 0.999_999_999].iter().map(|&u| row.sample(u)).collect();
        assert_eq!(drawn, [1, 1, 3, 3, 4, 4]);
    }

    #[test]
    fn an_empty_residual_falls_back_to_the_target() {
        let target = row(50, 1, false);
        let residual = Residual { target: &target, draft: Draft::Sampled(&target), relaxation: Relaxation::Exact };
        assert_eq!(residual.mass(), 0.0);
        assert_eq!(residual.prob(3), target.prob(3));
        assert_eq!(residual.sample(0.3), target.sample(0.3));
    }
}
