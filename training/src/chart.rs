//! Line charts as SVG that needs nothing but itself: for the evaluator's page and for a run's metrics.

use std::fmt::Write as _;

const COLOURS: [&str; 6] = ["#1b6ca8", "#c8553d", "#3c8d53", "#8e5ea2", "#b08a00", "#555555"];
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 220.0;
const MARGIN: f64 = 34.0;
const LEGEND_LINE: f64 = 14.0;

/// A chart of lines over one pair of axes.
pub struct Chart {
    /// Stands above it.
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
    /// Each in a colour of its own; the first six differ.
    pub lines: Vec<Line>,
}

/// What an axis spans.
pub struct Axis {
    /// Value at its beginning.
    pub from: f64,
    /// Value at its end.
    pub to: f64,
    /// Values that are written at it, with what is written.
    pub ticks: Vec<(f64, String)>,
}

/// A line through points.
pub struct Line {
    /// Stands below the chart.
    pub name: String,
    /// In the order of their x.
    pub points: Vec<(f64, f64)>,
    /// What is written at each point, which is then marked; empty marks none.
    pub labels: Vec<String>,
}

impl Axis {
    /// Spans `from` to `to` with a tick at both ends and in the middle.
    pub fn spanning(from: f64, to: f64) -> Self {
        let ticks = [from, f64::midpoint(from, to), to].map(|value| (value, short(value)));
        Self { from, to, ticks: ticks.into() }
    }

    /// Where `value` lies between the ends, as a share.
    fn share(&self, value: f64) -> f64 {
        let span = self.to - self.from;
        if span == 0.0 { 0.0 } else { (value - self.from) / span }
    }
}

/// Three digits, in powers of ten where the value is small.
fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || size >= 1000.0 {
        format!("{value:.0}")
    } else if size < 0.01 {
        format!("{value:.1e}")
    } else {
        let decimals = (2.0 - size.log10().floor()).clamp(0.0, 4.0) as usize;
        let text = format!("{value:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    }
}

impl Chart {
    /// Width and height in pixels.
    pub fn size(&self) -> (f64, f64) {
        (WIDTH, HEIGHT + LEGEND_LINE * self.lines.len() as f64)
    }

    /// The chart as an `svg` element, `left` pixels from the left of the one it stands in.
    pub fn svg(&self, left: f64) -> String {
        let (width, height) = self.size();
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" x=\"{left}\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\"><rect width=\"100%\" height=\"100%\" fill=\"#fafafa\"/>\
             <text x=\"{MARGIN}\" y=\"16\" font-size=\"12\">{}</text>",
            escaped(&self.title)
        );
        self.draw_ticks(&mut svg);
        for (index, line) in self.lines.iter().enumerate() {
            let (colour, below) = (COLOURS[index % COLOURS.len()], HEIGHT + LEGEND_LINE * index as f64);
            self.draw_line(&mut svg, line, colour);
            let _ = write!(
                svg,
                "<text x=\"{MARGIN}\" y=\"{below}\" font-size=\"11\" fill=\"{colour}\">— {}</text>",
                escaped(&line.name)
            );
        }
        svg.push_str("</svg>");
        svg
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let right = MARGIN + (WIDTH - 2.0 * MARGIN) * self.x.share(x);
        (right, HEIGHT - MARGIN - (HEIGHT - 2.0 * MARGIN) * self.y.share(y))
    }

    fn draw_ticks(&self, svg: &mut String) {
        for (value, text) in &self.y.ticks {
            let (_, y) = self.at((self.x.from, *value));
            let _ = write!(
                svg,
                "<line x1=\"{MARGIN}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#ddd\"/>\
                 <text x=\"2\" y=\"{y}\" font-size=\"10\">{}</text>",
                WIDTH - MARGIN,
                escaped(text)
            );
        }
        for (value, text) in &self.x.ticks {
            let ((x, _), y) = (self.at((*value, self.y.from)), HEIGHT - MARGIN + 14.0);
            let _ = write!(
                svg,
                "<text x=\"{x}\" y=\"{y}\" font-size=\"10\" text-anchor=\"middle\">{}</text>",
                escaped(text)
            );
        }
    }

    fn draw_line(&self, svg: &mut String, line: &Line, colour: &str) {
        let places: Vec<(f64, f64)> = line.points.iter().map(|&point| self.at(point)).collect();
        let points: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            points.join(" ")
        );
        for ((x, y), label) in places.iter().zip(&line.labels) {
            let _ = write!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{y:.1}\" font-size=\"9\">{}</text>",
                x + 5.0,
                escaped(label)
            );
        }
    }
}

/// Names come from recipes: they may not become markup.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_where_the_axes_say_and_names_are_not_markup() {
        let line = Line { name: "<a>".into(), points: vec![(0.0, 1.0), (10.0, 3.0)], labels: vec!["one".into()] };
        let (x, y) = (Axis::spanning(0.0, 10.0), Axis::spanning(1.0, 3.0));
        let svg = Chart { title: "a & b".into(), x, y, lines: vec![line] }.svg(0.0);
        assert!(svg.contains("points=\"34.0,186.0 326.0,34.0\""), "{svg}");
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;a&gt;") && !svg.contains("<a>"));
        assert_eq!((svg.matches("<circle").count(), svg.matches("</svg>").count()), (1, 1));
        // A line that never changes still has a place.
        assert_eq!(Axis::spanning(2.0, 2.0).share(2.0), 0.0);
    }

    #[test]
    fn ticks_are_short() {
        let found = [0.0, 0.0015, 0.25, 2.3456, 120.0, 1500.0].map(short);
        assert_eq!(found, ["0", "1.5e-3", "0.25", "2.35", "120", "1500"]);
    }
}
