//! Times drafters in the runtime's own loop, on exported packs, against the target alone in the same run.
//!
//! Every prompt is answered by every pack's target alone and under every rule in turn, so that what the machine does
//! besides hits all alike, and the whole is done several times. Greedy answers are the same each time, so that the least
//! disturbed counts: the quickest per token for each prompt, pack and rule. Sampled ones differ, and so all of them count
//! alike, because the quickest would be the luckiest text. Figures are ratios of milliseconds per token. Nothing here is
//! asserted: times are reported.

use std::path::Path;

use drafthorse::{
    Account, DraftLength, Drafting, Engine, EngineOptions, Event, GenerationOptions, Lenience, Prompt, Session,
    SessionOptions, Verification,
};
use serde::{Deserialize, Serialize};

use super::recipe::{EvaluateRecipe, EvaluateTask};
use crate::acceptance::{Figure, Mode, bootstrap, bootstrap_of};
use crate::distill::batch::Example;
use crate::distill::pair::Pair;
use crate::{Error, Result};

/// How the loop drafts and verifies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The target alone.
    Alone,
    /// This many tokens per round, verified without loss.
    Fixed(usize),
    /// As many as measured costs and acceptance make worth while, at most this many.
    Adaptive(usize),
    /// A fixed draft length, accepted leniently: **not** the target's distribution.
    Lenient(usize, Lenience),
}

impl std::fmt::Display for Rule {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Alone => write!(out, "target alone"),
            Self::Fixed(len) => write!(out, "γ = {len}"),
            Self::Adaptive(len) => write!(out, "adaptive, γ ≤ {len}"),
            Self::Lenient(len, form) => {
                let name = match form {
                    Lenience::Linear(_) => "p/ε",
                    Lenience::Square(_) => "p/ε²",
                    Lenience::Exponential(_) => "p^ε",
                };
                write!(out, "γ = {len}, lossy {name}, ε = {}", form.epsilon())
            }
        }
    }
}

/// One pack on one task under one rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClockRow {
    /// The drafter's name in the recipe.
    pub drafter: String,
    /// The task's name.
    pub task: String,
    /// How the target chose.
    pub mode: Mode,
    /// How the loop drafted and verified.
    pub rule: Rule,
    /// Tokens emitted per pass of the target.
    pub tokens_per_call: Figure,
    /// Tokens per second, the prompt's time included; means something on a quiet machine only.
    pub tokens_per_second: Figure,
    /// Milliseconds per token, the prompt's included, of the target alone over this rule's.
    pub speedup: Figure,
    /// The first drafter's milliseconds per token under the same rule over this one's; none for the first itself.
    pub gain: Option<Figure>,
    /// Mean score of the answers, where the task has one.
    pub score: Option<Figure>,
}

/// What a prompt's answers took.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    answers: f64,
    ms: f64,
    tokens: f64,
    calls: f64,
    score: f64,
}

impl Taken {
    /// Milliseconds per token: sampled answers of one prompt differ in length.
    fn pace(self) -> f64 {
        self.ms / self.tokens.max(1.0)
    }

    /// With a further repeat's answer to the same prompt.
    fn and(self, next: Self, mode: Mode) -> Self {
        match mode {
            Mode::Greedy if self.answers == 0.0 || next.pace() < self.pace() => next,
            Mode::Greedy => self,
            Mode::Sampled(_) => Self {
                answers: self.answers + next.answers,
                ms: self.ms + next.ms,
                tokens: self.tokens + next.tokens,
                calls: self.calls + next.calls,
                score: self.score + next.score,
            },
        }
    }
}

/// Answers that [`Clock::time`] takes of these.
pub(super) fn answers(recipe: &EvaluateRecipe, mode: Mode, examples: &[Example]) -> usize {
    let packs = recipe.drafter.iter().filter(|drafter| drafter.pack.is_some()).count();
    recipe.clock.repeats * timed(recipe, examples).len() * packs * rules(recipe, mode).len()
}

