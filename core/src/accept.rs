//! The verification rules: which drafted tokens stay, and what follows them.
//!
//! Pure functions of the proposal, the target's distributions and addressed random numbers. The chances that they
//! draw by are functions of their own ([`Relaxation::keep_chance`], [`BlockStep`], [`Residual`](crate::Residual)), so
//! that tests add up every outcome exactly.

use crate::residual::{Relaxation, Residual};
use crate::{Distribution, GenerationPlan, Lenience, Proposal, Purpose, Random, Result, TokenId, Verification};

/// What becomes of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// Drafted tokens that stay.
    pub accepted: usize,
    /// The token after them: a correction, or the bonus if all stay.
    pub next: TokenId,
}

/// A way to verify.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Keep what equals the target's likeliest token.
    Greedy,
    /// Keep what is nearly as likely as the target's likeliest token; **not lossless**.
    GreedyLenient(Lenience),
    /// Token by token (Leviathan et al., arXiv 2211.17192).
    Token,
    /// The block at once (arXiv 2403.10444).
    Block,
    /// Keep what the target draws with the same noise.
    SeedCoupled,
    /// Token by token against f(p, ε) (DistillSpec, arXiv 2310.08461); **not lossless**.
    Lenient(Lenience),
}

impl Rule {
    /// True if the output is the same whatever is drafted, so that a drafted token may be dropped for what it is.
    pub fn allows_pruning(self) -> bool {
        matches!(self, Self::Greedy | Self::SeedCoupled)
    }

    /// The rule that a plan asks for.
    pub fn of(plan: &GenerationPlan) -> Self {
        match (plan.verification, plan.sampling.is_greedy()) {
            (Verification::Lenient(lenience), true) => Self::GreedyLenient(lenience),
            (_, true) => Self::Greedy,
            (Verification::Lenient(lenience), false) => Self::Lenient(lenience),
            (Verification::Token, false) => Self::Token,
            (Verification::Block, false) => Self::Block,
            (Verification::SeedCoupled, false) => Self::SeedCoupled,
        }
    }

    /// True if the output has the target's own distribution.
    pub fn is_lossless(self) -> bool {
        match self {
            Self::GreedyLenient(lenience) | Self::Lenient(lenience) => lenience.epsilon() == 1.0,
            _ => true,
        }
    }
}

/// The target's distributions, made when they are asked for: rules ask in rising order and may come back once.
pub trait TargetRows<F> {
    /// The distribution after the anchor and the first `index` drafted tokens.
    ///
    /// # Errors
    /// `InvalidLogits` if there is none.
    fn row(&mut self, index: usize) -> Result<&Distribution<F>>;

    /// The likeliest token of row `index`, the lowest id among equals.
    ///
    /// # Errors
    /// `InvalidLogits` if there is none.
    fn best(&mut self, index: usize) -> Result<TokenId>;
}

/// Verifies `proposal` against the target's `proposal.len() + 1` rows. `position` is the place of the first drafted
/// token in the whole sequence.
///
/// # Errors
/// Those of `rows`.
pub fn accept<F: Copy + Into<f64>>(
    rule: Rule,
    proposal: &Proposal<F>,
    rows: &mut impl TargetRows<F>,
    random: &Random,
    position: usize,
) -> Result<Acceptance> {
    match rule {
        Rule::Greedy => accept_equal(proposal, |index| rows.best(index)),
        Rule::SeedCoupled => accept_equal(proposal, |index| Ok(rows.row(index)?.pick(random.noise(position + index)))),
        Rule::GreedyLenient(lenience) => accept_nearly_best(lenience, proposal, rows),
        Rule::Token => accept_stepwise(Relaxation::Exact, proposal, rows, random, position),
        Rule::Lenient(lenience) => accept_stepwise(Relaxation::Lenient(lenience), proposal, rows, random, position),
        Rule::Block => accept_block(proposal, rows, random, position),
    }
}

/// Keeps tokens while they equal the target's own `choice`.
fn accept_equal<F: Copy + Into<f64>>(
    proposal: &Proposal<F>,
    mut choice: impl FnMut(usize) -> Result<TokenId>,
) -> Result<Acceptance> {
    for (accepted, &token) in proposal.tokens().iter().enumerate() {
        let next = choice(accepted)?;
        if next != token {
            return Ok(Acceptance { accepted, next });
        }
    }
    Ok(Acceptance { accepted: proposal.len(), next: choice(proposal.len())? })
}

/// Keeps tokens while f(p, ε) reaches the largest p; `rows` hold the softmax at temperature 1. The form that
/// Leviathan et al. (section A.5) give for argmax decoding; ε = 1 keeps only the best.
fn accept_nearly_best<F: Copy + Into<f64>>(
    lenience: Lenience,
    proposal: &Proposal<F>,
    rows: &mut impl TargetRows<F>,
) -> Result<Acceptance> {
    for (accepted, &token) in proposal.tokens().iter().enumerate() {
        let row = rows.row(accepted)?;
        let next = row.best();
        if token != next && !is_nearly_best(lenience, row.prob(token), row.prob(next)) {
            return Ok(Acceptance { accepted, next });
        }
    }
    Ok(Acceptance { accepted: proposal.len(), next: rows.best(proposal.len())? })
}

