//! Colours, one meaning each. `anstream` leaves them out where they cannot be shown.

use anstyle::{AnsiColor, Effects, Style};
use clap::builder::Styles;

/// A token that was drafted and accepted.
pub(crate) const DRAFTED: Style = AnsiColor::Green.on_default();
/// Names of figures, and whatever is said beside the text.
pub(crate) const FAINT: Style = Style::new().effects(Effects::DIMMED);
/// What the eye should find first.
pub(crate) const STRONG: Style = Style::new().effects(Effects::BOLD);
/// Good news.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().effects(Effects::BOLD);
/// Bad news.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);

/// The help page.
pub(crate) const HELP: Styles =
    Styles::styled().header(STRONG).usage(STRONG).literal(AnsiColor::Cyan.on_default()).placeholder(FAINT).error(BAD);
