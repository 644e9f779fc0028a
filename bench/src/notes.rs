//! What a reader should know before believing a number, found in the report itself.

use crate::plan::{Decoding, Mode};
use crate::report::{Report, Subject};
use crate::statistics::median;
use crate::table::provider;

/// Drift of plain decoding over a run that is worth a word.
const DRIFT: f64 = 0.10;

/// Share of the processors that others may use before it is worth a word.
const OTHERS: f64 = 0.05;

/// Notes about `report`.
pub(crate) fn of(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(how) = &report.pack.inflated {
        notes.push(format!(
            "the target is inflated ({how}): its costs are those of a bigger model, its text is the small one's"
        ));
    }
    for subject in &report.subjects {
        let name = if report.subjects.len() > 1 {
            format!("{} on {}: ", subject.engine, provider(subject))
        } else {
            String::new()
        };
        notes.extend(of_subject(subject).into_iter().map(|note| format!("{name}{note}")));
    }
    notes
}

fn of_subject(subject: &Subject) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(costs) = subject.costs.as_ref().filter(|costs| !costs.stable) {
        notes.push(format!(
            "the cost curve did not settle: {:.0} % between the last two of {} sweeps",
            100.0 * costs.change,
            costs.sweeps
        ));
    }
    if let Some(drift) = drift(subject).filter(|drift| (drift - 1.0).abs() > DRIFT) {
        let word = if drift > 1.0 { "faster" } else { "slower" };
        notes.push(format!(
            "the device became {word}: plain decoding in the last third of the run was {drift:.2} times as fast as in the first"
        ));
    }
    let shares: Vec<f64> = subject.samples.iter().filter_map(|sample| sample.other_cpu_share).collect();
    let share = if shares.is_empty() { 0.0 } else { shares.iter().sum::<f64>() / shares.len() as f64 };
    if share > OTHERS {
        notes.push(format!("other programs used {:.0} % of the processors meanwhile", 100.0 * share));
    }
    let throttles: Vec<f64> = subject.samples.iter().filter_map(|sample| sample.throttle).collect();
    if let (Some(first), Some(last)) = (throttles.first(), throttles.iter().copied().reduce(f64::max))
        && last > *first
    {
        notes.push(format!("the processor throttled: its counter or state rose from {first} to {last}"));
    }
    let hot: Vec<f64> = subject.pauses.iter().filter(|pause| pause.hot).map(|pause| pause.s).collect();
    if !hot.is_empty() {
        let seconds: f64 = hot.iter().sum();
        notes.push(format!("waited {} times, {seconds:.0} s in all, for the device to cool", hot.len()));
    }
    for case in subject.over_all(Decoding::Greedy) {
        if let Some(share) = case.identical_share.filter(|share| *share < 1.0) {
            notes.push(format!(
                "greedy text in mode {} was the target's own in {:.0} % of the pairs; the rest parted at near ties, or wrongly: `drafthorse demo` tells",
                case.mode.name(),
                100.0 * share
            ));
        }
    }
    notes
}

/// Speed of plain decoding in the last third of the run over that in the first, prompt by prompt.
fn drift(subject: &Subject) -> Option<f64> {
    let plain: Vec<_> =
        subject.generations.iter().filter(|g| g.mode == Mode::Plain && g.decode_tokens_per_s > 0.0).collect();
    let (begin, end) = (plain.first()?.at_s, plain.last()?.at_s);
    let typical = |prompt: usize, turn: usize| {
        median(plain.iter().filter(|g| (g.prompt, g.turn) == (prompt, turn)).map(|g| g.decode_tokens_per_s).collect())
    };
    let relative = |from: f64, to: f64| {
        let within = plain.iter().filter(|g| {
            let place = (g.at_s - begin) / (end - begin);
            (from..=to).contains(&place)
        });
        let values: Vec<f64> = within.map(|g| g.decode_tokens_per_s / typical(g.prompt, g.turn)).collect();
        (values.len() >= 5).then(|| median(values))
    };
    Some(relative(2.0 / 3.0, 1.0)? / relative(0.0, 1.0 / 3.0)?)
}

#[cfg(all(test, feature = "report"))]
mod tests {
    use super::*;
    use crate::case::tests::run;
    use crate::fixture::report;
    use crate::report::Pause;

    #[test]
    fn only_waiting_for_a_hot_device_is_worth_a_word() {
        let mut report = report(run());
        let pause = |s, hot| Pause { at_s: 0.0, s, reason: String::new(), hot };
        report.subjects[0].pauses = vec![pause(5.0, false); 3];
        assert_eq!(of(&report), [""; 0]);
        report.subjects[0].pauses.extend([pause(2.0, true), pause(4.0, true)]);
        assert_eq!(of(&report), ["waited 2 times, 6 s in all, for the device to cool"]);
    }
}
