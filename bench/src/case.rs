//! From generations to figures: one case per decoding, mode and task.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::generation::Generation;
use crate::histogram::Histogram;
use crate::plan::{Decoding, Mode};
use crate::reading::Reading;
use crate::statistics::{Figure, Percentiles, Ratio, bootstrap, outliers};

/// Figures of one decoding, mode and task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct Case {
    /// How tokens were chosen.
    pub decoding: Decoding,
    /// How tokens were drafted.
    pub mode: Mode,
    /// The task; absent: all together.
    pub task: Option<String>,
    /// Generations.
    pub generations: usize,
    /// Different prompts among them.
    pub prompts: usize,
    /// Generations whose speed is an outlier; they count.
    pub outliers: usize,
    /// Tokens emitted.
    pub tokens: usize,
    /// Time to the first token, over generations.
    pub ttft_ms: Percentiles,
    /// Prompt tokens per second.
    pub prefill_tokens_per_s: Option<Figure>,
    /// Tokens per second after the first round.
    pub decode_tokens_per_s: Option<Figure>,
    /// Time between tokens, over tokens: a round's time is shared evenly by the tokens it confirmed.
    pub inter_token_ms: Percentiles,
    /// Their distribution.
    pub inter_token: Histogram,
    /// Tokens confirmed per pass of the target; absent where a peer does not tell.
    pub tokens_per_target_call: Option<f64>,
    /// Share of proposed tokens that were accepted.
    pub acceptance_rate: Option<f64>,
    /// Share of the tokens proposed at each position that were accepted.
    pub acceptance_by_position: Vec<f64>,
    /// Tokens drafted per round.
    pub draft_len_mean: f64,
    /// How many rounds chose each draft length, from 0 on.
    pub draft_lens: Vec<usize>,
    /// τ / (cγ + 1) with γ the tokens really drafted per round and c the ratio of parameters; copies by prompt lookup count
    /// as if the drafter had made them, so that where both draft this is a lower bound.
    pub mbsu: Option<f64>,
    /// Speed of decoding against `plain`, from pairs of the same prompt, turn and repetition.
    pub speedup: Option<Ratio>,
    /// Share of these pairs with the same text; less than 1 when greedy means near ties, or an error.
    pub identical_share: Option<f64>,
    /// Energy per token by the counter of the sensors, everything on the device included.
    pub energy_mj_per_token: Reading<f64>,
    /// True if every output has the target's own distribution.
    pub lossless: bool,
}

/// What else than generations goes into figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// The drafter's parameters over the target's.
    pub parameter_ratio: Option<f64>,
    /// Of the bootstrap.
    pub seed: u64,
}

/// Marks outliers among the repetitions of the same prompt and mode, as factors of their median.
pub(crate) fn mark_outliers(generations: &mut [Generation]) {
    let mut cases: BTreeMap<(Decoding, Mode), Vec<usize>> = BTreeMap::new();
    for (index, generation) in generations.iter().enumerate().filter(|(_, g)| g.decode_tokens_per_s > 0.0) {
        cases.entry((generation.decoding, generation.mode)).or_default().push(index);
    }
    for places in cases.into_values() {
        let mut by_prompt: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
        for &place in &places {
            by_prompt.entry(prompt_of(&generations[place])).or_default().push(generations[place].decode_tokens_per_s);
        }
        let medians: BTreeMap<_, f64> =
            by_prompt.into_iter().map(|(prompt, speeds)| (prompt, crate::statistics::median(speeds))).collect();
        let relative: Vec<f64> = places
            .iter()
            .map(|&place| generations[place].decode_tokens_per_s / medians[&prompt_of(&generations[place])])
            .collect();
        for (place, mark) in places.into_iter().zip(outliers(&relative)) {
            generations[place].outlier = mark;
        }
    }
}

/// Figures of `generations` by decoding and mode, first over all tasks and then, if there are several, for each.
pub(crate) fn cases(generations: &[Generation], context: Context) -> Vec<Case> {
    let mut tasks: Vec<&str> = generations.iter().map(|generation| generation.task.as_str()).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let tasks: Vec<Option<&str>> =
        std::iter::once(None).chain(tasks.iter().copied().filter(|_| tasks.len() > 1).map(Some)).collect();
    let mut cases = Vec::new();
    for decoding in Decoding::ALL {
        for task in &tasks {
            for mode in Mode::ALL {
                let wanted = |g: &&Generation| g.decoding == decoding && task.is_none_or(|task| g.task == task);
                let all: Vec<&Generation> = generations.iter().filter(wanted).collect();
                cases.extend(case(&all, decoding, mode, *task, context));
            }
        }
    }
    cases
}

