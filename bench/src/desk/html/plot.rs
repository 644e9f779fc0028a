//! Axes, lines and dots as SVG text: what every plot of a report is drawn with.

use std::fmt::Write;

use crate::plan::{Decoding, Mode};
use crate::table::number;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 56.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;

/// Colours, sizes and fonts, for pages and for plots on their own. Both themes keep the order of the modes' brightness.
pub(super) const STYLE: &str = "\
:root{--paper:#fff;--ink:#1f2430;--soft:#667085;--line:#d5d9e0;--panel:#f6f7f9;\
--plain:#7a8190;--drafter:#1f6fb2;--lookup:#b7791f;--both:#2f855a;--adaptive:#b83280;\
--greedy:#1f2430;--sampled:#6b46c1;--lenient:#0e7490;--good:#2f855a;--bad:#b4231a}\
@media(prefers-color-scheme:dark){:root{--paper:#14171d;--ink:#e6e9ef;--soft:#98a1b0;--line:#333a46;--panel:#1b2027;\
--plain:#9aa3b2;--drafter:#63b3ed;--lookup:#ecc94b;--both:#68d391;--adaptive:#f687b3;\
--greedy:#e6e9ef;--sampled:#b794f4;--lenient:#4fd1c5;--good:#68d391;--bad:#fc8181}}\
svg text{font:12px system-ui,sans-serif;fill:var(--ink)}svg .soft{fill:var(--soft)}svg .grid{stroke:var(--line)}\
svg .rule{stroke:var(--ink);stroke-width:1.2}";

/// The colour of a mode, the same in every plot.
pub(super) fn colour(mode: Mode) -> &'static str {
    match mode {
        Mode::Plain => "var(--plain)",
        Mode::Drafter => "var(--drafter)",
        Mode::Lookup => "var(--lookup)",
        Mode::Both => "var(--both)",
        Mode::Adaptive => "var(--adaptive)",
    }
}

/// The colour and the dashes of a decoding, where lines are told apart by it and not by mode.
pub(super) fn line_of(decoding: Decoding) -> (&'static str, &'static str) {
    match decoding {
        Decoding::Greedy => ("var(--greedy)", ""),
        Decoding::Sampled => ("var(--sampled)", "5 4"),
        Decoding::Lenient => ("var(--lenient)", "2 3"),
    }
}

/// From values to places along an axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Scale {
    /// An even scale that holds `low` and `high`.
    pub(super) fn even(low: f64, high: f64) -> Self {
        let (low, high) = if low.is_finite() && high.is_finite() { (low, high) } else { (0.0, 1.0) };
        Self { low, high: if high > low { high } else { low + 1.0 }, is_log: false }
    }

    /// An even scale from 0 to a little above the greatest of `values`.
    pub(super) fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        let high = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        Self::even(0.0, if high > 0.0 { high * 1.08 } else { 1.0 })
    }

    /// A logarithmic scale from `low` to `high`, both positive.
    pub(super) fn log(low: f64, high: f64) -> Self {
        let low = if low.is_finite() && low > 0.0 { low } else { 1e-3 };
        Self { low, high: if high > low * 1.5 { high } else { low * 1.5 }, is_log: true }
    }

    /// Place of `value`, 0 at the low end and 1 at the high one; what lies outside is drawn at the end.
    fn share(&self, value: f64) -> f64 {
        let share = if self.is_log {
            (value.max(1e-12) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }

    /// Round values to label, at most eight or so.
    fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            let decades = (self.low.log10().floor() as i32)..=(self.high.log10().ceil() as i32);
            let many = (self.high / self.low).log10() > 2.5;
            let steps: &[f64] = if many { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let all = decades.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
            return all.filter(|tick| (self.low..=self.high).contains(tick)).collect();
        }
        let rough = (self.high - self.low) / 5.0;
        let unit = 10_f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * unit).find(|step| *step >= rough).unwrap_or(10.0 * unit);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|index| index as f64 * step).collect()
    }
}

/// A plot under construction.
#[derive(Debug)]
pub(super) struct Chart {
    title: String,
    x: Scale,
    y: Scale,
    right: Option<Scale>,
    body: String,
    legend: Vec<(String, String)>,
}

