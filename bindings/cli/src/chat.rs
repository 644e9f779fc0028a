//! `drafthorse chat`: a conversation. Ctrl-C ends the answer, not the program.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use drafthorse::{Event, Message, Prompt};

use crate::arguments::Chat;
use crate::failure::Result;
use crate::generate;
use crate::interrupt;
use crate::output::{self, Printer};
use crate::style::{FAINT, STRONG};

const HELP: &str = "Ctrl-C ends the answer; Ctrl-D, or /quit, the conversation; /reset starts anew.";

pub(crate) fn run(arguments: &Chat, json: bool) -> Result<ExitCode> {
    let options = arguments.generation.options()?;
    interrupt::install()?;
    let engine = arguments.models.open(json || arguments.display.quiet)?;
    let session = engine.session(&arguments.models.session_options())?;

    let people = !json && std::io::stdin().is_terminal();
    if people {
        writeln!(anstream::stderr().lock(), "{FAINT}{HELP}{FAINT:#}")?;
    }
    let beginning: Vec<Message> = arguments.system.iter().map(|text| Message::new("system", text)).collect();
    let mut messages = beginning.clone();
    let mut printer = Recorder {
        inner: output::printer(json, arguments.display.show_draft, arguments.display.quiet),
        text: String::new(),
    };
    while let Some(line) = read_line(people)? {
        match line.trim() {
            "" => continue,
            "/quit" | "/exit" => break,
            "/reset" => {
                messages.clone_from(&beginning);
                session.reset()?;
                continue;
            }
            _ => messages.push(Message::new("user", line)),
        }
        printer.text.clear();
        generate::stream(&session, Prompt::Messages { messages: &messages, tools: &[] }, &options, &mut printer)?;
        messages.push(Message::new("assistant", &printer.text));
    }
    Ok(ExitCode::SUCCESS)
}

/// The next line without its end; `None` at the end of the input.
fn read_line(people: bool) -> Result<Option<String>> {
    if people {
        let mut out = anstream::stderr().lock();
        write!(out, "{STRONG}>{STRONG:#} ")?;
        out.flush()?;
    }
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line)? == 0 {
        if people {
            writeln!(anstream::stderr().lock())?;
        }
        return Ok(None);
    }
    line.truncate(line.trim_end_matches(['\n', '\r']).len());
    Ok(Some(line))
}

/// Shows the events and keeps the answer for the next turn.
struct Recorder {
    inner: Box<dyn Printer>,
    text: String,
}

impl Printer for Recorder {
    fn event(&mut self, event: &Event) -> Result<()> {
        if let Event::Tokens(chunk) = event {
            self.text.push_str(&chunk.text);
        }
        self.inner.event(event)
    }
}
