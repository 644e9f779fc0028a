//! Holds a report against limits, for continuous integration.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::plan::{Decoding, Mode};
use crate::report::{Report, Subject};
use crate::statistics::{Figure, PAIRS_MIN, Ratio};
use crate::table::{figure, number, provider, speedup};
use crate::{Error, Result};

/// What a report has to keep.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// True if a figure whose interval holds the limit, so that it is not known which side it is on, counts as broken.
    pub strict: bool,
    /// The limits.
    pub limit: Vec<Limit>,
}

/// One limit, on every case that its filters let pass; without `task` on all tasks together.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// What is limited.
    pub metric: Metric,
    /// Least that is allowed.
    pub min: Option<f64>,
    /// Most that is allowed.
    pub max: Option<f64>,
    /// Only this decoding.
    pub decoding: Option<Decoding>,
    /// Only this mode.
    pub mode: Option<Mode>,
    /// Only this task.
    pub task: Option<String>,
    /// Only this provider of the target.
    pub provider: Option<String>,
}

/// Figures that can be limited, with their unit in the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of the report's fields")]
pub enum Metric {
    DecodeTokensPerS,
    PrefillTokensPerS,
    Speedup,
    TtftMsP50,
    TtftMsP90,
    TtftMsP99,
    InterTokenMsP50,
    InterTokenMsP90,
    InterTokenMsP99,
    InterTokenMsMax,
    TokensPerTargetCall,
    AcceptanceRate,
    Mbsu,
    EnergyMjPerToken,
    IdenticalShare,
    OutlierShare,
    LoadColdMs,
    LoadWarmMs,
    PeakBytes,
    CacheBytes,
    TargetPassMs,
    DrafterPassMs,
}

/// What became of a limit in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is kept.
    Kept,
    /// The interval holds the limit.
    Undecided,
    /// It is not kept, or what it limits is not in the report.
    Broken,
}

/// What is held against a limit.
struct Measured {
    low: f64,
    high: f64,
    /// As the report shows it.
    text: String,
    /// False if it rests on too little to decide anything.
    decides: bool,
}

/// A limit held against one case or subject.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What became of it.
    pub verdict: Verdict,
    /// What, where, how much, and the limit.
    pub text: String,
}

impl Limits {
    /// Reads a TOML file of limits.
    ///
    /// # Errors
    /// `Io`, or `Limits` naming what is not known; also a limit without bounds.
    pub fn read(path: &Path) -> Result<Self> {
        let refused = |reason: String| Error::Limits { path: path.into(), reason };
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let limits: Self = toml::from_str(&text).map_err(|error| refused(error.to_string()))?;
        if limits.limit.is_empty() {
            return Err(refused("no [[limit]]: it would let everything pass".into()));
        }
        match limits.limit.iter().find(|limit| limit.min.is_none() && limit.max.is_none()) {
            Some(limit) => Err(refused(format!("{}: neither min nor max", metric_name(limit.metric)))),
            None => Ok(limits),
        }
    }

    /// Holds `report` against the limits.
    pub fn check(&self, report: &Report) -> Vec<Finding> {
        self.limit.iter().flat_map(|limit| limit.check(report)).collect()
    }

    /// True if no finding forbids to go on.
    pub fn pass(&self, findings: &[Finding]) -> bool {
        findings.iter().all(|finding| match finding.verdict {
            Verdict::Kept => true,
            Verdict::Undecided => !self.strict,
            Verdict::Broken => false,
        })
    }
}

impl Limit {
    fn check(&self, report: &Report) -> Vec<Finding> {
        let subjects = report.subjects.iter().filter(|s| self.provider.as_ref().is_none_or(|name| *name == s.provider));
        let mut found = Vec::new();
        for subject in subjects {
            if let Some(value) = of_subject(self.metric, subject) {
                found.push(self.judge(value, &format!("{} on {}", subject.engine, provider(subject))));
                continue;
            }
            for case in subject.cases.iter().filter(|case| self.lets_pass(case)) {
                let place = format!(
                    "{} on {}, {}, {}, {}",
                    subject.engine,
                    provider(subject),
                    case.decoding.name(),
                    case.mode.name(),
                    case.task.as_deref().unwrap_or("all tasks")
                );
                found.extend(of_case(self.metric, case).map(|value| self.judge(value, &place)));
            }
        }
        if found.is_empty() {
            let text = format!("{}: the report has no such figure for these filters", metric_name(self.metric));
            found.push(Finding { verdict: Verdict::Broken, text });
        }
        found
    }

