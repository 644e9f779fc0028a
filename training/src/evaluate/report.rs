//! An evaluation for readers: a Markdown table and a page that needs nothing but itself.

use std::fmt::Write as _;

use drafthorse::Lenience;

use super::{ClockRow, Evaluation, Row, Rule};
use crate::acceptance::Figure;
use crate::chart::{Axis, Chart, Line, escaped};

/// One table for the drafters and one for the target's scores.
pub(super) fn markdown(evaluation: &Evaluation) -> String {
    let lens = &evaluation.recipe.draft_lens;
    let mut text = String::from("| task | target | drafter | size | acceptance | Σ min(p, q) |");
    lens.iter().for_each(|len| text.push_str(&format!(" τ, γ = {len} | MBSU | gain |")));
    text.push_str("\n|---|---|---|---|---|---|");
    lens.iter().for_each(|_| text.push_str("---|---|---|"));
    text.push('\n');
    for row in &evaluation.rows {
        let summary = &row.summary;
        let _ = write!(
            text,
            "| {} | {} | {} | {:.2} % | {} | {} |",
            row.task,
            summary.mode,
            row.drafter,
            100.0 * row.cost_ratio,
            short(&summary.acceptance),
            short(&summary.overlap)
        );
        for (index, block) in summary.block.iter().enumerate() {
            let gain = row.gain.as_ref().map_or_else(|| "–".to_owned(), |gain| format!("{}×", short(&gain[index])));
            let _ =
                write!(text, " {} | {} | {gain} |", short(&block.tokens_per_call), short(&block.memory_bound_speedup));
        }
        text.push('\n');
    }
    if !evaluation.scores.is_empty() {
        text.push_str("\n| task | target | score |\n|---|---|---|\n");
    }
    for score in &evaluation.scores {
        let _ = writeln!(text, "| {} | {} | {} |", score.task, score.mode, short(&score.score));
    }
    if !evaluation.clock.is_empty() {
        text.push_str(
            "\n| task | target | drafter | rule | tokens per target call | tokens/s | speed against the target alone | \
             speed against the first drafter | score |\n|---|---|---|---|---|---|---|---|---|\n",
        );
    }
    for row in &evaluation.clock {
        let times = |figure: &Option<Figure>| figure.as_ref().map_or_else(|| "–".into(), |f| format!("{}×", short(f)));
        let score = row.score.as_ref().map_or_else(|| "–".into(), short);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.0} | {} | {} | {score} |",
            row.task,
            row.mode,
            row.drafter,
            row.rule,
            short(&row.tokens_per_call),
            row.tokens_per_second.value,
            times(&Some(row.speedup)),
            times(&row.gain)
        );
    }
    text
}

fn short(figure: &Figure) -> String {
    format!("{:.2} ({:.2}–{:.2})", figure.value, figure.low, figure.high)
}

/// The same tables in HTML, and for each task and temperature a plot of acceptance by draft position.
pub(super) fn html(evaluation: &Evaluation) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Drafters</title>\n<style>\
         body{font:15px/1.5 sans-serif;margin:2em auto;max-width:72em;padding:0 1em}\
         table{border-collapse:collapse;font-size:13px}td,th{border:1px solid #bbb;padding:.2em .5em;text-align:left}\
         figure{display:inline-block;margin:1em;vertical-align:top}</style></head><body>\n",
    );
    let _ = write!(
        page,
        "<h1>Drafters of {}</h1><p>{} parameters; program {}{}. Intervals: 95 %, bootstrap over texts.</p>",
        escaped(&evaluation.recipe.target.display().to_string()),
        evaluation.target_parameters,
        escaped(evaluation.program),
        evaluation.commit.as_ref().map_or_else(String::new, |commit| format!(", commit {}", escaped(commit)))
    );
    tables(&mut page, &markdown(evaluation));
    let mut plotted: Vec<(&str, String)> = Vec::new();
    for row in &evaluation.rows {
        let key = (row.task.as_str(), row.summary.mode.to_string());
        if !plotted.contains(&key) {
            let rows: Vec<&Row> =
                evaluation.rows.iter().filter(|r| r.task == key.0 && r.summary.mode.to_string() == key.1).collect();
            figure(&mut page, &by_position(&format!("{}, {}", key.0, key.1), &rows));
            plotted.push(key);
        }
    }
    let mut timed: Vec<(&str, &str, String)> = Vec::new();
    for row in &evaluation.clock {
        let key = (row.drafter.as_str(), row.task.as_str(), row.mode.to_string());
        let of = |r: &&ClockRow| (r.drafter.as_str(), r.task.as_str(), r.mode.to_string()) == key;
        let lossy = |r: &&ClockRow| matches!(r.rule, Rule::Lenient(..));
        if lossy(&row) && !timed.contains(&key) {
            let rows: Vec<&ClockRow> = evaluation.clock.iter().filter(of).filter(lossy).collect();
            figure(&mut page, &lossy_curves(&format!("{}, {}, {}", key.0, key.1, key.2), &rows));
            timed.push(key);
        }
    }
    page.push_str("</body></html>\n");
    page
}