fn timed<'a>(recipe: &EvaluateRecipe, examples: &'a [Example]) -> &'a [Example] {
    &examples[..recipe.clock.prompts.min(examples.len())]
}

/// A recipe with the packs of its drafters open.
pub(super) struct Clock<'a> {
    pub(super) recipe: &'a EvaluateRecipe,
    packs: Vec<(&'a str, &'a Path, Engine)>,
}

impl<'a> Clock<'a> {
    /// Opens every pack of the recipe; drafters without one are not timed.
    ///
    /// # Errors
    /// `Runtime` if a pack does not open.
    pub(super) fn open(recipe: &'a EvaluateRecipe) -> Result<Self> {
        let threads = Some(recipe.clock.threads);
        let options = EngineOptions { target_threads: threads, drafter_threads: threads, ..EngineOptions::default() };
        let mut packs = Vec::new();
        for drafter in &recipe.drafter {
            if let Some(pack) = &drafter.pack {
                let engine = Engine::open(pack, &options).map_err(|error| failed(pack, &error))?;
                packs.push((drafter.name.as_str(), pack.as_path(), engine));
            }
        }
        Ok(Self { recipe, packs })
    }

    /// Times every pack on the first prompts of `examples`; `on_answer` hears of each answer how many tokens it has.
    ///
    /// # Errors
    /// `Runtime` if a generation fails.
    pub(super) fn time(
        &self,
        task: &EvaluateTask,
        mode: Mode,
        examples: &[Example],
        first: &Pair,
        mut on_answer: impl FnMut(usize),
    ) -> Result<Vec<ClockRow>> {
        let recipe = self.recipe;
        let (examples, rules) = (timed(recipe, examples), rules(recipe, mode));
        let mut taken = vec![vec![vec![Taken::default(); examples.len()]; rules.len()]; self.packs.len()];
        for repeat in 0..recipe.clock.repeats {
            let opened = self.packs.iter().map(|(_, pack, engine)| Timed::open(pack, engine));
            let opened = opened.collect::<Result<Vec<_>>>()?;
            for (index, example) in examples.iter().enumerate() {
                for (pack, taken) in opened.iter().zip(&mut taken) {
                    for (rule, taken) in rules.iter().zip(taken) {
                        let options = options(recipe, mode, *rule, repeat * examples.len() + index);
                        let found = pack.answer(task, example, first, *rule, &options)?;
                        on_answer(found.tokens as usize);
                        taken[index] = taken[index].and(found, mode);
                    }
                }
            }
        }
        let mut rows = Vec::new();
        for (index, ((name, ..), own)) in self.packs.iter().zip(&taken).enumerate() {
            let first = (index > 0).then(|| &taken[0][..]);
            rows.extend(summaries(recipe, task, mode, name, &rules, own, first));
        }
        Ok(rows)
    }
}

fn rules(recipe: &EvaluateRecipe, mode: Mode) -> Vec<Rule> {
    let clock = &recipe.clock;
    let mut rules = vec![Rule::Alone];
    rules.extend(clock.draft_lens.iter().map(|&len| Rule::Fixed(len)));
    rules.push(Rule::Adaptive(clock.adaptive_len_max));
    if let (Mode::Sampled(_), Some(&len)) = (mode, clock.draft_lens.first()) {
        for form in [Lenience::Linear, Lenience::Square, Lenience::Exponential] {
            rules.extend(clock.lenience.iter().map(|&epsilon| Rule::Lenient(len, form(epsilon))));
        }
    }
    rules
}

/// A pack's conversations while one task is timed once: what that taught them reaches no other task and no repeat.
struct Timed<'a> {
    pack: &'a Path,
    alone: Session,
    fixed: Session,
    /// Apart from the others, whose answers to the same prompts it would learn from.
    adaptive: Session,
}

