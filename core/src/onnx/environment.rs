//! Loads the ONNX Runtime library, once per process, and forwards what it logs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use drafthorse_pack::runtime_library;
use ort::environment::Environment;
use ort::logging::LogLevel;

use super::raw::runtime_error;
use crate::{Error, Result};

/// What the process runs on. It is never unloaded: the runtime keeps threads and statics of its own.
struct Loaded {
    path: PathBuf,
    environment: Environment,
}

static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

/// The environment of the library at `path`, or of the one found on this machine.
///
/// Without `path`, a library that is already loaded is used; else `ORT_DYLIB_PATH` names it; else it lies where
/// `cargo xtask setup` puts it.
///
/// # Errors
/// `RuntimeLibrary` if there is none, it cannot be loaded, it is too old, or another one is loaded already.
pub(super) fn environment(path: Option<&Path>) -> Result<Environment> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let (Some(loaded), None) = (loaded.as_ref(), path) {
        return Ok(loaded.environment.clone());
    }
    let path = existing(path.map_or_else(found, |path| Ok(path.to_owned()))?)?;
    if let Some(loaded) = loaded.as_ref() {
        return if loaded.path == path { Ok(loaded.environment.clone()) } else { Err(another_loaded(path, loaded)) };
    }
    let environment = load(&path)?;
    *loaded = Some(Loaded { path, environment: environment.clone() });
    Ok(environment)
}

/// Version and build of the loaded library, as it describes itself.
pub(crate) fn build_info() -> &'static str {
    ort::info()
}

fn found() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    if cfg!(any(target_os = "android", target_os = "ios")) {
        // Inside the app's package, where only the loader finds it, or linked into the app.
        return Ok(runtime_library::FILE_NAME.into());
    }
    runtime_library::path().ok_or_else(|| Error::RuntimeLibrary {
        path: runtime_library::FILE_NAME.into(),
        reason: "this user has no cache folder; set DRAFTHORSE_CACHE or ORT_DYLIB_PATH".to_owned(),
    })
}

/// The file itself, links resolved, so that two names of one library are the same library. A name without a folder that
/// is no file here is left to the system's loader.
fn existing(path: PathBuf) -> Result<PathBuf> {
    if path.file_name() == Some(path.as_os_str()) && !path.exists() {
        return Ok(path);
    }
    path.canonicalize().map_err(|error| Error::RuntimeLibrary {
        reason: format!("{error}; run `cargo xtask setup`, or set ORT_DYLIB_PATH to the library"),
        path,
    })
}

fn another_loaded(path: PathBuf, loaded: &Loaded) -> Error {
    let reason = format!("this process already runs on {}; one library per process", loaded.path.display());
    Error::RuntimeLibrary { path, reason }
}

fn load(path: &Path) -> Result<Environment> {
    let refused = |reason: String| Error::RuntimeLibrary { path: path.to_owned(), reason };
    let environment = begin(path)
        .map_err(refused)?
        .with_name("drafthorse")
        .with_telemetry(false)
        .with_logger(Arc::new(forward))
        .build()
        .map_err(|error| refused(runtime_error("start", &error).to_string()))?;
    environment.set_log_level(lowest_level());
    Ok(environment)
}

/// An environment of the library at `path`.
#[cfg(not(target_os = "ios"))]
fn begin(path: &Path) -> Result<ort::environment::EnvironmentBuilder, String> {
    ort::init_from(path).map_err(|error| format!("{error}; run `cargo xtask setup` for one that fits"))
}

#[cfg(target_os = "ios")]
use super::linked::begin;

/// What the runtime reports as an error also comes back as a status, so here it is a warning.
fn forward(level: LogLevel, _category: &str, _id: &str, location: &str, message: &str) {
    let level = match level {
        LogLevel::Verbose => log::Level::Trace,
        LogLevel::Info => log::Level::Debug,
        LogLevel::Warning => log::Level::Info,
        LogLevel::Error => log::Level::Warn,
        LogLevel::Fatal => log::Level::Error,
    };
    log::log!(target: "onnxruntime", level, "{message} ({location})");
}

/// The runtime formats every message down to its level, so it is told not to make those that nobody reads.
fn lowest_level() -> LogLevel {
    match log::max_level() {
        log::LevelFilter::Off | log::LevelFilter::Error => LogLevel::Fatal,
        log::LevelFilter::Warn => LogLevel::Error,
        log::LevelFilter::Info => LogLevel::Warning,
        log::LevelFilter::Debug => LogLevel::Info,
        log::LevelFilter::Trace => LogLevel::Verbose,
    }
}
