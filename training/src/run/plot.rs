//! A run's metrics as a picture: loss, learning rate and, where it was measured, acceptance over the steps.

use std::collections::BTreeMap;

use serde_json::Value;

use super::scalars::scalars;
use crate::chart::{Axis, Chart, Line};

/// Most points of a line: each is the mean of its share of the steps.
const POINTS_MAX: usize = 400;

/// What a panel shows: its title, and the name of the line for each tag that belongs to it.
type Panel = (&'static str, fn(&str) -> Option<String>);

const PANELS: [Panel; 3] = [
    ("loss", |tag| match tag {
        "loss" => Some("training".into()),
        _ => tag.strip_prefix("validation/").map(|corpus| format!("validation, {corpus}")),
    }),
    ("learning rate", |tag| (tag == "learning_rate").then(|| "training".into())),
    ("acceptance", |tag| match tag {
        "acceptance" => Some("training, Σ min(p, q)".into()),
        _ => tag
            .strip_prefix("held_out/")?
            .strip_suffix("/acceptance")
            .filter(|set| !set.contains("/block/"))
            .map(|set| format!("held out, {set}")),
    }),
];

/// `metrics`, the text of a `metrics.jsonl`, as an SVG file; none if no line has a number to show.
pub(super) fn svg(metrics: &str) -> Option<String> {
    let lines: Vec<(f64, Vec<(String, f64)>)> = metrics
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|line| (line["step"].as_f64().unwrap_or(0.0), scalars(&line)))
        .collect();
    let charts: Vec<Chart> = PANELS.iter().filter_map(|panel| chart(*panel, &lines)).collect();
    let width: f64 = charts.iter().map(|chart| chart.size().0).sum();
    let height = charts.iter().map(|chart| chart.size().1).reduce(f64::max)?;
    let mut left = 0.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fafafa\"/>\n"
    );
    for chart in &charts {
        svg.push_str(&chart.svg(left));
        svg.push('\n');
        left += chart.size().0;
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn chart((title, named): Panel, lines: &[(f64, Vec<(String, f64)>)]) -> Option<Chart> {
    let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (step, values) in lines {
        for (tag, value) in values {
            if let (Some(name), true) = (named(tag), value.is_finite()) {
                series.entry(name).or_default().push((*step, *value));
            }
        }
    }
    let all = || series.values().flatten();
    let least = |of: fn(&(f64, f64)) -> f64| all().map(of).reduce(f64::min);
    let most = |of: fn(&(f64, f64)) -> f64| all().map(of).reduce(f64::max);
    let (x, y) = (|point: &(f64, f64)| point.0, |point: &(f64, f64)| point.1);
    let (x, y) = (Axis::spanning(least(x)?, most(x)?), Axis::spanning(least(y)?.min(0.0), most(y)?));
    let lines = series.into_iter().map(|(name, points)| Line { name, points: thinned(&points), labels: vec![] });
    Some(Chart { title: title.into(), x, y, lines: lines.collect() })
}

/// At most [`POINTS_MAX`] points, each the mean of neighbours.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |near: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| near.iter().map(of).sum::<f64>() / near.len() as f64;
    let groups = points.chunks(points.len().div_ceil(POINTS_MAX).max(1));
    groups.map(|near| (mean(near, |point| point.0), mean(near, |point| point.1))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_measure_of_the_run_has_a_line_in_its_panel() {
        let held_out = json!([{
            "task": "stories", "mode": "greedy", "acceptance": { "value": 0.5, "low": 0.4, "high": 0.6 },
            "block": [{ "draft_len": 3, "acceptance": 0.25 }],
        }]);
        let first = json!({ "step": 0, "score": 0.5, "held_out": held_out });
        let step = |step: usize| {
            json!({ "step": step, "loss": 4.0 / step as f64, "acceptance": 0.1, "learning_rate": 1e-3,
                    "gradient_norm": 9.0, "validation": { "texts/a.txt": 3.0 } })
        };
        let metrics = [first, step(1), step(2)].map(|line| line.to_string()).join("\n");
        let svg = svg(&metrics).unwrap();
        for name in ["loss", "learning rate", "— training, Σ min(p, q)", "— held out, stories, greedy"] {
            assert_eq!(svg.matches(&format!(">{name}</text>")).count(), 1, "{name}: {svg}");
        }
        assert!(svg.contains(">— validation, texts/a.txt</text>"));
        assert_eq!(svg.matches("<polyline").count(), 5, "neither blocks nor gradient norms");
        // Loss 4 at the first of two steps and 2 at the second, from 0 to 4.
        assert!(svg.contains("points=\"34.0,34.0 326.0,110.0\""), "{svg}");
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
        assert_eq!(super::svg("not json\n{}"), None);
    }

    #[test]
    fn long_runs_are_thinned_to_means() {
        let points: Vec<(f64, f64)> = (0..999).map(|step| (f64::from(step), f64::from(step % 2))).collect();
        let found = thinned(&points);
        assert!(found.len() <= POINTS_MAX && found.len() > 300, "{}", found.len());
        assert_eq!(thinned(&points[..3]), points[..3]);
        assert!(found.iter().all(|(_, value)| (0.3..=0.7).contains(value)));
    }
}
