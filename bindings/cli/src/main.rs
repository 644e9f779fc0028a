//! The `drafthorse` command: arguments in, events out, no logic of its own.

mod arguments;
mod assignment;
mod bench;
mod bench_arguments;
mod chat;
mod comparison;
mod demo;
mod failure;
mod folder_arguments;
mod format;
mod generate;
mod generation_arguments;
mod inspect;
mod interrupt;
mod model_arguments;
mod output;
mod pack;
mod style;
mod summary;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::arguments::{Arguments, Command};
use crate::failure::Result;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr(arguments.verbose);
    match run(&arguments) {
        Ok(code) => code,
        Err(failure) => failure.report(arguments.json),
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::Generate(generate) => generate::run(generate, arguments.json),
        Command::Chat(chat) => chat::run(chat, arguments.json),
        Command::Demo(demo) => demo::run(demo, arguments.json),
        Command::Inspect(inspect) => inspect::run(inspect, arguments.json),
        Command::Verify(verify) => verify::run(verify, arguments.json),
        Command::Pack(pack) => pack::run(pack, arguments.json),
        Command::Bench(bench) => bench::run_command(bench, arguments.json),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Arguments::command(), "drafthorse", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What the library has to say: warnings always, more when asked.
fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => log::LevelFilter::Warn,
        1 => log::LevelFilter::Info,
        _ => log::LevelFilter::Debug,
    };
    env_logger::Builder::new().filter_level(level).format_timestamp(None).init();
}