/// True if a token of probability `p` may stand for the likeliest one, of probability `p_best`.
pub fn is_nearly_best(lenience: Lenience, p: f64, p_best: f64) -> bool {
    lenience.epsilon() < 1.0 && p > 0.0 && Relaxation::Lenient(lenience).apply(p) >= p_best
}

/// Keeps token i with chance min(1, f(p_i)/q_i); at the first loss the correction comes from norm(max(f(p) − q, 0)).
///
/// With f(p) > p this is lenient: no token's chance then exceeds f(p, ε), since the residual of f has at least the
/// mass of the chances lost.
fn accept_stepwise<F: Copy + Into<f64>>(
    relaxation: Relaxation,
    proposal: &Proposal<F>,
    rows: &mut impl TargetRows<F>,
    random: &Random,
    position: usize,
) -> Result<Acceptance> {
    for (accepted, &token) in proposal.tokens().iter().enumerate() {
        let (target, draft) = (rows.row(accepted)?, proposal.draft(accepted));
        let keep = relaxation.keep_chance(target.prob(token), draft.prob(token));
        if random.uniform(position, Purpose::Accept, accepted) >= keep {
            let next = Residual { target, draft, relaxation }.sample(random.uniform(position, Purpose::Next, 0));
            return Ok(Acceptance { accepted, next });
        }
    }
    let next = rows.row(proposal.len())?.sample(random.uniform(position, Purpose::Next, 0));
    Ok(Acceptance { accepted: proposal.len(), next })
}

/// Keeps the longest head whose draw succeeds, scanning every length.
fn accept_block<F: Copy + Into<f64>>(
    proposal: &Proposal<F>,
    rows: &mut impl TargetRows<F>,
    random: &Random,
    position: usize,
) -> Result<Acceptance> {
    let mut step = BlockStep::START;
    let mut kept = (0, step);
    for (index, &token) in proposal.tokens().iter().enumerate() {
        let (target, draft) = (rows.row(index)?, proposal.draft(index));
        let u = random.uniform(position, Purpose::Accept, index);
        if index > 0 && step.keeps(u, || Residual { target, draft, relaxation: step.relaxation() }.mass()) {
            kept = (index, step);
        }
        step = step.advance(target.prob(token), draft.prob(token));
        if step.is_lost() {
            break;
        }
    }
    // The chance of the whole block is b itself; it is 0 if the scan ended early.
    if !proposal.is_empty() && random.uniform(position, Purpose::Accept, proposal.len()) < step.chance() {
        kept = (proposal.len(), step);
    }
    let u = random.uniform(position, Purpose::Next, 0);
    let (accepted, step) = kept;
    let target = rows.row(accepted)?;
    let next = if accepted == proposal.len() {
        target.sample(u)
    } else {
        Residual { target, draft: proposal.draft(accepted), relaxation: step.relaxation() }.sample(u)
    };
    Ok(Acceptance { accepted, next })
}

/// The running chance b of block verification: b_0 = 1, b_i = min(1, b_{i−1}·p_i(x_i)/q_i(x_i)), held as its logarithm
/// so that long unlikely heads do not underflow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockStep {
    ln_b: f64,
}

impl BlockStep {
    /// b_0.
    pub const START: Self = Self { ln_b: 0.0 };

    /// b_i from b_{i−1}, with the probabilities of the i-th token.
    #[must_use]
    pub fn advance(self, p: f64, q: f64) -> Self {
        Self { ln_b: (self.ln_b + p.ln() - q.ln()).min(0.0) }
    }

    /// b: the chance of keeping a head that is the whole block.
    pub fn chance(self) -> f64 {
        self.ln_b.exp()
    }

    /// The chance of keeping a head that the block goes on after: r / (r + 1 − b), r the residual's mass; 1 for 0/0.
    pub fn chance_inside(self, residual_mass: f64) -> f64 {
        let lost = -self.ln_b.exp_m1();
        if lost <= 0.0 { 1.0 } else { residual_mass / (residual_mass + lost) }
    }

    /// True if the draw `u` keeps a head that the block goes on after. As r ≤ b, that chance is at most b, so the
    /// residual is only summed where the draw is close.
    fn keeps(self, u: f64, residual_mass: impl FnOnce() -> f64) -> bool {
        let b = self.chance();
        b >= 1.0 || (u < b && u < self.chance_inside(residual_mass()))
    }

    /// How the target's probabilities enter the residual.
    pub fn relaxation(self) -> Relaxation {
        Relaxation::Scaled(self.chance())
    }

    /// True if nothing from here on can be kept.
    fn is_lost(self) -> bool {
        self.ln_b == f64::NEG_INFINITY
    }
}
