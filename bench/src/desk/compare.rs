//! Two runs side by side: devices, drafters, versions, or engines within one interleaved run.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::case::{Case, by_prompt};
use crate::generation::Generation;
use crate::plan::{Decoding, Mode};
use crate::report::{Report, Subject};
use crate::statistics::{Ratio, unpaired_ratio};
use crate::table::{aligned, number, provider, speedup};

/// What two subjects did on the same decoding, mode and task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedCase {
    /// How tokens were chosen.
    pub decoding: Decoding,
    /// How tokens were drafted.
    pub mode: Mode,
    /// The task; absent: all together.
    pub task: Option<String>,
    /// Speed of decoding, second over first.
    pub speed: Option<Ratio>,
    /// Time to the first token, second over first: below 1 is better.
    pub ttft: Option<Ratio>,
    /// Time between tokens at the 99th percentile, in milliseconds: first, second.
    pub inter_token_ms_p99: (f64, f64),
    /// Share of proposed tokens that were accepted: first, second.
    pub acceptance_rate: (Option<f64>, Option<f64>),
    /// Tokens per pass of the target: first, second.
    pub tokens_per_target_call: (Option<f64>, Option<f64>),
}

/// Two subjects side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The first, which is divided by.
    pub first: String,
    /// The second.
    pub second: String,
    /// True if both ran in turns in one run, so that pairs could be formed; else what changed meanwhile is part of it.
    pub paired: bool,
    /// What differs besides the figures.
    pub differences: Vec<String>,
    /// Cases that both have.
    pub cases: Vec<ComparedCase>,
}

/// Compares the subjects of `second` with those of `first`: those of the same engine and providers, else in order.
pub fn compare(first: &Report, second: &Report) -> Vec<Comparison> {
    let same_prompts = first.plan.prompts_file == second.plan.prompts_file
        && first.plan.prompts == second.plan.prompts
        && first.plan.prompts_max == second.plan.prompts_max;
    let like = |subject: &Subject, other: &Subject| {
        engine_name(&subject.engine) == engine_name(&other.engine) && provider(subject) == provider(other)
    };
    let partner = |(place, subject): (usize, &Subject)| {
        second
            .subjects
            .iter()
            .position(|other| like(subject, other))
            .or((place < second.subjects.len()).then_some(place))
    };
    let pairs = first.subjects.iter().enumerate().filter_map(|pair| Some((pair.1, &second.subjects[partner(pair)?])));
    pairs
        .map(|(subject, other)| Comparison {
            first: name(first, subject),
            second: name(second, other),
            paired: false,
            differences: differences((first, subject), (second, other)),
            cases: compared(subject, other, |own, others| apart(own, others, same_prompts, first.plan.seed)),
        })
        .collect()
}

/// Compares the further subjects of one report with its first: engines, which ran in turns, in pairs; providers, which ran
/// one after the other, as two runs.
pub fn compare_within(report: &Report) -> Vec<Comparison> {
    let Some((first, others)) = report.subjects.split_first() else { return Vec::new() };
    let name = |subject: &Subject| format!("{} on {}", subject.engine, provider(subject));
    others
        .iter()
        .map(|other| {
            let (is_paired, seed) = (in_turns(first, other), report.plan.seed);
            Comparison {
                first: name(first),
                second: name(other),
                paired: is_paired,
                differences: Vec::new(),
                cases: compared(first, other, |own, others| {
                    if is_paired { Ratio::of(&paired(own, others), seed) } else { apart(own, others, true, seed) }
                }),
            }
        })
        .collect()
}

/// True if the subjects of one report ran at the same time, as far as their generations tell.
pub(super) fn in_turns(first: &Subject, second: &Subject) -> bool {
    let begin = |subject: &Subject| subject.generations.iter().map(|g| g.at_s).fold(f64::INFINITY, f64::min);
    let end = |subject: &Subject| subject.generations.iter().map(|g| g.at_s).fold(f64::NEG_INFINITY, f64::max);
    begin(first) <= end(second) && begin(second) <= end(first)
}

/// The ratio, second over first, of what did not run in turns.
fn apart(own: Taken<'_>, others: Taken<'_>, same_prompts: bool, seed: u64) -> Option<Ratio> {
    let (own, others) = if same_prompts { common(own, others) } else { (groups(own), groups(others)) };
    unpaired_ratio(&others, &own, same_prompts, seed)
}

/// A generation and the figure of it that is compared.
type Taken<'a> = Vec<(&'a Generation, f64)>;

