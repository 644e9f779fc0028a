//! The plots of a report, one function each.

use super::plot::{Chart, Scale, colour, line_of};
use crate::case::Case;
use crate::histogram::Histogram;
use crate::plan::{Decoding, Mode};
use crate::report::Subject;
use crate::table::{ms, number, speedup};

/// Intervals of the speed-up of each mode on each task; a dot stands only where it is told from 1.
pub(super) fn by_task(subject: &Subject, decoding: Decoding) -> Option<String> {
    let told: Vec<&Case> =
        subject.cases.iter().filter(|case| case.decoding == decoding && case.speedup.is_some()).collect();
    let mut tasks: Vec<Option<&str>> = told.iter().map(|case| case.task.as_deref()).collect();
    // `None`, all tasks together, sorts first.
    tasks.sort_unstable();
    tasks.dedup();
    let modes: Vec<Mode> = Mode::ALL.into_iter().filter(|mode| told.iter().any(|case| case.mode == *mode)).collect();
    if told.is_empty() {
        return None;
    }
    let ratios = || told.iter().filter_map(|case| case.speedup.as_ref());
    let high = ratios().map(|ratio| ratio.high).fold(1.0, f64::max);
    let low = ratios().map(|ratio| ratio.low).fold(1.0, f64::min);
    let title = format!("Speed against plain decoding by task, {}", decoding.name());
    let y = Scale::even(if low < 0.9 { 0.0 } else { 0.5 * low }, high * 1.08);
    let mut chart = Chart::new(&title, Scale::even(-0.5, tasks.len() as f64 - 0.5), y);
    modes.iter().for_each(|mode| chart.name(colour(*mode), mode.name()));
    chart.across(1.0, "plain");
    for case in &told {
        let place = tasks.iter().position(|task| *task == case.task.as_deref()).unwrap_or(0) as f64;
        let order = modes.iter().position(|mode| *mode == case.mode).unwrap_or(0) as f64;
        let x = place + 0.7 * ((order + 0.5) / modes.len() as f64 - 0.5);
        let Some(ratio) = &case.speedup else { continue };
        let about = format!("{}: {}, {} pairs", case.mode.name(), speedup(Some(ratio)), ratio.pairs);
        chart.whisker(x, ratio.low, ratio.high, colour(case.mode), &about);
        if let Some(value) = ratio.value {
            chart.dot(x, value, colour(case.mode), false, &about);
        }
    }
    let names: Vec<(f64, String)> =
        tasks.iter().enumerate().map(|(place, task)| (place as f64, task.unwrap_or("all").to_owned())).collect();
    Some(chart.svg("", "times as fast as plain", "", Some(&names)))
}

/// Share of tokens that came within a time of the one before.
pub(super) fn latency(subject: &Subject, decoding: Decoding) -> Option<String> {
    let cases: Vec<&Case> = subject.over_all(decoding).filter(|case| !case.inter_token.bins.is_empty()).collect();
    let bins = || cases.iter().flat_map(|case| case.inter_token.bins.iter().map(|bin| bin.0));
    let (first, last) = (bins().min()?, bins().max()?);
    let x = Scale::log(Histogram::start_ms(first), Histogram::start_ms(last + 1));
    let title = format!("Distribution of the time between tokens, {}", decoding.name());
    let mut chart = Chart::new(&title, x, Scale::even(0.0, 100.0));
    for percentile in [50.0, 90.0, 99.0] {
        chart.across(percentile, &format!("p{percentile:.0}"));
    }
    for case in &cases {
        chart.name(colour(case.mode), case.mode.name());
        let total = case.inter_token.bins.iter().map(|bin| bin.1).sum::<u64>() as f64;
        let (mut points, mut below) = (Vec::new(), 0.0);
        for &(index, count) in &case.inter_token.bins {
            points.push((Histogram::start_ms(index), 100.0 * below / total));
            below += count as f64;
            points.push((Histogram::start_ms(index + 1), 100.0 * below / total));
        }
        chart.line(&points, colour(case.mode), "");
    }
    Some(chart.svg("milliseconds since the token before, a round's time shared by its tokens", "% of tokens", "", None))
}