/// The case of `mode` among `all` modes' generations.
fn case(all: &[&Generation], decoding: Decoding, mode: Mode, task: Option<&str>, context: Context) -> Option<Case> {
    let own: Vec<&Generation> = all.iter().copied().filter(|generation| generation.mode == mode).collect();
    if own.is_empty() {
        return None;
    }
    let total = |figure: fn(&Generation) -> usize| own.iter().map(|generation| figure(generation)).sum::<usize>();
    let (rounds, proposed, accepted) = (total(|g| g.rounds), total(|g| g.proposed), total(|g| g.accepted));
    // Peers tell only what they proposed.
    let drafted = total(|g| g.drafted.max(g.proposed));
    let latencies: Vec<(f64, u64)> = own.iter().flat_map(|generation| latencies(generation)).collect();
    let tokens_per_target_call = (rounds > 0).then(|| (accepted + rounds) as f64 / rounds as f64);
    let draft_len_mean = drafted as f64 / rounds.max(1) as f64;
    let pairs = if mode == Mode::Plain { Vec::new() } else { pairs(&own, all) };
    let same = pairs.iter().filter(|(plain, own)| plain.text_digest == own.text_digest).count();
    let ratios =
        by_prompt(pairs.iter().map(|(plain, own)| (*own, own.decode_tokens_per_s / plain.decode_tokens_per_s)));
    Some(Case {
        decoding,
        mode,
        task: task.map(str::to_owned),
        generations: own.len(),
        prompts: by_prompt(own.iter().map(|generation| (*generation, 1.0))).len(),
        outliers: own.iter().filter(|generation| generation.outlier).count(),
        tokens: total(|g| g.tokens),
        ttft_ms: Percentiles::of(own.iter().map(|generation| generation.ttft_ms)),
        prefill_tokens_per_s: bootstrap(&by_prompt(own.iter().map(|g| (*g, g.prefill_tokens_per_s))), context.seed),
        decode_tokens_per_s: bootstrap(&by_prompt(own.iter().map(|g| (*g, g.decode_tokens_per_s))), context.seed),
        inter_token_ms: Percentiles::of_weighted(latencies.clone()),
        inter_token: Histogram::of(&latencies),
        tokens_per_target_call,
        acceptance_rate: (proposed > 0).then(|| accepted as f64 / proposed as f64),
        acceptance_by_position: acceptance_by_position(&own),
        draft_len_mean,
        draft_lens: sum(own
            .iter()
            .filter_map(|generation| generation.detail.as_ref())
            .map(|d| d.draft_lens.as_slice())),
        mbsu: mbsu(mode, tokens_per_target_call, draft_len_mean, context.parameter_ratio),
        speedup: Ratio::of(&ratios, context.seed),
        identical_share: (!pairs.is_empty()).then(|| same as f64 / pairs.len() as f64),
        energy_mj_per_token: energy(&own),
        lossless: own.iter().all(|generation| generation.lossless),
    })
}

/// Each of `own` with the plain generation of the same prompt, turn and repetition.
fn pairs<'a>(own: &[&'a Generation], all: &[&'a Generation]) -> Vec<(&'a Generation, &'a Generation)> {
    let key = |g: &Generation| (g.prompt, g.turn, g.repetition);
    let plain: BTreeMap<_, &Generation> = all.iter().filter(|g| g.mode == Mode::Plain).map(|g| (key(g), *g)).collect();
    own.iter().filter_map(|g| Some((*plain.get(&key(g))?, *g))).collect()
}

fn prompt_of(generation: &Generation) -> (usize, usize) {
    (generation.prompt, generation.turn)
}

/// Values grouped by prompt and turn.
pub(crate) fn by_prompt<'a>(values: impl Iterator<Item = (&'a Generation, f64)>) -> Vec<Vec<f64>> {
    let mut groups: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    for (generation, value) in values {
        groups.entry(prompt_of(generation)).or_default().push(value);
    }
    groups.into_values().collect()
}

