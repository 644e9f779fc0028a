//! Events of a generation, shown to people or written as JSON lines.

use std::io::{IsTerminal, Write};

use drafthorse::{Chunk, Event};
use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::Result;
use crate::style::{DRAFTED, FAINT};
use crate::summary;

/// Takes the events of one generation after another.
pub(crate) trait Printer {
    /// Shows one event.
    ///
    /// # Errors
    /// If standard output is closed.
    fn event(&mut self, event: &Event) -> Result<()>;
}

/// The printer that was asked for.
pub(crate) fn printer(json: bool, show_draft: bool, quiet: bool) -> Box<dyn Printer> {
    if json { Box::new(JsonLines::default()) } else { Box::new(Terminal { show_draft, quiet, prefill: None }) }
}

/// Text on standard output; progress and figures on standard error.
struct Terminal {
    show_draft: bool,
    quiet: bool,
    prefill: Option<ProgressBar>,
}

impl Printer for Terminal {
    fn event(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Prefill { done, total } => self.prefill(*done as u64, *total as u64),
            Event::Tokens(chunk) => {
                self.end_prefill();
                let mut out = anstream::stdout().lock();
                if self.show_draft {
                    write_coloured(&mut out, chunk)?
                } else {
                    write!(out, "{}", chunk.text)?
                }
                out.flush()?;
            }
            Event::Finished(account) => {
                self.end_prefill();
                writeln!(anstream::stdout().lock())?;
                if !self.quiet {
                    writeln!(anstream::stderr().lock(), "{FAINT}{}{FAINT:#}", summary::line(account))?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Terminal {
    fn prefill(&mut self, done: u64, total: u64) {
        if self.quiet || !std::io::stderr().is_terminal() {
            return;
        }
        let bar = self.prefill.get_or_insert_with(|| {
            let style =
                ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} tokens").expect("the template is fixed");
            ProgressBar::new(total).with_style(style).with_message("reading the prompt")
        });
        bar.set_position(done);
    }

    fn end_prefill(&mut self) {
        if let Some(bar) = self.prefill.take() {
            bar.finish_and_clear();
        }
    }
}

/// Tokens that were drafted and accepted stand out.
fn write_coloured(out: &mut impl Write, chunk: &Chunk) -> Result<()> {
    let mut start = 0;
    for token in &chunk.tokens {
        let text = &chunk.text[start..token.text_end];
        if token.drafted {
            write!(out, "{DRAFTED}{text}{DRAFTED:#}")?
        } else {
            write!(out, "{text}")?
        }
        start = token.text_end;
    }
    write!(out, "{}", &chunk.text[start..])?;
    Ok(())
}

/// One JSON object per line, the kind of event under `event`.
#[derive(Default)]
struct JsonLines {
    text: String,
}

impl Printer for JsonLines {
    fn event(&mut self, event: &Event) -> Result<()> {
        let value = match event {
            Event::Prefill { done, total } => {
                serde_json::json!({"event": "prefill", "done": done, "total": total})
            }
            Event::Tokens(Chunk { text, tokens }) => {
                self.text.push_str(text);
                serde_json::json!({"event": "tokens", "text": text, "tokens": tokens})
            }
            Event::Finished(account) => {
                let text = std::mem::take(&mut self.text);
                serde_json::json!({"event": "finished", "text": text, "account": account})
            }
            _ => return Ok(()),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{value}")?;
        out.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use drafthorse::Token;

    use super::*;

    #[test]
    fn drafted_tokens_stand_out_and_no_text_is_lost() {
        let token = |drafted, text_end| Token { id: 0, drafted, text_end };
        let chunk = Chunk { text: "one two".into(), tokens: vec![token(true, 3), token(true, 3), token(false, 7)] };
        let mut out = Vec::new();
        write_coloured(&mut out, &chunk).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with(&format!("{DRAFTED}one{DRAFTED:#}")), "{text:?}");
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), "one two");
    }
}