impl Chart {
    /// A plot that says `title` to those who cannot see it.
    pub(super) fn new(title: &str, x: Scale, y: Scale) -> Self {
        Self { title: title.to_owned(), x, y, right: None, body: String::new(), legend: Vec::new() }
    }

    /// The plot with a second scale at the right.
    pub(super) fn with_right(mut self, scale: Scale) -> Self {
        self.right = Some(scale);
        self
    }

    /// Puts `name` into the legend.
    pub(super) fn name(&mut self, colour: &str, name: &str) {
        self.legend.push((colour.to_owned(), name.to_owned()));
    }

    /// A line through `points`.
    pub(super) fn line(&mut self, points: &[(f64, f64)], colour: &str, dash: &str) {
        let places: Vec<String> =
            points.iter().map(|&(x, y)| format!("{:.1},{:.1}", self.at_x(x), self.at_y(y))).collect();
        let _ = write!(
            self.body,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>",
            places.join(" ")
        );
    }

    /// A line by the scale at the right.
    pub(super) fn right_line(&mut self, points: &[(f64, f64)], colour: &str) {
        let Some(right) = self.right else { return };
        let places: Vec<String> = points
            .iter()
            .map(|&(x, y)| format!("{:.1},{:.1}", self.at_x(x), bottom() - right.share(y) * plot_height()))
            .collect();
        let _ = write!(
            self.body,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1\" \
             stroke-opacity=\"0.45\"/>",
            places.join(" ")
        );
    }

    /// A dot that tells `about` when pointed at; open ones are less sure.
    pub(super) fn dot(&mut self, x: f64, y: f64, colour: &str, is_open: bool, about: &str) {
        let fill = if is_open { "var(--paper)" } else { colour };
        let _ = write!(
            self.body,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.2\" fill=\"{fill}\" stroke=\"{colour}\"><title>{}</title></circle>",
            self.at_x(x),
            self.at_y(y),
            escaped(about)
        );
    }

    /// A cross, for an outlier.
    pub(super) fn cross(&mut self, x: f64, y: f64, colour: &str, about: &str) {
        let (x, y) = (self.at_x(x), self.at_y(y));
        let _ = write!(
            self.body,
            "<path d=\"M{:.1} {:.1}l7 7m0 -7l-7 7\" stroke=\"{colour}\" stroke-width=\"1.8\"><title>{}</title></path>",
            x - 3.5,
            y - 3.5,
            escaped(about)
        );
    }

    /// An interval.
    pub(super) fn whisker(&mut self, x: f64, low: f64, high: f64, colour: &str, about: &str) {
        let (at, from, to) = (self.at_x(x), self.at_y(low), self.at_y(high));
        let _ = write!(
            self.body,
            "<path d=\"M{at:.1} {from:.1}V{to:.1}M{0:.1} {from:.1}h8M{0:.1} {to:.1}h8\" stroke=\"{colour}\" \
             stroke-width=\"1.6\"><title>{1}</title></path>",
            at - 4.0,
            escaped(about)
        );
    }

    /// A faint bar by the scale at the right, from `x - 0.4` to `x + 0.4`.
    pub(super) fn right_bar(&mut self, x: f64, value: f64, colour: &str, about: &str) {
        let Some(right) = self.right else { return };
        let (from, to) = (self.at_x(x - 0.4), self.at_x(x + 0.4));
        let height = right.share(value) * plot_height();
        let _ = write!(
            self.body,
            "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{colour}\" \
             fill-opacity=\"0.25\"><title>{}</title></rect>",
            bottom() - height,
            to - from,
            escaped(about)
        );
    }

    /// A line across, with a label at its end.
    pub(super) fn across(&mut self, y: f64, label: &str) {
        let at = self.at_y(y);
        let _ = write!(
            self.body,
            "<path class=\"rule\" d=\"M{LEFT} {at:.1}H{:.1}\" stroke-dasharray=\"5 4\"/>\
             <text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            WIDTH - RIGHT - 4.0,
            at - 5.0,
            escaped(label)
        );
    }

