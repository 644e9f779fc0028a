//! A report as rows of plain columns, for tables that outlive this program.

use crate::case::Case;
use crate::reading::Reading;
use crate::report::{Report, Subject};

/// A cell. Absent values are null.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// Text.
    Text(Option<String>),
    /// A number with a fraction.
    Number(Option<f64>),
    /// A count.
    Count(Option<i64>),
    /// Yes or no.
    Flag(bool),
}

/// A row: names and cells, the same names for every row of a table.
pub(crate) type Row = Vec<(&'static str, Cell)>;

fn text(value: impl Into<String>) -> Cell {
    Cell::Text(Some(value.into()))
}

fn reading(reading: &Reading<String>) -> Cell {
    Cell::Text(reading.value().cloned())
}

fn number(value: impl Into<Option<f64>>) -> Cell {
    Cell::Number(value.into())
}

fn count(value: usize) -> Cell {
    Cell::Count(i64::try_from(value).ok())
}

fn bytes(value: Option<u64>) -> Cell {
    Cell::Count(value.and_then(|value| i64::try_from(value).ok()))
}

/// What every row of a report begins with.
fn head(report: &Report, subject: &Subject) -> Row {
    let (machine, pack) = (&report.machine, &report.pack);
    vec![
        ("report_id", text(&report.id)),
        ("format_version", Cell::Count(Some(i64::from(report.format_version)))),
        ("program", text(&report.program)),
        ("started_at", text(&report.started_at)),
        ("device_label", Cell::Text(machine.label.clone())),
        ("device", reading(&machine.device)),
        ("soc", reading(&machine.soc)),
        ("os", text(&machine.os)),
        ("os_version", reading(&machine.os_version)),
        ("arch", text(&machine.arch)),
        ("memory_bytes", bytes(machine.memory_bytes.value().copied())),
        ("pack", text(&pack.name)),
        ("target_digest", reading(&pack.target_digest)),
        ("drafter_digest", reading(&pack.drafter_digest)),
        ("is_inflated", Cell::Flag(pack.inflated.is_some())),
        ("engine", text(&subject.engine)),
        ("runtime", text(&subject.runtime)),
        ("provider", text(&subject.provider)),
        ("drafter_provider", Cell::Text(subject.drafter_provider.clone())),
        ("threads", Cell::Count(subject.threads.and_then(|threads| i64::try_from(threads).ok()))),
    ]
}

/// A row per subject and case.
pub(crate) fn case_rows(report: &Report) -> impl Iterator<Item = Row> {
    report
        .subjects
        .iter()
        .flat_map(move |subject| subject.cases.iter().map(move |case| case_row(report, subject, case)))
}

fn case_row(report: &Report, subject: &Subject, case: &Case) -> Row {
    let mut row = head(report, subject);
    let (load, memory) = (subject.load.as_ref(), subject.memory.as_ref());
    let (decode, prefill, ratio) = (case.decode_tokens_per_s, case.prefill_tokens_per_s, case.speedup);
    row.extend([
        ("load_cold_ms", number(load.and_then(|load| load.cold_ms.value().copied()))),
        ("load_warm_ms", number(load.map(|load| load.warm_ms))),
        ("peak_bytes", bytes(memory.and_then(|memory| memory.peak_bytes.value().copied()))),
        ("cache_bytes", bytes(memory.map(|memory| memory.cache_bytes))),
        ("decoding", text(case.decoding.name())),
        ("mode", text(case.mode.name())),
        ("task", Cell::Text(case.task.clone())),
        ("generations", count(case.generations)),
        ("prompts", count(case.prompts)),
        ("outliers", count(case.outliers)),
        ("tokens", count(case.tokens)),
        ("ttft_ms_p50", number(case.ttft_ms.p50)),
        ("ttft_ms_p90", number(case.ttft_ms.p90)),
        ("prefill_tokens_per_s", number(prefill.map(|figure| figure.value))),
        ("decode_tokens_per_s", number(decode.map(|figure| figure.value))),
        ("decode_tokens_per_s_low", number(decode.map(|figure| figure.low))),
        ("decode_tokens_per_s_high", number(decode.map(|figure| figure.high))),
        ("inter_token_ms_p50", number(case.inter_token_ms.p50)),
        ("inter_token_ms_p90", number(case.inter_token_ms.p90)),
        ("inter_token_ms_p99", number(case.inter_token_ms.p99)),
        ("inter_token_ms_max", number(case.inter_token_ms.max)),
        ("tokens_per_target_call", number(case.tokens_per_target_call)),
        ("acceptance_rate", number(case.acceptance_rate)),
        ("draft_len_mean", number(case.draft_len_mean)),
        ("mbsu", number(case.mbsu)),
        ("speedup", number(ratio.and_then(|ratio| ratio.value))),
        ("speedup_low", number(ratio.map(|ratio| ratio.low))),
        ("speedup_high", number(ratio.map(|ratio| ratio.high))),
        ("identical_share", number(case.identical_share)),
        ("energy_mj_per_token", number(case.energy_mj_per_token.value().copied())),
        ("is_lossless", Cell::Flag(case.lossless)),
    ]);
    row
}

/// A row per generation.
pub(crate) fn generation_rows(report: &Report) -> impl Iterator<Item = Row> {
    report.subjects.iter().flat_map(move |subject| {
        subject.generations.iter().map(move |generation| {
            let mut row = head(report, subject);
            row.extend([
                ("at_s", number(generation.at_s)),
                ("decoding", text(generation.decoding.name())),
                ("mode", text(generation.mode.name())),
                ("task", text(&generation.task)),
                ("prompt", count(generation.prompt)),
                ("turn", count(generation.turn)),
                ("repetition", count(generation.repetition)),
                ("prompt_tokens", count(generation.prompt_tokens)),
                ("tokens", count(generation.tokens)),
                ("ttft_ms", number(generation.ttft_ms)),
                ("prefill_tokens_per_s", number(generation.prefill_tokens_per_s)),
                ("decode_tokens_per_s", number(generation.decode_tokens_per_s)),
                ("rounds", count(generation.rounds)),
                ("drafted", count(generation.drafted)),
                ("proposed", count(generation.proposed)),
                ("accepted", count(generation.accepted)),
                ("energy_j", number(generation.energy_j)),
                ("stop_reason", text(&generation.stop_reason)),
                ("is_outlier", Cell::Flag(generation.outlier)),
            ]);
            row
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::case::tests::run;
    use crate::fixture::report;

    /// Words of SQL and names of its functions, in the guide's query.
    const WORDS: [&str; 21] = [
        "with",
        "as",
        "select",
        "coalesce",
        "median",
        "min",
        "count",
        "filter",
        "where",
        "from",
        "read_parquet",
        "is",
        "null",
        "and",
        "not",
        "group",
        "by",
        "all",
        "order",
        "quantile_disc",
        "device",
    ];

    #[test]
    fn the_query_in_the_guide_asks_for_columns_that_there_are() {
        let guide = include_str!("../../../docs/guide/bench.md");
        let query = guide.split_once("```sql\n").unwrap().1.split_once("```").unwrap().0.to_lowercase();
        let query = query.replace("'out/cases.parquet'", "");
        let words: Vec<&str> = query.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let made: BTreeSet<&str> =
            words.windows(2).filter(|pair| pair[0] == "as").map(|pair| pair[1]).chain(WORDS).collect();
        let columns: BTreeSet<&str> = case_rows(&report(run())).next().unwrap().iter().map(|cell| cell.0).collect();
        let is_name = |word: &&&str| word.starts_with(|c: char| c.is_alphabetic());
        let asked: BTreeSet<&str> = words
            .iter()
            .filter(is_name)
            .copied()
            .filter(|word| !made.contains(word) || columns.contains(word))
            .collect();
        let unknown: Vec<&&str> = asked.difference(&columns).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        assert!(asked.contains("speedup") && asked.contains("decode_tokens_per_s"), "{asked:?}");
    }
}