/// Share of proposed tokens that were accepted, by place in the draft.
pub(super) fn acceptance(subject: &Subject, decoding: Decoding) -> Option<String> {
    let cases: Vec<&Case> = subject.over_all(decoding).filter(|case| !case.acceptance_by_position.is_empty()).collect();
    let longest = cases.iter().map(|case| case.acceptance_by_position.len()).max()?;
    let title = format!("Acceptance by draft position, {}", decoding.name());
    let mut chart = Chart::new(&title, Scale::even(0.5, longest as f64 + 0.5), Scale::even(0.0, 100.0));
    for case in cases {
        chart.name(colour(case.mode), case.mode.name());
        let points: Vec<(f64, f64)> = case
            .acceptance_by_position
            .iter()
            .enumerate()
            .map(|(position, share)| (position as f64 + 1.0, 100.0 * share))
            .collect();
        chart.line(&points, colour(case.mode), "");
        for (x, y) in points {
            chart.dot(x, y, colour(case.mode), false, &format!("{}, position {x}: {y:.0} %", case.mode.name()));
        }
    }
    let ticks: Vec<(f64, String)> = (1..=longest).map(|place| (place as f64, place.to_string())).collect();
    Some(chart.svg("place in the draft", "% of the tokens proposed there", "", Some(&ticks)))
}

/// What a target pass costs by its rows, and which widths the adaptive mode chose.
pub(super) fn costs(subject: &Subject, decoding: Decoding) -> Option<String> {
    let costs = subject.costs.as_ref()?;
    let points: Vec<(f64, f64)> =
        costs.target_ms.iter().enumerate().map(|(index, cost)| (index as f64 + 1.0, *cost)).collect();
    let adaptive = subject.over_all(decoding).find(|case| case.mode == Mode::Adaptive);
    let chosen: &[usize] = adaptive.map_or(&[], |case| &case.draft_lens);
    let rounds = chosen.iter().sum::<usize>().max(1) as f64;
    let shares: Vec<f64> = chosen.iter().map(|count| 100.0 * *count as f64 / rounds).collect();
    let title = "Cost of a target pass by rows, and the rows that the adaptive mode chose";
    let x = Scale::even(0.5, points.len().max(shares.len()) as f64 + 0.5);
    let mut chart = Chart::new(title, x, Scale::from_zero(points.iter().map(|point| point.1)));
    if !shares.is_empty() {
        chart = chart.with_right(Scale::from_zero(shares.iter().copied()));
    }
    chart.name("var(--ink)", "target pass");
    for (len, share) in shares.iter().enumerate() {
        let about = format!("drafts of {len}: {share:.0} % of the adaptive rounds");
        chart.right_bar(len as f64 + 1.0, *share, colour(Mode::Adaptive), &about);
    }
    chart.line(&points, "var(--ink)", "");
    for &(rows, cost) in &points {
        chart.dot(rows, cost, "var(--ink)", false, &format!("{rows} rows: {}", ms(cost)));
    }
    if let Some(cost) = costs.drafter_ms {
        chart.name(colour(Mode::Drafter), "drafter pass, one row");
        chart.line(&[(0.5, cost), (points.len() as f64 + 0.5, cost)], colour(Mode::Drafter), "5 4");
    }
    if !shares.is_empty() {
        chart.name(colour(Mode::Adaptive), "adaptive rounds");
    }
    let right = if shares.is_empty() { "" } else { "% of adaptive rounds" };
    let ticks: Vec<(f64, String)> = points.iter().map(|(rows, _)| (*rows, format!("{rows}"))).collect();
    Some(chart.svg("rows of the pass: the draft and one more", "ms", right, Some(&ticks)))
}