    fn lets_pass(&self, case: &Case) -> bool {
        self.decoding.is_none_or(|decoding| decoding == case.decoding)
            && self.mode.is_none_or(|mode| mode == case.mode)
            && self.task == case.task
    }

    /// A bound is kept if the whole interval keeps it and broken if none of it does.
    fn judge(&self, measured: Measured, place: &str) -> Finding {
        let Measured { low, high, text, decides } = measured;
        let at_least = |bound: f64| match (low >= bound, high >= bound) {
            (true, _) => Verdict::Kept,
            (false, true) => Verdict::Undecided,
            (false, false) => Verdict::Broken,
        };
        let at_most = |bound: f64| match (high <= bound, low <= bound) {
            (true, _) => Verdict::Kept,
            (false, true) => Verdict::Undecided,
            (false, false) => Verdict::Broken,
        };
        let verdicts = [self.min.map(at_least), self.max.map(at_most)];
        let worst = |verdict: Verdict| verdicts.iter().flatten().any(|found| *found == verdict);
        let verdict = if !decides {
            Verdict::Undecided
        } else if worst(Verdict::Broken) {
            Verdict::Broken
        } else if worst(Verdict::Undecided) {
            Verdict::Undecided
        } else {
            Verdict::Kept
        };
        let bound = |name: &str, value: Option<f64>| value.map(|value| format!("{name} {}", number(value)));
        let bounds: Vec<String> =
            [bound("at least", self.min), bound("at most", self.max)].into_iter().flatten().collect();
        let text = format!("{}: {text}, {}: {place}", metric_name(self.metric), bounds.join(" and "));
        Finding { verdict, text }
    }
}

