//! An evaluation for readers: a Markdown table and a page that needs nothing but itself.

use std::fmt::Write as _;

use super::{Evaluation, Row};
use crate::acceptance::Figure;

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
        text.push_str("\n| task | target | right |\n|---|---|---|\n");
    }
    for score in &evaluation.scores {
        let _ = writeln!(text, "| {} | {} | {} |", score.task, score.mode, short(&score.right));
    }
    if !evaluation.clock.is_empty() {
        text.push_str(
            "\n| task | target | drafter | rule | tokens per target call | tokens/s | speed against the target alone | \
             speed against the first drafter | right |\n|---|---|---|---|---|---|---|---|---|\n",
        );
    }
    for row in &evaluation.clock {
        let times = |figure: &Option<Figure>| figure.as_ref().map_or_else(|| "–".into(), |f| format!("{}×", short(f)));
        let right = row.right.as_ref().map_or_else(|| "–".into(), short);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.0} | {} | {} | {right} |",
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
         figure{display:inline-block;margin:1em}svg{background:#fafafa}</style></head><body>\n",
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
            plot(&mut page, &format!("{}, {}", key.0, key.1), &rows);
            plotted.push(key);
        }
    }
    page.push_str("</body></html>\n");
    page
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

const COLOURS: [&str; 6] = ["#1b6ca8", "#c8553d", "#3c8d53", "#8e5ea2", "#b08a00", "#555555"];
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 220.0;
const MARGIN: f64 = 34.0;

/// Acceptance by draft position at the longest draft length, a line per drafter.
fn plot(page: &mut String, title: &str, rows: &[&Row]) {
    let positions = rows.iter().filter_map(|row| row.summary.block.last()).map(|block| block.draft_len).max();
    let positions = positions.unwrap_or(1);
    let x = |position: usize| MARGIN + (WIDTH - 2.0 * MARGIN) * position as f64 / (positions.max(2) - 1) as f64;
    let y = |share: f64| HEIGHT - MARGIN - (HEIGHT - 2.0 * MARGIN) * share;
    let _ = write!(
        page,
        "<figure><figcaption>{}: acceptance by draft position</figcaption><svg width=\"{WIDTH}\" height=\"{HEIGHT}\">",
        escaped(title)
    );
    for share in [0.0, 0.5, 1.0] {
        let _ = write!(
            page,
            "<line x1=\"{MARGIN}\" x2=\"{}\" y1=\"{1}\" y2=\"{1}\" stroke=\"#ddd\"/><text x=\"4\" y=\"{1}\" \
             font-size=\"11\">{share}</text>",
            WIDTH - MARGIN,
            y(share)
        );
    }
    for position in 0..positions {
        let (at, below) = (x(position), HEIGHT - MARGIN + 16.0);
        let _ = write!(page, "<text x=\"{at}\" y=\"{below}\" font-size=\"11\">{}</text>", position + 1);
    }
    for (index, row) in rows.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let shares = row.summary.block.last().map_or(&[][..], |block| &block.acceptance_by_position);
        let points: Vec<String> = shares
            .iter()
            .enumerate()
            .filter_map(|(position, share)| share.map(|share| format!("{:.1},{:.1}", x(position), y(share))))
            .collect();
        let _ = write!(
            page,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"{}\" font-size=\"11\" fill=\"{colour}\">{}</text>",
            points.join(" "),
            MARGIN + 4.0,
            MARGIN - 18.0 + 12.0 * index as f64,
            escaped(&row.drafter)
        );
    }
    page.push_str("</svg></figure>\n");
}

/// Names come from recipes: they may not become markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
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
            scores: vec![ScoreRow { task: "sums".into(), mode: Mode::Greedy, right: figure }],
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
    fn the_page_is_whole_and_names_are_not_markup() {
        let page = html(&evaluation());
        assert!(!page.contains("<b>") && page.contains("&lt;b&gt;"));
        assert!(!page.contains("http") && !page.contains("<script"));
        for tag in ["table", "tr", "td", "svg", "figure", "body"] {
            let count = |mark: &str| page.matches(mark).count();
            assert_eq!(count(&format!("<{tag}>")) + count(&format!("<{tag} ")), count(&format!("</{tag}>")), "{tag}");
        }
    }
}
