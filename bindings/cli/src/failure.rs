//! Errors for people: what is wrong, where, what to do; and the exit code for scripts.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use drafthorse::Error;
use drafthorse_bench as bench;
use drafthorse_pack as pack;

use crate::style::{BAD, STRONG};

/// The end of `--help`; scripts rely on these numbers.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the run failed
  2    wrong arguments or options
  3    a folder cannot be used: missing, damaged, unsupported, or not as its digests say
  4    the ONNX Runtime library or an execution provider cannot be used
  5    the prompt does not fit the context, or the cache does not fit the memory budget
  6    a limit of `bench gate` is broken
  130  ended by Ctrl-C";

/// Exit code where a folder cannot be used.
pub(crate) const FOLDER: u8 = 3;
/// Exit code where a report breaks a limit.
pub(crate) const LIMIT_BROKEN: u8 = 6;
/// Exit code after Ctrl-C, as shells report it.
pub(crate) const INTERRUPTED: u8 = 130;

/// Result of a command.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a command could not do what was asked.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Failure {
    #[serde(rename = "error")]
    what: String,
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    place: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'static str>,
    exit_code: u8,
}

impl Failure {
    /// The run failed.
    pub(crate) fn run(what: impl Into<String>) -> Self {
        Self { what: what.into(), place: None, help: None, exit_code: 1 }
    }

    /// A folder cannot be used.
    pub(crate) fn folder(what: impl Into<String>, place: impl Into<PathBuf>) -> Self {
        Self { place: Some(place.into()), exit_code: FOLDER, ..Self::run(what) }
    }

    /// A file named by an argument cannot be read.
    pub(crate) fn file(what: impl Into<String>, place: impl Into<PathBuf>) -> Self {
        Self { place: Some(place.into()), exit_code: 2, ..Self::run(what) }
    }

    /// Wrong arguments.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self { exit_code: 2, ..Self::run(what) }
    }

    /// Ended by Ctrl-C.
    pub(crate) fn interrupted() -> Self {
        Self { exit_code: INTERRUPTED, ..Self::run("interrupted") }
    }

    /// Adds what to do.
    pub(crate) fn with_help(self, help: &'static str) -> Self {
        Self { help: Some(help), ..self }
    }

    /// Says it on standard error, and gives the code to exit with.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        let mut out = anstream::stderr().lock();
        // Standard error may be closed; there is nobody left to tell.
        let _ = if json {
            writeln!(out, "{}", serde_json::to_string(self).expect("strings and numbers serialise"))
        } else {
            self.write(&mut out)
        };
        ExitCode::from(self.exit_code)
    }

    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "{BAD}error:{BAD:#} {}", self.what)?;
        if let Some(place) = &self.place {
            writeln!(out, "  {STRONG}where:{STRONG:#} {}", place.display())?;
        }
        if let Some(help) = self.help {
            writeln!(out, "   {STRONG}help:{STRONG:#} {help}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{} ({})", self.what, place.display()),
            None => f.write_str(&self.what),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = Self::run(error.to_string());
        match error {
            Error::Pack(error) => error.into(),
            Error::InvalidOption { .. } | Error::Constraint { .. } => Self { exit_code: 2, ..failure },
            Error::UnsupportedGraph { path, reason } | Error::Tokenizer { path, reason } => Self::folder(reason, path),
            Error::VocabularyMismatch { .. } => Self { exit_code: FOLDER, ..failure }
                .with_help("use a drafter made for this target, or leave it out: prompt lookup needs none"),
            Error::ChatTemplate { .. } => Self { exit_code: FOLDER, ..failure }
                .with_help("`drafthorse generate` without --chat-template takes the prompt as it is"),
            Error::RuntimeLibrary { path, reason } => Self { place: Some(path), exit_code: 4, ..Self::run(reason) }
                .with_help("`cargo xtask setup` places the library; ORT_DYLIB_PATH names one that you have"),
            Error::ExecutionProvider { .. } => Self { exit_code: 4, ..failure },
            Error::ContextFull { .. } | Error::OutOfMemory { .. } => Self { exit_code: 5, ..failure },
            Error::Cancelled => Self::interrupted(),
            _ => failure,
        }
    }
}

impl From<pack::Error> for Failure {
    fn from(error: pack::Error) -> Self {
        let text = error.to_string();
        match error {
            pack::Error::Io { path, source } => Self::folder(source.to_string(), path),
            pack::Error::UnknownFolder { folder, reason } => Self::folder(reason, folder)
                .with_help("name a pack, an onnxruntime-genai folder, or a Hugging Face folder with ONNX files"),
            pack::Error::Missing { folder, file, reason } => {
                Self::folder(format!("{file} is missing ({reason})"), folder)
            }
            pack::Error::Malformed { path, field, reason } | pack::Error::Unsupported { path, field, reason } => {
                Self::folder(format!("{field}: {reason}"), path)
            }
            pack::Error::OutsideFolder { path, field, target, reason } => {
                Self::folder(format!("{field} names {target:?}, which {reason}"), path)
                    .with_help("--allow-root DIR opens one more folder, if you trust the pack")
            }
            pack::Error::Onnx { path, offset, reason } => Self::folder(format!("at byte {offset}: {reason}"), path),
            pack::Error::Variant { .. } => Self { exit_code: FOLDER, ..Self::run(text) }
                .with_help("--variant NAME chooses one of them, --drafter-variant NAME in the drafter's folder"),
            pack::Error::Damaged { folder, report } => {
                Self::folder(report.to_string(), folder).with_help("fetch the pack again")
            }
            pack::Error::Cancelled => Self::interrupted(),
            _ => Self { exit_code: FOLDER, ..Self::run(text) },
        }
    }
}

impl From<bench::Error> for Failure {
    fn from(error: bench::Error) -> Self {
        match error {
            bench::Error::Runtime(error) => error.into(),
            bench::Error::Cancelled => Self::interrupted(),
            bench::Error::Io { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
                Self::file(source.to_string(), path)
            }
            bench::Error::Io { path, source } => Self { place: Some(path), ..Self::run(source.to_string()) },
            bench::Error::Report { path, reason } | bench::Error::Limits { path, reason } => Self::file(reason, path),
            error => Self::usage(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::run(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_where_and_what_to_do() {
        let error = Error::RuntimeLibrary { path: "lib/x.so".into(), reason: "no such file".into() };
        let mut out = Vec::new();
        Failure::from(error).write(&mut out).unwrap();
        let text = anstream::adapter::strip_bytes(&out).into_vec();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("error: no such file\n  where: lib/x.so\n   help: `cargo xtask setup`"), "{text}");
    }

    #[test]
    fn each_exit_code_is_documented() {
        let failures = [
            Failure::run(""),
            Error::Constraint { reason: String::new() }.into(),
            Failure::folder("", ""),
            Error::ExecutionProvider { model: "target", reason: String::new() }.into(),
            Error::ContextFull { needed: 2, capacity: 1 }.into(),
            Failure::interrupted(),
        ];
        for failure in failures {
            let line = format!("\n  {:<5}", failure.exit_code);
            assert!(EXIT_CODES.contains(&line), "{}", failure.exit_code);
        }
    }
}
