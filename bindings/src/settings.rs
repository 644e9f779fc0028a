//! What the whole process shares: where the runtime library lies, and where files may be kept.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::guard::{guard, guard_quiet};
use crate::{DrafthorseError, Result};

/// Folders that engines use where their options name none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) runtime_library: Option<PathBuf>,
    pub(crate) cache_folder: Option<PathBuf>,
}

static SETTINGS: Mutex<Settings> = Mutex::new(Settings { runtime_library: None, cache_folder: None });

/// The settings as they are now.
pub(crate) fn current() -> Settings {
    lock().clone()
}

fn lock() -> MutexGuard<'static, Settings> {
    SETTINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names the ONNX Runtime library for every engine that is opened from now on. The first engine loads it, and a process
/// has only one.
///
/// # Errors
/// `RuntimeLibrary` if there is no such file. A name without a folder is left to the system's loader.
#[uniffi::export]
pub fn set_runtime_library(path: String) -> Result<()> {
    guard(|| {
        let path = PathBuf::from(path);
        let bare = path.file_name() == Some(path.as_os_str());
        if !bare && !path.is_file() {
            let reason = format!("ONNX Runtime library {}: there is no such file", path.display());
            return Err(DrafthorseError::RuntimeLibrary(reason));
        }
        lock().runtime_library = Some(path);
        Ok(())
    })
}

/// Names the folder where measured costs and compiled graphs are kept between starts; without it, they are not kept.
#[uniffi::export]
pub fn set_cache_folder(path: String) {
    guard_quiet("set_cache_folder", || lock().cache_folder = Some(Path::new(&path).to_owned()));
}

/// Both at once, as an Android app's context gives them.
#[cfg(not(target_os = "ios"))]
pub(crate) fn prepare(cache_folder: PathBuf, runtime_library: PathBuf) {
    *lock() = Settings { runtime_library: Some(runtime_library), cache_folder: Some(cache_folder) };
}
