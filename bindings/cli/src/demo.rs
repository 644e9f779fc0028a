//! `drafthorse demo`: the target alone against the pair, on the same prompts, compared token by token.

use std::io::Write;
use std::process::ExitCode;

use drafthorse::{Drafting, Event, GenerationOptions, Prompt, Session, SessionOptions, StopReason, TokenId};

use crate::arguments::Demo;
use crate::comparison::{Comparison, Difference, Run, first_difference};
use crate::failure::{Failure, Result};
use crate::output::{self, Printer};
use crate::style::{FAINT, STRONG};
use crate::{generate, interrupt};

/// What the demo pack was trained to continue; other packs continue them as they can.
const PROMPTS: [&str; 3] = [
    "Once upon a time",
    "One day, a little girl named Lily went to the park with her mom.",
    "Tom and his dog were walking in the forest when they saw a big tree.",
];

/// Tokens of the unmeasured first run of each side.
const WARM_UP_TOKENS: usize = 32;

pub(crate) fn run(arguments: &Demo, json: bool) -> Result<ExitCode> {
    interrupt::install()?;
    let engine = arguments.models.open(json)?;
    let alone = engine.session(&SessionOptions { drafting: Drafting::None, ..SessionOptions::default() })?;
    let pair = engine.session(&arguments.models.session_options())?;
    let prompts = arguments.prompt.as_deref().map_or_else(|| PROMPTS.to_vec(), |prompt| vec![prompt]);

    for session in [&alone, &pair] {
        generation(session, prompts[0], &greedy(WARM_UP_TOKENS), None)?;
    }
    let options = greedy(arguments.max_tokens);
    let mut comparison = Comparison::default();
    for prompt in prompts {
        for number in 0..arguments.runs {
            let visible = number == 0 && !json;
            if visible {
                heading(&format!("{prompt:?}"))?;
            }
            let one = |session, name| {
                if visible {
                    writeln!(anstream::stdout().lock(), "\n{FAINT}{name}:{FAINT:#}")?;
                }
                generation(session, prompt, &options, visible.then(|| output::printer(false, true, false)))
            };
            // The sides take turns in going first, so that a machine that grows slower or faster favours neither.
            let (target_run, pair_run) = if number % 2 == 0 {
                let target_run = one(&alone, "target alone")?;
                (target_run, one(&pair, "target and drafter")?)
            } else {
                let pair_run = one(&pair, "target and drafter")?;
                (one(&alone, "target alone")?, pair_run)
            };
            let difference = difference(&alone, prompt, &target_run, &pair_run)?;
            comparison.add(target_run, pair_run, difference);
        }
    }
    if json {
        writeln!(std::io::stdout().lock(), "{}", comparison.as_json())?;
    } else {
        comparison.write(&mut anstream::stdout().lock())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn greedy(max_tokens: usize) -> GenerationOptions {
    GenerationOptions { temperature: Some(0.0), max_tokens: Some(max_tokens), ..GenerationOptions::default() }
}

fn heading(text: &str) -> Result<()> {
    Ok(writeln!(anstream::stdout().lock(), "\n{STRONG}{text}{STRONG:#}")?)
}

/// One generation from an empty session.
fn generation(
    session: &Session,
    prompt: &str,
    options: &GenerationOptions,
    printer: Option<Box<dyn Printer>>,
) -> Result<Run> {
    session.reset()?;
    let mut recorder = Recorder { tokens: Vec::new(), printer };
    let account = generate::stream(session, Prompt::Text(prompt), options, &mut recorder)?;
    if account.stop_reason == StopReason::Cancelled {
        return Err(Failure::interrupted());
    }
    Ok(Run { tokens: recorder.tokens, account })
}

/// Where the pair's text leaves the target's, and how close the two choices were there.
fn difference(session: &Session, prompt: &str, target_run: &Run, pair_run: &Run) -> Result<Option<Difference>> {
    let Some(index) = first_difference(&target_run.tokens, &pair_run.tokens) else {
        return Ok(None);
    };
    let mut tokens: Vec<TokenId> = session.tokens()?;
    tokens.truncate(target_run.account.prompt_tokens + index);
    let margin = drafthorse::margin(&session.next_logits(&tokens)?);
    Ok(Some(Difference { prompt: prompt.to_owned(), index, margin }))
}

/// Keeps the tokens, and shows the events if there is a printer.
struct Recorder {
    tokens: Vec<TokenId>,
    printer: Option<Box<dyn Printer>>,
}

impl Printer for Recorder {
    fn event(&mut self, event: &Event) -> Result<()> {
        if let Event::Tokens(chunk) = event {
            self.tokens.extend(chunk.tokens.iter().map(|token| token.id));
        }
        self.printer.as_mut().map_or(Ok(()), |printer| printer.event(event))
    }
}
