//! The report as text for a terminal: what a person wants to know first, and what to know before believing it.

use std::fmt::Write;

use crate::case::Case;
use crate::plan::{Decoding, Mode};
use crate::reading::Reading;
use crate::report::{Report, Subject};
use crate::statistics::{Figure, PAIRS_MIN, Ratio};

/// The report as plain text, of lines that a terminal of 120 columns holds.
pub fn table(report: &Report) -> String {
    let mut out = String::new();
    head(&mut out, report);
    for subject in &report.subjects {
        subject_text(&mut out, report, subject);
    }
    if !report.notes.is_empty() {
        let _ = writeln!(out, "\nBefore you believe it");
        for note in &report.notes {
            let _ = writeln!(out, "{}", wrapped(note, "  - ", "    "));
        }
    }
    out
}

fn head(out: &mut String, report: &Report) {
    let (pack, machine) = (&report.pack, &report.machine);
    let known = |reading: &Reading<String>| reading.value().cloned();
    let drafter = match (pack.drafter_bytes, pack.parameter_ratio.value()) {
        (Some(bytes), Some(ratio)) => format!("drafter {} ({:.1} % of the target)", mib(bytes), 100.0 * ratio),
        (Some(bytes), None) => format!("drafter {}", mib(bytes)),
        (None, _) => "no drafter".to_owned(),
    };
    let _ = writeln!(out, "{}: target {}, {drafter}", pack.name, mib(pack.target_bytes));
    let names = [machine.label.clone(), known(&machine.device), known(&machine.soc)];
    let system = [
        known(&machine.os_version).or_else(|| Some(machine.os.clone())),
        Some(machine.arch.clone()),
        Some(format!("{} processors", machine.cpu_count)),
        machine.memory_bytes.value().map(|bytes| mib(*bytes)),
    ];
    let line: Vec<String> = names.into_iter().chain(system).flatten().collect();
    let _ = writeln!(out, "{}", line.join(", "));
    let _ = writeln!(
        out,
        "{}, {:.0} s, {} at most {} tokens, {} repetitions asked for; 95 % intervals in brackets",
        report.started_at, report.duration_s, report.program, report.plan.max_tokens, report.plan.repetitions
    );
}

fn subject_text(out: &mut String, report: &Report, subject: &Subject) {
    let _ = writeln!(out, "\n{} on {}, {}", subject.engine, provider(subject), threads(subject.threads));
    let _ = writeln!(out, "{}", subject.runtime);
    for refused in &subject.refused {
        let _ = writeln!(out, "{}", wrapped(refused, "  refused: ", "    "));
    }
    for decoding in Decoding::ALL {
        let all: Vec<&Case> = subject.over_all(decoding).collect();
        if !all.is_empty() {
            modes(out, decoding, &all);
        }
    }
    by_task(out, subject);
    resources(out, report, subject);
}

/// Threads in words.
pub(crate) fn threads(threads: Option<usize>) -> String {
    match threads {
        None => "the runtime's choice of threads".to_owned(),
        Some(1) => "1 thread".to_owned(),
        Some(n) => format!("{n} threads"),
    }
}

/// The target's provider, and the drafter's where it is another.
pub(crate) fn provider(subject: &Subject) -> String {
    match &subject.drafter_provider {
        Some(drafter) if *drafter != subject.provider => format!("{}, drafter on {drafter}", subject.provider),
        _ => subject.provider.clone(),
    }
}