/// Milliseconds per token, each with the number of tokens that took as long.
fn latencies(generation: &Generation) -> impl Iterator<Item = (f64, u64)> {
    let rounds = generation.detail.iter().flat_map(|detail| &detail.rounds);
    rounds.filter(|round| round.1 > 0).map(|&(ms, tokens)| (ms / f64::from(tokens), u64::from(tokens)))
}

fn acceptance_by_position(own: &[&Generation]) -> Vec<f64> {
    let details = || own.iter().filter_map(|generation| generation.detail.as_ref());
    let column = |of: fn(&(usize, usize)) -> usize| {
        let columns: Vec<Vec<usize>> = details().map(|detail| detail.positions.iter().map(of).collect()).collect();
        sum(columns.iter().map(Vec::as_slice))
    };
    let (proposed, accepted) = (column(|position| position.0), column(|position| position.1));
    proposed.iter().zip(&accepted).map(|(&all, &kept)| kept as f64 / all.max(1) as f64).collect()
}

fn sum<'a>(rows: impl Iterator<Item = &'a [usize]>) -> Vec<usize> {
    let mut total = Vec::new();
    for row in rows {
        total.resize(total.len().max(row.len()), 0);
        row.iter().enumerate().for_each(|(place, count)| total[place] += count);
    }
    total
}

fn mbsu(
    mode: Mode,
    tokens_per_target_call: Option<f64>,
    draft_len_mean: f64,
    parameter_ratio: Option<f64>,
) -> Option<f64> {
    let ratio = match mode {
        Mode::Plain => return None,
        Mode::Lookup => 0.0,
        _ => parameter_ratio?,
    };
    // The cost is linear in the drafted tokens, so that one draft of the mean cost stands for drafts of many lengths.
    Some(drafthorse::memory_bound_speedup(tokens_per_target_call?, 1, ratio * draft_len_mean))
}