fn compared(
    first: &Subject,
    second: &Subject,
    ratio: impl Fn(Taken<'_>, Taken<'_>) -> Option<Ratio>,
) -> Vec<ComparedCase> {
    let partner = |case: &Case| {
        second.cases.iter().find(|c| c.decoding == case.decoding && c.mode == case.mode && c.task == case.task)
    };
    let both = first.cases.iter().filter_map(|case| Some((case, partner(case)?)));
    both.map(|(case, other)| {
        let of = |figure: fn(&Generation) -> f64| ratio(taken(first, case, figure), taken(second, case, figure));
        ComparedCase {
            decoding: case.decoding,
            mode: case.mode,
            task: case.task.clone(),
            speed: of(|generation| generation.decode_tokens_per_s),
            ttft: of(|generation| generation.ttft_ms),
            inter_token_ms_p99: (case.inter_token_ms.p99, other.inter_token_ms.p99),
            acceptance_rate: (case.acceptance_rate, other.acceptance_rate),
            tokens_per_target_call: (case.tokens_per_target_call, other.tokens_per_target_call),
        }
    })
    .collect()
}

/// The generations of `case`, with the figure of each that is compared.
fn taken<'a>(subject: &'a Subject, case: &Case, figure: fn(&Generation) -> f64) -> Taken<'a> {
    let own = subject.generations.iter().filter(|generation| belongs(generation, case));
    own.map(|generation| (generation, figure(generation))).collect()
}

fn belongs(generation: &Generation, case: &Case) -> bool {
    generation.decoding == case.decoding
        && generation.mode == case.mode
        && case.task.as_ref().is_none_or(|task| *task == generation.task)
}

fn groups(taken: Taken<'_>) -> Vec<Vec<f64>> {
    by_prompt(taken.into_iter())
}

/// Groups of the prompts that both have, in the same order.
fn common(own: Taken<'_>, others: Taken<'_>) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let keys =
        |taken: &Taken<'_>| taken.iter().map(|(g, _)| (g.prompt, g.turn)).collect::<std::collections::BTreeSet<_>>();
    let shared: std::collections::BTreeSet<_> = keys(&own).intersection(&keys(&others)).copied().collect();
    let kept =
        |taken: Taken<'_>| groups(taken.into_iter().filter(|(g, _)| shared.contains(&(g.prompt, g.turn))).collect());
    (kept(own), kept(others))
}

/// Ratios, second over first, of the same prompt, turn and repetition.
fn paired(own: Taken<'_>, others: Taken<'_>) -> Vec<Vec<f64>> {
    let key = |g: &Generation| (g.prompt, g.turn, g.repetition);
    let first: BTreeMap<_, f64> = own.into_iter().map(|(generation, value)| (key(generation), value)).collect();
    by_prompt(
        others.into_iter().filter_map(|(generation, value)| Some((generation, value / first.get(&key(generation))?))),
    )
}

fn engine_name(engine: &str) -> &str {
    engine.split(' ').next().unwrap_or_default()
}

fn name(report: &Report, subject: &Subject) -> String {
    format!("{} with {} on {}, {}", report.machine.name(), subject.engine, provider(subject), report.started_at)
}

fn differences(first: (&Report, &Subject), second: (&Report, &Subject)) -> Vec<String> {
    let facts = |(report, subject): (&Report, &Subject)| {
        let known = |reading: &crate::Reading<String>| reading.value().cloned().unwrap_or_else(|| "unknown".into());
        let plan = &report.plan;
        vec![
            ("processor", known(&report.machine.soc)),
            ("system", known(&report.machine.os_version)),
            ("engine", subject.engine.clone()),
            ("runtime", subject.runtime.clone()),
            ("provider", provider(subject)),
            ("threads", format!("{:?}", subject.threads)),
            ("target", known(&report.pack.target_digest)),
            ("drafter", known(&report.pack.drafter_digest)),
            ("prompts", format!("{:?} {}", plan.prompts_file, plan.prompts_max)),
            (
                "limits",
                format!("{} tokens, drafts of {} or up to {}", plan.max_tokens, plan.draft_len, plan.draft_len_max),
            ),
        ]
    };
    let pairs = facts(first).into_iter().zip(facts(second));
    pairs.filter(|(a, b)| a != b).map(|((what, a), (_, b))| format!("{what}: {a} → {b}")).collect()
}