impl<'a> Timed<'a> {
    fn open(pack: &'a Path, engine: &Engine) -> Result<Self> {
        let session = |drafting| {
            let options = SessionOptions { drafting, ..SessionOptions::default() };
            engine.session(&options).map_err(|error| failed(pack, &error))
        };
        let (alone, fixed) = (session(Drafting::None)?, session(Drafting::Model)?);
        Ok(Self { pack, alone, fixed, adaptive: session(Drafting::Model)? })
    }

    fn session(&self, rule: Rule) -> &Session {
        match rule {
            Rule::Alone => &self.alone,
            Rule::Fixed(_) | Rule::Lenient(..) => &self.fixed,
            Rule::Adaptive(_) => &self.adaptive,
        }
    }

    /// What `rule` takes for one prompt.
    fn answer(
        &self,
        task: &EvaluateTask,
        example: &Example,
        first: &Pair,
        rule: Rule,
        options: &GenerationOptions,
    ) -> Result<Taken> {
        let answered = answer(self.session(rule), &example.prompt, options);
        let (tokens, account) = answered.map_err(|error| failed(self.pack, &error))?;
        let score = match task.score {
            Some(score) => score.of(&first.completion_text(&example.completion)?, &first.completion_text(&tokens)?),
            None => 0.0,
        };
        let (ms, tokens, calls) = (account.time.total_ms, account.tokens as f64, account.rounds as f64);
        Ok(Taken { answers: 1.0, ms, tokens, calls, score })
    }
}

fn failed(pack: &Path, error: &drafthorse::Error) -> Error {
    Error::Runtime { pack: pack.to_owned(), reason: error.to_string() }
}

fn options(recipe: &EvaluateRecipe, mode: Mode, rule: Rule, draw: usize) -> GenerationOptions {
    let (draft_length, verification) = match rule {
        Rule::Alone => (DraftLength::Fixed(0), None),
        Rule::Fixed(len) => (DraftLength::Fixed(len), None),
        Rule::Adaptive(len) => (DraftLength::Adaptive(len), None),
        Rule::Lenient(len, form) => (DraftLength::Fixed(len), Some(Verification::Lenient(form))),
    };
    GenerationOptions {
        max_tokens: Some(recipe.clock.completion_len_max),
        temperature: Some(mode.temperature() as f32),
        top_k: Some(0),
        top_p: Some(1.0),
        seed: Some(recipe.seed.wrapping_add(draw as u64)),
        draft_length: Some(draft_length),
        verification,
        ..GenerationOptions::default()
    }
}

fn answer(
    session: &Session,
    prompt: &[u32],
    options: &GenerationOptions,
) -> drafthorse::Result<(Vec<u32>, Box<Account>)> {
    session.reset()?;
    let mut tokens = Vec::new();
    for event in session.generate(Prompt::Tokens(prompt), options)? {
        match event? {
            Event::Tokens(chunk) => tokens.extend(chunk.tokens.iter().map(|token| token.id)),
            Event::Finished(account) => return Ok((tokens, account)),
            _ => {}
        }
    }
    Err(drafthorse::Error::Cancelled)
}

fn summaries(
    recipe: &EvaluateRecipe,
    task: &EvaluateTask,
    mode: Mode,
    drafter: &str,
    rules: &[Rule],
    taken: &[Vec<Taken>],
    first: Option<&[Vec<Taken>]>,
) -> Vec<ClockRow> {
    let seed = recipe.seed;
    let row = |(index, rule): (usize, &Rule)| {
        let own = &taken[index];
        let terms = |value: fn(&Taken) -> (f64, f64)| own.iter().map(value).collect::<Vec<_>>();
        ClockRow {
            drafter: drafter.to_owned(),
            task: task.name.clone(),
            mode,
            rule: *rule,
            tokens_per_call: bootstrap(&terms(|taken| (taken.tokens, taken.calls)), seed),
            tokens_per_second: bootstrap(&terms(|taken| (1e3 * taken.tokens, taken.ms)), seed),
            speedup: relative(own, &taken[0], seed),
            gain: first.map(|first| relative(own, &first[index], seed)),
            score: task.score.map(|_| bootstrap(&terms(|taken| (taken.score, taken.answers)), seed)),
        }
    };
    rules.iter().enumerate().map(row).collect()
}