    /// The plot, with named axes; `ticks` label the x axis where its numbers are no measure but names.
    pub(super) fn svg(&self, x_name: &str, y_name: &str, right_name: &str, ticks: Option<&[(f64, String)]>) -> String {
        let mut out =
            format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", escaped(&self.title));
        self.grid(&mut out, ticks);
        let _ = write!(
            out,
            "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 6.0,
            escaped(x_name)
        );
        for (name, x) in [(y_name, 14.0), (right_name, WIDTH - 8.0)] {
            let y = (TOP + bottom()) / 2.0;
            let _ = write!(
                out,
                "<text class=\"soft\" transform=\"translate({x} {y:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
                escaped(name)
            );
        }
        out.push_str(&self.body);
        let mut at = LEFT;
        for (colour, name) in &self.legend {
            let _ = write!(
                out,
                "<rect x=\"{at:.1}\" y=\"10\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"20\">{}</text>",
                at + 17.0,
                escaped(name)
            );
            at += 30.0 + 6.6 * name.chars().count() as f64;
        }
        out.push_str("</svg>");
        out
    }

    fn grid(&self, out: &mut String, ticks: Option<&[(f64, String)]>) {
        for tick in self.y.ticks() {
            let y = self.at_y(tick);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                short(tick)
            );
        }
        if let Some(right) = self.right {
            for tick in right.ticks() {
                let _ = write!(
                    out,
                    "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    WIDTH - RIGHT + 6.0,
                    bottom() - right.share(tick) * plot_height() + 4.0,
                    short(tick)
                );
            }
        }
        let own: Vec<(f64, String)> = self.x.ticks().into_iter().map(|tick| (tick, short(tick))).collect();
        for (tick, name) in ticks.unwrap_or(&own) {
            let x = self.at_x(*tick);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{x:.1} {:.1}v4\"/><text class=\"soft\" x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{}</text>",
                bottom(),
                bottom() + 17.0,
                escaped(name)
            );
        }
        let _ = write!(out, "<path class=\"grid\" d=\"M{LEFT} {:.1}H{:.1}\"/>", bottom(), WIDTH - RIGHT);
    }

    fn at_x(&self, x: f64) -> f64 {
        LEFT + self.x.share(x) * (WIDTH - LEFT - RIGHT)
    }

    fn at_y(&self, y: f64) -> f64 {
        bottom() - self.y.share(y) * plot_height()
    }
}

fn bottom() -> f64 {
    HEIGHT - BOTTOM
}

fn plot_height() -> f64 {
    HEIGHT - TOP - BOTTOM
}

/// A tick's label without digits that say nothing.
fn short(tick: f64) -> String {
    let text = if tick.fract().abs() < 1e-9 { format!("{tick:.0}") } else { number(tick) };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The plot as a file of its own, on paper of its own.
pub(super) fn standalone(svg: &str) -> String {
    let open = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\""
    );
    let body = svg.replacen(&format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\""), &open, 1);
    let paper = format!("><style>{STYLE}</style><rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"var(--paper)\"/>");
    body.replacen('>', &paper, 1)
}

/// Names come from packs, prompts and devices: they may not become markup.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Scale::even(0.0, 1.0).ticks(), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(Scale::log(0.8, 30.0).ticks(), [1.0, 2.0, 5.0, 10.0, 20.0]);
        assert_eq!(Scale::log(0.01, 100.0).ticks(), [0.01, 0.1, 1.0, 10.0, 100.0]);
        assert!(Scale::even(f64::NAN, 3.0).ticks().len() > 2);
        assert_eq!((short(0.6000000000000001), short(20.0), short(2.5)), ("0.6".into(), "20".into(), "2.5".into()));
    }

    #[test]
    fn names_do_not_become_markup() {
        let mut chart = Chart::new("<b>", Scale::even(0.0, 1.0), Scale::even(0.0, 1.0));
        chart.dot(0.5, 0.5, "red", false, "a < b & c");
        let svg = standalone(&chart.svg("x", "y", "", None));
        assert!(!svg.contains("<b>") && svg.contains("a &lt; b &amp; c") && svg.starts_with("<svg xmlns"));
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
    }
}