fn metric_name(metric: Metric) -> String {
    serde_json::to_value(metric).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

fn exact(value: f64) -> Measured {
    Measured { low: value, high: value, text: number(value), decides: true }
}

impl From<Figure> for Measured {
    fn from(of: Figure) -> Self {
        Self { low: of.low, high: of.high, text: figure(&of), decides: true }
    }
}

impl From<Ratio> for Measured {
    fn from(ratio: Ratio) -> Self {
        Self { low: ratio.low, high: ratio.high, text: speedup(Some(&ratio)), decides: ratio.pairs >= PAIRS_MIN }
    }
}

fn of_case(metric: Metric, case: &Case) -> Option<Measured> {
    Some(match metric {
        Metric::DecodeTokensPerS => case.decode_tokens_per_s?.into(),
        Metric::PrefillTokensPerS => case.prefill_tokens_per_s?.into(),
        Metric::Speedup => case.speedup?.into(),
        Metric::TtftMsP50 => exact(case.ttft_ms.p50),
        Metric::TtftMsP90 => exact(case.ttft_ms.p90),
        Metric::TtftMsP99 => exact(case.ttft_ms.p99),
        Metric::InterTokenMsP50 => exact(case.inter_token_ms.p50),
        Metric::InterTokenMsP90 => exact(case.inter_token_ms.p90),
        Metric::InterTokenMsP99 => exact(case.inter_token_ms.p99),
        Metric::InterTokenMsMax => exact(case.inter_token_ms.max),
        Metric::TokensPerTargetCall => exact(case.tokens_per_target_call?),
        Metric::AcceptanceRate => exact(case.acceptance_rate?),
        Metric::Mbsu => exact(case.mbsu?),
        Metric::EnergyMjPerToken => exact(*case.energy_mj_per_token.value()?),
        Metric::IdenticalShare => exact(case.identical_share?),
        Metric::OutlierShare => exact(case.outliers as f64 / case.generations.max(1) as f64),
        _ => return None,
    })
}

fn of_subject(metric: Metric, subject: &Subject) -> Option<Measured> {
    let value = match metric {
        Metric::LoadColdMs => *subject.load.as_ref()?.cold_ms.value()?,
        Metric::LoadWarmMs => subject.load.as_ref()?.warm_ms,
        Metric::PeakBytes => *subject.memory.as_ref()?.peak_bytes.value()? as f64,
        Metric::CacheBytes => subject.memory.as_ref()?.cache_bytes as f64,
        Metric::TargetPassMs => *subject.costs.as_ref()?.target_ms.first()?,
        Metric::DrafterPassMs => subject.costs.as_ref()?.drafter_ms?,
        _ => return None,
    };
    Some(exact(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::tests::{generation, run};
    use crate::fixture::report;

    fn limits(text: &str) -> Result<Limits> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Limits::read(file.path())
    }

    fn verdicts(text: &str) -> Vec<Verdict> {
        limits(text).unwrap().check(&report(run())).iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn limits_are_kept_or_broken() {
        let kept = "[[limit]]\nmetric = \"speedup\"\nmin = 1.5\nmode = \"drafter\"\ndecoding = \"greedy\"";
        assert_eq!(verdicts(kept), [Verdict::Kept]);
        assert_eq!(verdicts(&kept.replace("1.5", "2.5")), [Verdict::Broken]);
        assert_eq!(verdicts("[[limit]]\nmetric = \"ttft_ms_p90\"\nmax = 5\n"), [Verdict::Kept; 2], "both modes");
        assert_eq!(
            verdicts("[[limit]]\nmetric = \"inter_token_ms_p99\"\nmax = 4.9\ntask = \"odd\""),
            [Verdict::Broken; 2]
        );
    }

    #[test]
    fn an_interval_that_holds_the_limit_decides_nothing() {
        // Prompts differ sixfold, so the interval of the mean speed is wide.
        let text = "[[limit]]\nmetric = \"decode_tokens_per_s\"\nmin = 300\nmode = \"plain\"";
        assert_eq!(verdicts(text), [Verdict::Undecided]);
        let (lax, strict) = (limits(text).unwrap(), limits(&format!("strict = true\n{text}")).unwrap());
        let findings = lax.check(&report(run()));
        assert!(lax.pass(&findings) && !strict.pass(&findings));
    }

    #[test]
    fn a_speed_up_that_is_not_told_is_not_told_by_the_gate() {
        let pair = |speed| vec![generation(Mode::Plain, 0, 0, 100.0), generation(Mode::Drafter, 0, 0, speed)];
        let limits = limits("[[limit]]\nmetric = \"speedup\"\nmin = 1.5").unwrap();
        for speed in [200.0, 50.0] {
            let finding = limits.check(&report(pair(speed))).remove(0);
            assert_eq!(finding.verdict, Verdict::Undecided, "one pair decides nothing");
            assert!(finding.text.starts_with("speedup: too few pairs (1), at least 1.50"), "{}", finding.text);
        }
        let mut scattered = run();
        for (place, generation) in scattered.iter_mut().enumerate().filter(|(_, g)| g.mode == Mode::Drafter) {
            generation.decode_tokens_per_s *= if place % 4 == 1 { 0.4 } else { 0.6 };
        }
        let finding = limits.check(&report(scattered)).remove(0);
        assert!(finding.text.starts_with("speedup: not told from 1 ["), "{}", finding.text);
    }

    #[test]
    fn what_is_missing_is_broken() {
        let findings = limits("[[limit]]\nmetric = \"load_cold_ms\"\nmax = 1").unwrap().check(&report(run()));
        assert_eq!(findings[0].verdict, Verdict::Broken);
        assert!(findings[0].text.contains("no such figure"));
        assert_eq!(verdicts("[[limit]]\nmetric = \"mbsu\"\nmin = 1\nmode = \"lookup\""), [Verdict::Broken]);
    }

    #[test]
    fn a_file_that_limits_nothing_is_refused() {
        for text in ["", "[[limit]]\nmetric = \"speedup\"", "[[limit]]\nmetric = \"speed\"\nmin = 1", "min = 1"] {
            assert!(limits(text).is_err(), "{text}");
        }
    }
}
