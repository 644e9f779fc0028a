//! `drafthorse generate`: one prompt, continued.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use drafthorse::{Account, Event, GenerationOptions, Message, Prompt, Session, StopReason};

use crate::arguments::Generate;
use crate::failure::{INTERRUPTED, Result};
use crate::interrupt;
use crate::output::{self, Printer};

pub(crate) fn run(arguments: &Generate, json: bool) -> Result<ExitCode> {
    let options = arguments.generation.options()?;
    let prompt = prompt(arguments.prompt.as_deref())?;
    let messages = messages(arguments, &prompt);
    interrupt::install()?;

    let engine = arguments.models.open(json || arguments.display.quiet)?;
    let session = engine.session(&arguments.models.session_options())?;
    let mut printer = output::printer(json, arguments.display.show_draft, arguments.display.quiet);
    for _ in 0..arguments.repeat {
        let prompt = match &messages {
            Some(messages) => Prompt::Messages { messages, tools: &[] },
            None => Prompt::Text(&prompt),
        };
        let account = stream(&session, prompt, &options, printer.as_mut())?;
        if account.stop_reason == StopReason::Cancelled {
            return Ok(ExitCode::from(INTERRUPTED));
        }
        session.reset()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs one generation to its end, or to Ctrl-C, and shows its events.
pub(crate) fn stream(
    session: &Session,
    prompt: Prompt<'_>,
    options: &GenerationOptions,
    printer: &mut dyn Printer,
) -> Result<Account> {
    let generation = session.generate(prompt, options)?;
    let _watch = interrupt::watch(generation.cancel_handle());
    for event in generation {
        let event = event?;
        printer.event(&event)?;
        if let Event::Finished(account) = event {
            return Ok(*account);
        }
    }
    unreachable!("a generation ends with its account or an error")
}

fn prompt(argument: Option<&str>) -> Result<String> {
    match argument {
        Some(text) if text != "-" => Ok(text.to_owned()),
        _ => {
            if std::io::stdin().is_terminal() {
                eprintln!("Type the prompt; Ctrl-D on a new line ends it.");
            }
            let mut text = String::new();
            std::io::stdin().lock().read_to_string(&mut text)?;
            Ok(text)
        }
    }
}

fn messages(arguments: &Generate, prompt: &str) -> Option<Vec<Message>> {
    if !arguments.chat_template && arguments.system.is_none() {
        return None;
    }
    let system = arguments.system.iter().map(|text| Message::new("system", text));
    Some(system.chain([Message::new("user", prompt)]).collect())
}