/// Comparisons as text for a terminal.
pub fn comparison_table(comparisons: &[Comparison]) -> String {
    let mut out = String::new();
    for comparison in comparisons {
        let how = if comparison.paired {
            "in pairs of generations that ran in turns"
        } else {
            "one after the other: what else changed meanwhile is part of it"
        };
        let _ = writeln!(out, "first   {}\nsecond  {}", comparison.first, comparison.second);
        for difference in &comparison.differences {
            let _ = writeln!(out, "  differs in {difference}");
        }
        let _ = writeln!(out, "second over first, {how}; 95 % intervals in brackets");
        let head = ["decoding", "mode", "task", "speed", "first token", "p99 ms", "accepted", "tokens/call"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for case in &comparison.cases {
            let both = |pair: (Option<f64>, Option<f64>), factor: f64| match pair {
                (Some(a), Some(b)) => format!("{} → {}", number(factor * a), number(factor * b)),
                _ => "–".to_owned(),
            };
            rows.push(vec![
                case.decoding.name().to_owned(),
                case.mode.name().to_owned(),
                case.task.clone().unwrap_or_else(|| "all".into()),
                speedup(case.speed.as_ref()),
                speedup(case.ttft.as_ref()),
                both((Some(case.inter_token_ms_p99.0), Some(case.inter_token_ms_p99.1)), 1.0),
                both(case.acceptance_rate, 100.0),
                both(case.tokens_per_target_call, 1.0),
            ]);
        }
        aligned(&mut out, &rows);
        out.push('\n');
    }
    if comparisons.is_empty() {
        out.push_str("nothing to compare: no subject has a partner\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Context, cases, tests::run};
    use crate::fixture::report;

    fn faster(factor: f64) -> Report {
        let mut report = report(run());
        let subject = &mut report.subjects[0];
        subject.generations.iter_mut().for_each(|generation| generation.decode_tokens_per_s *= factor);
        subject.cases = cases(&subject.generations, Context { parameter_ratio: None, seed: 1 });
        report
    }

    #[test]
    fn a_faster_run_is_told_and_the_same_run_is_not() {
        let found = compare(&faster(1.0), &faster(1.25));
        let speed = found[0].cases[0].speed.unwrap();
        assert!((speed.value.unwrap() - 1.25).abs() < 1e-9, "{speed:?}");
        assert!(found[0].differences.is_empty());
        let same = compare(&faster(1.0), &faster(1.0));
        assert!(same[0].cases.iter().all(|case| case.speed.unwrap().value.is_none()));
        assert!(comparison_table(&same).contains("not told from 1"));
    }

    #[test]
    fn other_devices_are_named_as_a_difference() {
        let mut other = faster(1.0);
        other.machine.soc = crate::Reading::present("B2".to_owned(), "test");
        assert_eq!(compare(&faster(1.0), &other)[0].differences.len(), 1);
    }

    #[test]
    fn engines_of_one_run_are_compared_in_pairs() {
        let mut report = faster(1.0);
        let mut peer = faster(0.5).subjects.remove(0);
        peer.engine = "peer 1".into();
        report.subjects.push(peer);
        let found = compare_within(&report);
        assert!(found[0].paired && (found[0].cases[0].speed.unwrap().value.unwrap() - 0.5).abs() < 1e-9);
        assert!(comparison_table(&found).contains("in turns"));
    }

    #[test]
    fn the_drafters_provider_tells_subjects_apart() {
        let report = || {
            let mut report = faster(1.0);
            let mut mixed = faster(2.0).subjects.remove(0);
            report.subjects[0].provider = "qnn".into();
            (mixed.provider, mixed.drafter_provider) = ("qnn".into(), Some("cpu".into()));
            report.subjects.push(mixed);
            report
        };
        let mut other = report();
        other.subjects.reverse();
        let found = compare(&report(), &other);
        assert!(found.iter().all(|found| found.cases[0].speed.unwrap().value.is_none()), "each with its like");
        assert!(found[1].first.contains("qnn, drafter on cpu") && found[1].differences.is_empty());
        assert_eq!(compare_within(&report())[0].second, "drafthorse 0 on qnn, drafter on cpu");
    }

    #[test]
    fn providers_that_ran_one_after_the_other_are_no_pairs() {
        let mut report = faster(1.0);
        let mut later = faster(0.5).subjects.remove(0);
        later.provider = "xnnpack".into();
        later.generations.iter_mut().for_each(|generation| generation.at_s = 9.0);
        report.subjects.push(later);
        let found = compare_within(&report);
        assert!(!found[0].paired && (found[0].cases[0].speed.unwrap().value.unwrap() - 0.5).abs() < 1e-9);
        assert!(comparison_table(&found).contains("one after the other"));
        let page = crate::html(&report);
        assert!(page.contains("ran one after the other") && !page.contains("What is compared ran in turns"));
    }
}
