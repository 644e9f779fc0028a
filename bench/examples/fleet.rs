//! Makes a fleet of synthetic reports from a real one, to see how far the tools carry: no number in it was measured.
//!
//!     cargo run --release -p drafthorse-bench --features report --example fleet -- REPORT COUNT OUT [json]
//!
//! `OUT` gets `cases.parquet` and `generations.parquet` through the same exporter that `collect` uses, or with `json` one
//! file per report for `collect` to read.

use std::path::Path;

use drafthorse_bench::{ParquetFolder, Reading, Report};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Processors that do not exist, with how fast they are.
const SOCS: [(&str, f64); 8] = [
    ("Synthetic A100", 0.4),
    ("Synthetic A200", 0.6),
    ("Synthetic B100", 0.8),
    ("Synthetic B200", 1.0),
    ("Synthetic C100", 1.3),
    ("Synthetic C200", 1.6),
    ("Synthetic D100", 2.0),
    ("Synthetic D200", 2.4),
];
const SYSTEMS: [&str; 3] = ["Synthetic OS 14", "Synthetic OS 15", "Synthetic OS 16"];
/// Reports that every device sends.
const PER_DEVICE: usize = 4;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, count, out, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: fleet REPORT COUNT OUT [json]");
        std::process::exit(2);
    };
    let base = Report::read(Path::new(base)).expect("a report to begin with");
    let count: usize = count.parse().expect("a number of reports");
    let out = Path::new(out);
    let as_json = rest.first().is_some_and(|form| form == "json");
    std::fs::create_dir_all(out).expect("a folder to write to");
    let mut table = (!as_json).then(|| ParquetFolder::create(out).expect("a folder to write to"));
    for number in 0..count {
        let report = synthetic(&base, number);
        match &mut table {
            Some(table) => table.add(&report).expect("rows that can be written"),
            None => report.write(&out.join(format!("{number:06}.json"))).expect("a file that can be written"),
        }
    }
    if let Some(table) = table {
        table.finish().expect("files that can be written");
    }
}

/// The report of one of many devices: as fast as its processor is, give or take.
fn synthetic(base: &Report, number: usize) -> Report {
    let device = number / PER_DEVICE;
    let mut of_device = ChaCha8Rng::seed_from_u64(device as u64);
    let mut of_report = ChaCha8Rng::seed_from_u64(!(number as u64));
    let (soc, speed) = SOCS[of_device.next_u64() as usize % SOCS.len()];
    let system = SYSTEMS[of_device.next_u64() as usize % SYSTEMS.len()];
    let factor = speed * (0.15 * normal(&mut of_device) + 0.05 * normal(&mut of_report)).exp();
    let mut report = base.clone();
    report.id = format!("{number:032x}");
    report.program = "synthetic".to_owned();
    report.machine.label = Some(format!("synthetic {device}"));
    report.machine.soc = Reading::present(soc.to_owned(), "made up");
    report.machine.os_version = Reading::present(system.to_owned(), "made up");
    for subject in &mut report.subjects {
        for case in &mut subject.cases {
            for figure in [&mut case.decode_tokens_per_s, &mut case.prefill_tokens_per_s].into_iter().flatten() {
                for value in [&mut figure.value, &mut figure.low, &mut figure.high] {
                    *value *= factor;
                }
            }
            for times in [&mut case.ttft_ms, &mut case.inter_token_ms] {
                for value in [&mut times.p50, &mut times.p90, &mut times.p99, &mut times.max] {
                    *value /= factor;
                }
            }
        }
        for generation in &mut subject.generations {
            let own = factor * (0.03 * normal(&mut of_report)).exp();
            generation.decode_tokens_per_s *= own;
            generation.prefill_tokens_per_s *= own;
            generation.ttft_ms /= own;
        }
    }
    report
}

/// Standard normal, by the sum of twelve uniform numbers.
fn normal(random: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| random.next_u64() as f64 / u64::MAX as f64).sum::<f64>() - 6.0
}