fn figure(page: &mut String, chart: &Chart) {
    let _ = writeln!(page, "<figure>{}</figure>", chart.svg(0.0));
}

/// Markdown tables, whose cells hold no vertical bar, as HTML.
fn tables(page: &mut String, markdown: &str) {
    for table in markdown.split("\n\n") {
        page.push_str("<table>\n");
        for (index, line) in table.lines().enumerate().filter(|(_, line)| !line.starts_with("|---")) {
            let tag = if index == 0 { "th" } else { "td" };
            page.push_str("<tr>");
            for cell in line.trim_matches('|').split('|') {
                let _ = write!(page, "<{tag}>{}</{tag}>", escaped(cell.trim()));
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</table><p></p>\n");
    }
}

/// Acceptance by draft position at the longest draft length, a line per drafter.
fn by_position(title: &str, rows: &[&Row]) -> Chart {
    let line = |row: &&Row| {
        let shares = row.summary.block.last().map_or(&[][..], |block| &block.acceptance_by_position);
        let points = shares.iter().enumerate().filter_map(|(at, share)| Some(((at + 1) as f64, (*share)?)));
        Line { name: row.drafter.clone(), points: points.collect(), labels: vec![] }
    };
    let positions = rows.iter().filter_map(|row| row.summary.block.last()).map(|block| block.draft_len).max();
    let positions = positions.unwrap_or(1);
    let ticks = (1..=positions).map(|position| (position as f64, position.to_string())).collect();
    Chart {
        title: format!("{title}: acceptance by draft position"),
        x: Axis { from: 1.0, to: positions as f64, ticks },
        y: Axis::spanning(0.0, 1.0),
        lines: rows.iter().map(line).collect(),
    }
}

/// Speed against the target alone by ε, a line per form of leniency; a point's score, where there is one, stands at it.
fn lossy_curves(title: &str, rows: &[&ClockRow]) -> Chart {
    type Is = fn(&Lenience) -> bool;
    let forms: [(&str, Is); 3] = [
        ("p/ε", |form| matches!(form, Lenience::Linear(_))),
        ("p/ε²", |form| matches!(form, Lenience::Square(_))),
        ("p^ε", |form| matches!(form, Lenience::Exponential(_))),
    ];
    let line = |(name, is): (&str, Is)| {
        let mut points: Vec<(f64, &ClockRow)> = rows
            .iter()
            .filter_map(|row| match &row.rule {
                Rule::Lenient(_, form) if is(form) => Some((form.epsilon(), *row)),
                _ => None,
            })
            .collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        let score = |row: &ClockRow| row.score.as_ref().map_or_else(String::new, |score| format!("{:.2}", score.value));
        Line {
            name: name.into(),
            labels: points.iter().map(|(_, row)| score(row)).collect(),
            points: points.into_iter().map(|(at, row)| (at, row.speedup.value)).collect(),
        }
    };
    let fastest = rows.iter().map(|row| row.speedup.value).fold(1.0, f64::max).ceil();
    let ticks = [0.0, 1.0, fastest].map(|speed| (speed, format!("{speed}×"))).into();
    Chart {
        title: format!("{title}: speed by ε, lossy"),
        x: Axis::spanning(0.0, 1.0),
        y: Axis { from: 0.0, to: fastest, ticks },
        lines: forms.into_iter().map(line).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acceptance::{Mode, Trace, summarise};
    use crate::evaluate::{EvaluateRecipe, ScoreRow};

    fn evaluation() -> Evaluation {
        let recipe: EvaluateRecipe =
            toml::from_str("target = 't'\ndrafter = []\ntask = []\ndraft_lens = [3]\n").unwrap();
        let trace = |chance| Trace { chances: vec![chance; 20], overlaps: vec![chance; 20] };
        let row = |drafter: &str, chance, gain| Row {
            drafter: drafter.into(),
            cost_ratio: 0.1,
            task: "sums".into(),
            summary: summarise(Mode::Greedy, &[trace(chance)], &[3], 0.1, 0).unwrap(),
            gain,
        };
        let figure = Figure { value: 4.0, low: 3.5, high: 4.5 };
        Evaluation {
            program: "0",
            commit: None,
            recipe,
            target_parameters: 5,
            rows: vec![row("plain", 0.0, None), row("<b>", 1.0, Some(vec![figure]))],
            clock: vec![],
            scores: vec![ScoreRow { task: "sums".into(), mode: Mode::Greedy, score: figure }],
        }
    }

    #[test]
    fn every_row_has_the_cells_of_the_heading() {
        let text = markdown(&evaluation());
        let cells = |line: &str| line.matches('|').count();
        let (rows, scores) = text.split_once("\n\n").unwrap();
        for table in [rows, scores] {
            let heading = cells(table.lines().next().unwrap());
            assert!(table.lines().count() > 2 && table.lines().all(|line| cells(line) == heading), "{table}");
        }
        assert!(rows.contains("| sums | greedy | plain | 10.00 % | 0.00 (0.00–0.00) |"));
        assert!(rows.contains("4.00 (3.50–4.50)×"));
    }

    #[test]
    fn lossy_runs_are_drawn_by_epsilon_with_their_scores() {
        let figure = |value| Figure { value, low: value, high: value };
        let row = |rule, speed, score| ClockRow {
            drafter: "plain".into(),
            task: "sums".into(),
            mode: Mode::Sampled(1.0),
            rule,
            tokens_per_call: figure(2.0),
            tokens_per_second: figure(100.0),
            speedup: figure(speed),
            gain: None,
            score,
        };
        let lenient = |form: fn(f64) -> Lenience, epsilon| Rule::Lenient(4, form(epsilon));
        let clock = vec![
            row(Rule::Alone, 1.0, None),
            row(lenient(Lenience::Square, 0.8), 1.5, Some(figure(0.25))),
            row(lenient(Lenience::Square, 0.5), 2.0, Some(figure(0.125))),
            row(lenient(Lenience::Linear, 0.5), 1.2, None),
        ];
        let page = html(&Evaluation { clock, ..evaluation() });
        assert_eq!(page.matches("lossy</text>").count(), 1, "one drafter, task and temperature");
        assert_eq!(page.matches("<circle").count(), 3, "the target alone has no ε");
        assert!(page.contains(">0.25</text>") && page.contains(">0.12</text>"), "scores stand at their points");
        // ε grows to the right and speed upwards: 0.5 at 2× comes before 0.8 at 1.5×.
        assert!(page.contains("points=\"180.0,34.0 267.6,"), "{page}");
        assert!(!html(&evaluation()).contains("lossy"));
    }

    #[test]
    fn the_page_is_whole_and_names_are_not_markup() {
        let page = html(&evaluation());
        assert!(!page.contains("<b>") && page.contains("&lt;b&gt;"));
        assert!(!page.replace("http://www.w3.org/2000/svg", "").contains("http") && !page.contains("<script"));
        for tag in ["table", "tr", "td", "svg", "figure", "body"] {
            let count = |mark: &str| page.matches(mark).count();
            assert_eq!(count(&format!("<{tag}>")) + count(&format!("<{tag} ")), count(&format!("</{tag}>")), "{tag}");
        }
    }
}