fn modes(out: &mut String, decoding: Decoding, all: &[&Case]) {
    let what = match decoding {
        Decoding::Greedy => "greedy",
        Decoding::Sampled => "sampled at temperature 1",
        Decoding::Lenient => "lenient at temperature 1: NOT the target's distribution",
    };
    let first = all[0];
    let _ = writeln!(
        out,
        "\n{what}: {} prompts, {} generations of each mode, first token after {} (p50) or {} (p90)",
        first.prompts,
        first.generations,
        ms(first.ttft_ms.p50),
        ms(first.ttft_ms.p90)
    );
    let mut rows = vec![
        [
            "mode",
            "tokens/s",
            "against plain",
            "ms/token p50",
            "p90",
            "p99",
            "max",
            "tokens/call",
            "accepted",
            "MBSU",
            "outliers",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(all.iter().map(|case| mode_row(case)));
    aligned(out, &rows);
    if let Some(case) = all.iter().find(|case| case.energy_mj_per_token.value().is_some()) {
        let energy = |case: &&&Case| Some(format!("{} {:.1}", case.mode.name(), case.energy_mj_per_token.value()?));
        let parts: Vec<String> = all.iter().filter_map(|case| energy(&case)).collect();
        let _ = writeln!(out, "  mJ per token ({}): {}", case.energy_mj_per_token.explanation(), parts.join(", "));
    }
}

fn mode_row(case: &Case) -> Vec<String> {
    let dash = || "–".to_owned();
    let two = |value: Option<f64>| value.map_or_else(dash, |value| format!("{value:.2}"));
    vec![
        case.mode.name().to_owned(),
        case.decode_tokens_per_s.as_ref().map_or_else(dash, figure),
        if case.mode == Mode::Plain { dash() } else { speedup(case.speedup.as_ref()) },
        number(case.inter_token_ms.p50),
        number(case.inter_token_ms.p90),
        number(case.inter_token_ms.p99),
        number(case.inter_token_ms.max),
        two(case.tokens_per_target_call),
        case.acceptance_rate.map_or_else(dash, |share| format!("{:.0} %", 100.0 * share)),
        two(case.mbsu),
        format!("{}/{}", case.outliers, case.generations),
    ]
}

/// Speed-ups of every mode on every task.
fn by_task(out: &mut String, subject: &Subject) {
    let mut tasks: Vec<&str> = subject.cases.iter().filter_map(|case| case.task.as_deref()).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let modes: Vec<Mode> = Mode::ALL.into_iter().filter(|mode| *mode != Mode::Plain).collect();
    for decoding in Decoding::ALL {
        let find = |task: &str, mode: Mode| {
            let cases = &mut subject.cases.iter();
            cases.find(|case| case.decoding == decoding && case.mode == mode && case.task.as_deref() == Some(task))
        };
        let present: Vec<Mode> =
            modes.iter().copied().filter(|&mode| tasks.iter().any(|task| find(task, mode).is_some())).collect();
        if present.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\nspeed against plain by task, {}", decoding.name());
        let mut rows = vec![
            std::iter::once("task")
                .chain(present.iter().map(|mode| mode.name()))
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        ];
        for task in &tasks {
            let cell = |mode: &Mode| find(task, *mode).map_or_else(String::new, |case| speedup(case.speedup.as_ref()));
            rows.push(std::iter::once((*task).to_owned()).chain(present.iter().map(cell)).collect());
        }
        aligned(out, &rows);
    }
}

fn resources(out: &mut String, report: &Report, subject: &Subject) {
    let _ = writeln!(out);
    if let Some(load) = &subject.load {
        let cold = load.cold_ms.value().map_or_else(|| "–".to_owned(), |cold| ms(*cold));
        let read = load
            .cold_read_bytes
            .value()
            .map_or_else(String::new, |bytes| format!(", {} read from storage", mib(*bytes)));
        let _ = writeln!(out, "load        cold {cold}{read}; warm {}", ms(load.warm_ms));
    }
    if let Some(memory) = &subject.memory {
        let show = |reading: &Reading<u64>| reading.value().map_or_else(|| "unknown".to_owned(), |bytes| mib(*bytes));
        let _ = writeln!(
            out,
            "memory      peak {}, {} before opening; KV caches {} for {} tokens",
            show(&memory.peak_bytes),
            show(&memory.before_bytes),
            mib(memory.cache_bytes),
            memory.context_len
        );
    }
    if let Some(costs) = &subject.costs {
        let at = |rows: usize| costs.target_ms.get(rows - 1).map(|cost| format!("{rows}: {}", number(*cost)));
        let curve: Vec<String> = [1, 2, 3, 4, 5, 8, 12, 16, 17].into_iter().filter_map(at).collect();
        let drafter = costs.drafter_ms.map_or_else(String::new, |cost| format!("; drafter {}", ms(cost)));
        let _ = writeln!(out, "costs       target pass by rows, ms: {}{drafter}", curve.join(", "));
    }
    for prediction in &subject.predictions {
        let reached = prediction.reached.map_or_else(|| "not told from 1".to_owned(), |ratio| format!("{ratio:.2}×"));
        let _ = writeln!(
            out,
            "predicted   {}: at best {:.2}× with drafts of {} (α {:.2}); adaptive reached {reached}",
            prediction.decoding.name(),
            prediction.speedup_best,
            prediction.draft_len_best,
            prediction.acceptance
        );
    }
    let absent: Vec<&str> =
        report.machine.sensors.iter().filter(|(_, r)| r.value().is_none()).map(|(name, _)| name.as_str()).collect();
    if !absent.is_empty() {
        let _ = writeln!(
            out,
            "{}",
            wrapped(&format!("{} (the report says why)", absent.join(", ")), "not told    ", "            ")
        );
    }
}

/// Columns as wide as their widest cell, the first to the left and the others to the right.
pub(crate) fn aligned(out: &mut String, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let len = |cell: &String| cell.chars().count();
    let widths: Vec<usize> =
        (0..columns).map(|column| rows.iter().filter_map(|row| row.get(column)).map(len).max().unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let space = " ".repeat(widths[column] - len(cell));
            let _ = if column == 0 { write!(line, "  {cell}{space}") } else { write!(line, "  {space}{cell}") };
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

/// A ratio with its interval, or that there is none to tell.
pub(crate) fn speedup(ratio: Option<&Ratio>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| told(ratio) + &reach(ratio))
}

/// What is told of a ratio, without its interval.
pub(crate) fn told(ratio: &Ratio) -> String {
    match ratio.value {
        Some(value) => format!("{value:.2}×"),
        None if ratio.pairs >= PAIRS_MIN => "not told from 1".to_owned(),
        None => format!("too few pairs ({})", ratio.pairs),
    }
}

/// The interval of a ratio, after a space; nothing of too few pairs, which have none to believe.
pub(crate) fn reach(ratio: &Ratio) -> String {
    let is_believed = ratio.value.is_some() || ratio.pairs >= PAIRS_MIN;
    if is_believed { format!(" {}", interval(ratio.low, ratio.high, |end| format!("{end:.2}"))) } else { String::new() }
}

/// A figure with its interval.
pub(crate) fn figure(figure: &Figure) -> String {
    format!("{} {}", number(figure.value), interval(figure.low, figure.high, number))
}

/// An interval in brackets.
pub(crate) fn interval(low: f64, high: f64, show: impl Fn(f64) -> String) -> String {
    format!("[{}–{}]", show(low), show(high))
}

/// Three digits that count.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

pub(crate) fn ms(value: f64) -> String {
    if value >= 10_000.0 { format!("{:.1} s", value / 1e3) } else { format!("{} ms", number(value)) }
}

/// Bytes in binary units.
pub(crate) fn mib(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    match mib {
        m if m >= 1024.0 => format!("{:.1} GiB", m / 1024.0),
        m if m >= 100.0 => format!("{m:.0} MiB"),
        _ => format!("{mib:.1} MiB"),
    }
}

/// Lines of at most 100 columns, the first after `first` and the others after `rest`.
fn wrapped(text: &str, first: &str, rest: &str) -> String {
    let mut lines = vec![first.to_owned()];
    let mut is_begin = true;
    for word in text.split_whitespace() {
        let len = lines.last().map_or(0, |line| line.chars().count());
        if !is_begin && len + 1 + word.chars().count() > 100 {
            lines.push(rest.to_owned());
            is_begin = true;
        }
        let line = lines.last_mut().expect("there is a first line");
        if !is_begin {
            line.push(' ');
        }
        line.push_str(word);
        is_begin = false;
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_that_could_be_one_is_no_number() {
        let ratio = |value, low, high, pairs| speedup(Some(&Ratio { value, low, high, pairs }));
        assert_eq!(ratio(Some(1.5), 1.4, 1.6, 20), "1.50× [1.40–1.60]");
        assert_eq!(ratio(None, 0.97, 1.04, 20), "not told from 1 [0.97–1.04]");
        assert_eq!(ratio(None, 1.2, 1.3, 4), "too few pairs (4)");
    }

    #[test]
    fn long_notes_are_wrapped() {
        let text = wrapped(&"word ".repeat(40), "- ", "  ");
        assert!(text.lines().count() > 1 && text.lines().all(|line| line.chars().count() <= 100));
        assert!(text.starts_with("- word") && text.lines().nth(1).unwrap().starts_with("  word"));
    }
}