/// Energy of the generations over their tokens, without those of a peer whose counter wrapped.
fn energy(own: &[&Generation]) -> Reading<f64> {
    let counted: Vec<(f64, usize)> =
        own.iter().filter_map(|g| Some((g.energy_j.filter(|joules| *joules >= 0.0)?, g.tokens))).collect();
    let (joules, tokens) = counted.iter().fold((0.0, 0), |(joules, tokens), one| (joules + one.0, tokens + one.1));
    match counted.len() {
        0 => Reading::absent("no energy counter; see the machine's sensors"),
        _ if joules > 0.0 && tokens > 0 => {
            Reading::present(joules * 1e3 / tokens as f64, "energy counter, idle power and other programs included")
        }
        _ => Reading::absent("the energy counter did not move during these generations"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::generation::Detail;

    /// A generation with a speed, and one token accepted of two in each of ten rounds.
    pub(crate) fn generation(mode: Mode, prompt: usize, repetition: usize, speed: f64) -> Generation {
        Generation {
            at_s: 0.0,
            prompt,
            turn: 0,
            task: if prompt.is_multiple_of(2) { "even" } else { "odd" }.into(),
            repetition,
            decoding: Decoding::Greedy,
            mode,
            prompt_tokens: 10,
            tokens: 20,
            ttft_ms: 5.0,
            prefill_tokens_per_s: 100.0,
            decode_tokens_per_s: speed,
            rounds: 10,
            drafted: if mode == Mode::Plain { 0 } else { 20 },
            proposed: if mode == Mode::Plain { 0 } else { 20 },
            accepted: if mode == Mode::Plain { 0 } else { 10 },
            passthrough_rounds: 0,
            stop_reason: "MAX_TOKENS".into(),
            lossless: true,
            text_digest: prompt.to_string(),
            energy_j: None,
            outlier: false,
            detail: Some(Detail {
                rounds: vec![(10.0, 2); 9],
                positions: if mode == Mode::Plain { vec![] } else { vec![(10, 8), (10, 2)] },
                draft_lens: if mode == Mode::Plain { vec![10] } else { vec![0, 0, 10] },
            }),
        }
    }

    pub(crate) fn run() -> Vec<Generation> {
        let mut all = Vec::new();
        for prompt in 0..6 {
            for repetition in 0..3 {
                let speed = 100.0 * (prompt + 1) as f64;
                all.push(generation(Mode::Plain, prompt, repetition, speed));
                all.push(generation(Mode::Drafter, prompt, repetition, 2.0 * speed));
            }
        }
        all
    }

    fn context() -> Context {
        Context { parameter_ratio: Some(0.05), seed: 1 }
    }

    #[test]
    fn figures_of_a_known_run() {
        let cases = cases(&run(), context());
        assert_eq!(cases.len(), 6, "two modes, over all and for each of two tasks");
        let drafter = cases.iter().find(|case| case.mode == Mode::Drafter && case.task.is_none()).unwrap();
        assert_eq!((drafter.generations, drafter.prompts, drafter.tokens), (18, 6, 360));
        assert_eq!(drafter.tokens_per_target_call, Some(2.0));
        assert_eq!((drafter.acceptance_rate, &drafter.acceptance_by_position[..]), (Some(0.5), &[0.8, 0.2][..]));
        let speedup = drafter.speedup.unwrap();
        assert!((speedup.value.unwrap() - 2.0).abs() < 1e-9 && speedup.pairs == 18, "{speedup:?}");
        assert_eq!(drafter.identical_share, Some(1.0));
        assert!((drafter.mbsu.unwrap() - 2.0 / 1.1).abs() < 1e-9);
        assert_eq!((drafter.inter_token_ms.p50, drafter.inter_token_ms.max), (5.0, 5.0));
        let plain = cases.iter().find(|case| case.mode == Mode::Plain).unwrap();
        assert!(plain.speedup.is_none() && plain.mbsu.is_none() && plain.acceptance_rate.is_none());
        // The geometric mean of 100, 200, ... 600.
        let typical = (1..=6).map(|i| (100.0 * f64::from(i)).ln()).sum::<f64>() / 6.0;
        assert!((plain.decode_tokens_per_s.unwrap().value - typical.exp()).abs() < 1e-6);
    }

    #[test]
    fn what_was_drafted_and_not_asked_about_costs_and_is_not_refused() {
        let mut all = run();
        for generation in all.iter_mut().filter(|generation| generation.mode == Mode::Drafter) {
            generation.drafted = 40;
        }
        let cases = cases(&all, context());
        let drafter = cases.iter().find(|case| case.mode == Mode::Drafter).unwrap();
        assert_eq!((drafter.acceptance_rate, drafter.draft_len_mean), (Some(0.5), 4.0));
        assert!((drafter.mbsu.unwrap() - 2.0 / 1.2).abs() < 1e-9);
    }

    #[test]
    fn a_plain_answer_of_one_token_has_no_speed_and_still_its_text() {
        let mut all = run();
        all[0].decode_tokens_per_s = 0.0;
        all[0].text_digest = "short".to_owned();
        let cases = cases(&all, context());
        let drafter = cases.iter().find(|case| case.mode == Mode::Drafter && case.task.is_none()).unwrap();
        assert_eq!((drafter.identical_share, drafter.speedup.unwrap().pairs), (Some(17.0 / 18.0), 17));
        assert!((drafter.speedup.unwrap().value.unwrap() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_disturbed_generation_is_marked_and_counts() {
        let mut all = run();
        all[4].decode_tokens_per_s /= 3.0;
        mark_outliers(&mut all);
        assert!(all[4].outlier);
        assert_eq!(all.iter().filter(|generation| generation.outlier).count(), 1);
        assert_eq!(cases(&all, context())[0].generations, 18);
    }

    #[test]
    fn energy_is_counted_per_token_and_a_wrapped_counter_left_out() {
        let mut all = run();
        for generation in &mut all {
            generation.energy_j = Some(if generation.mode == Mode::Plain { 2.0 } else { 1.0 });
        }
        all[0].energy_j = Some(-5000.0);
        let figures = cases(&all, context());
        assert_eq!(figures[0].energy_mj_per_token.value(), Some(&100.0));
        assert_eq!(figures[1].energy_mj_per_token.value(), Some(&50.0));
        assert!(cases(&run(), context())[0].energy_mj_per_token.explanation().contains("no energy counter"));
    }
}