/// S by draft length, with the best of it and what the adaptive mode reached.
pub(super) fn prediction(subject: &Subject) -> Option<String> {
    let predictions = &subject.predictions;
    let longest = predictions.iter().map(|prediction| prediction.speedup_by_draft_len.len()).max()?;
    let values = || predictions.iter().flat_map(|prediction| prediction.speedup_by_draft_len.iter().copied());
    let reached = || predictions.iter().filter_map(|prediction| prediction.reached);
    let y = Scale::from_zero(values().chain(reached()).chain([1.0]));
    let mut chart = Chart::new("Predicted speed by draft length", Scale::even(-0.5, longest as f64 - 0.5), y);
    chart.across(1.0, "plain");
    for prediction in predictions {
        let (tint, dash) = line_of(prediction.decoding);
        chart.name(
            tint,
            &format!("{} α {:.2}: {:.2}×", prediction.decoding.name(), prediction.acceptance, prediction.speedup_best),
        );
        let points: Vec<(f64, f64)> =
            prediction.speedup_by_draft_len.iter().enumerate().map(|(len, value)| (len as f64, *value)).collect();
        chart.line(&points, tint, dash);
        let (best, value) = (prediction.draft_len_best as f64, prediction.speedup_best);
        let about = format!("{}: at best {value:.2}× with drafts of {best}", prediction.decoding.name());
        chart.dot(best, value, tint, false, &about);
        if let Some(reached) = prediction.reached {
            let about = format!("{}: adaptive reached {reached:.2}×", prediction.decoding.name());
            chart.dot(best, reached, tint, true, &about);
        }
    }
    let ticks: Vec<(f64, String)> = (0..longest).map(|len| (len as f64, len.to_string())).collect();
    Some(chart.svg(
        "tokens drafted per round; the dot is the best, the ring what adaptive reached",
        "times as fast as plain",
        "",
        Some(&ticks),
    ))
}

/// Every generation's speed over time, with the temperature where the device tells it, else what other programs
/// used.
pub(super) fn over_time(subject: &Subject) -> Option<String> {
    let all: Vec<_> = subject.generations.iter().filter(|g| g.decode_tokens_per_s > 0.0).collect();
    let end = all.iter().map(|g| g.at_s).fold(0.0, f64::max);
    let begin = all.iter().map(|g| g.at_s).fold(end, f64::min);
    let y = Scale::from_zero(all.iter().map(|g| g.decode_tokens_per_s));
    let mut chart = Chart::new("Speed of every generation over time", Scale::even(begin, end), y);
    let line = |of: fn(&crate::probe::Sample) -> Option<f64>| -> Vec<(f64, f64)> {
        subject.samples.iter().filter_map(|sample| Some((sample.at_s, of(sample)?))).collect()
    };
    let (temperature, others) =
        (line(|sample| sample.temperature_c), line(|sample| Some(100.0 * sample.other_cpu_share?)));
    let (name, points) = match (temperature.is_empty(), others.is_empty()) {
        (false, _) => ("°C", temperature),
        (true, false) => ("% of processors used by others", others),
        (true, true) => ("", Vec::new()),
    };
    if !points.is_empty() {
        let high = points.iter().map(|point| point.1).fold(1.0, f64::max);
        let low = if name == "°C" { points.iter().map(|point| point.1).fold(high, f64::min) - 2.0 } else { 0.0 };
        chart = chart.with_right(Scale::even(low, high * 1.05));
        chart.right_line(&points, "var(--bad)");
    }
    for mode in Mode::ALL.into_iter().filter(|mode| all.iter().any(|g| g.mode == *mode)) {
        chart.name(colour(mode), mode.name());
    }
    for generation in all {
        let (x, y, tint) = (generation.at_s, generation.decode_tokens_per_s, colour(generation.mode));
        let about = format!(
            "{} {}, {}, prompt {}: {} tokens/s",
            generation.decoding.name(),
            generation.mode.name(),
            generation.task,
            generation.prompt + 1,
            number(y)
        );
        if generation.outlier {
            chart.cross(x, y, tint, &format!("outlier: {about}"));
        } else {
            chart.dot(x, y, tint, generation.decoding != Decoding::Greedy, &about);
        }
    }
    (end > begin)
        .then(|| chart.svg("seconds since the run began; rings are sampled, crosses outliers", "tokens/s", name, None))
}