/// Milliseconds per token of `other` over those of `own`, prompts resampled for both alike.
fn relative(own: &[Taken], other: &[Taken], seed: u64) -> Figure {
    let pace = |taken: &[Taken], drawn: &[usize]| {
        let sum = |value: fn(&Taken) -> f64| drawn.iter().map(|&index| value(&taken[index])).sum::<f64>();
        sum(|taken| taken.ms) / sum(|taken| taken.tokens).max(1.0)
    };
    bootstrap_of(own.len(), seed, |drawn| pace(other, drawn) / pace(own, drawn))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(ms: f64, tokens: f64) -> Taken {
        Taken { answers: 1.0, ms, tokens, calls: tokens, score: 0.0 }
    }

    #[test]
    fn speeds_are_ratios_of_milliseconds_per_token() {
        // Answers of other lengths, twice as fast per token.
        let alone: Vec<Taken> = (1..9).map(|n| taken(10.0 * f64::from(n), f64::from(n))).collect();
        let pair: Vec<Taken> = (1..9).map(|n| taken(15.0 * f64::from(n), 3.0 * f64::from(n))).collect();
        let found = relative(&pair, &alone, 1);
        assert!((found.value - 2.0).abs() < 1e-9 && (found.high - found.low).abs() < 1e-9, "{found}");
    }

    #[test]
    fn a_short_answer_is_not_quicker_for_being_short() {
        assert!(taken(30.0, 6.0).pace() < taken(10.0, 1.0).pace());
    }

    #[test]
    fn the_quickest_greedy_answer_counts_and_all_sampled_ones() {
        let repeats = [taken(20.0, 4.0), taken(16.0, 4.0), taken(18.0, 4.0)];
        let joined = |mode| repeats.iter().fold(Taken::default(), |sum, next| sum.and(*next, mode));
        let (greedy, sampled) = (joined(Mode::Greedy), joined(Mode::Sampled(1.0)));
        assert_eq!((greedy.answers, greedy.ms, greedy.tokens), (1.0, 16.0, 4.0));
        assert_eq!((sampled.answers, sampled.ms, sampled.tokens), (3.0, 54.0, 12.0));
    }

    #[test]
    fn the_adaptive_rule_learns_from_no_other() {
        let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/packs/demo");
        let engine = Engine::open(&pack, &EngineOptions::default()).unwrap();
        let opened = Timed::open(&pack, &engine).unwrap();
        let asked = GenerationOptions { max_tokens: Some(4), ..GenerationOptions::default() };
        for rule in [Rule::Alone, Rule::Fixed(3), Rule::Lenient(3, Lenience::Linear(0.5))] {
            answer(opened.session(rule), &[3, 9], &asked).unwrap();
        }
        assert!(opened.session(Rule::Adaptive(8)).tokens().unwrap().is_empty());
        assert!(!opened.session(Rule::Fixed(3)).tokens().unwrap().is_empty());
    }

    #[test]
    fn lossy_rules_are_only_for_sampling_and_say_what_they_are() {
        let recipe: EvaluateRecipe =
            toml::from_str("target = 't'\ndrafter = []\ntask = []\n[clock]\nlenience = [0.5, 0.8]\n").unwrap();
        assert_eq!(rules(&recipe, Mode::Greedy).len(), 4);
        let sampled = rules(&recipe, Mode::Sampled(1.0));
        assert_eq!(sampled.len(), 10);
        assert!(sampled[4..].iter().all(|rule| rule.to_string().contains("lossy")));
        let options = options(&recipe, Mode::Sampled(1.0), sampled[4], 0);
        assert_eq!(options.verification, Some(Verification::Lenient(Lenience::Linear(0.5))));
    }
}
