//! Providers that come as a library of their own, loaded into the runtime by path.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::builder::SessionBuilder;

use super::{Provider, ProviderChoice};
use crate::onnx::raw::runtime_error;

/// Libraries that the runtime has loaded: it refuses a second time.
static LOADED: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);

/// Loads `library` once and adds the devices that it offers under the provider's name.
///
/// The library is registered under that name too: QNN calls its provider by the name of the registration.
pub(super) fn register(
    builder: SessionBuilder,
    environment: &Environment,
    choice: &ProviderChoice,
    library: &Path,
) -> Result<SessionBuilder, String> {
    let name = choice.provider.runtime_name();
    load(environment, name, library)?;
    let devices: Vec<_> = environment.devices().filter(|device| device.ep().is_ok_and(|ep| ep == name)).collect();
    if devices.is_empty() {
        return Err(format!("{} offers no device on this machine", library.display()));
    }
    let options: Vec<_> = choice.options.iter().map(|(key, value)| (format!("{name}.{key}"), value.clone())).collect();
    builder
        .with_devices(devices, Some(&options))
        .map_err(|error| runtime_error("add the provider's devices", &error).to_string())
}

/// Holds a session to the CPU's own provider where a plug-in is loaded: left to itself, the runtime takes the plug-in's
/// devices for a session that names none, and QNN calls its device a CPU.
pub(super) fn keep_to_cpu(builder: SessionBuilder, environment: &Environment) -> Result<SessionBuilder, String> {
    if LOADED.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
        return Ok(builder);
    }
    let name = Provider::Cpu.runtime_name();
    let devices: Vec<_> = environment.devices().filter(|device| device.ep().is_ok_and(|ep| ep == name)).collect();
    builder.with_devices(devices, None).map_err(|error| runtime_error("name the CPU", &error).to_string())
}

fn load(environment: &Environment, name: &str, library: &Path) -> Result<(), String> {
    let library = library.canonicalize().map_err(|error| format!("{}: {error}", library.display()))?;
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let loaded = loaded.get_or_insert_default();
    if loaded.contains(&library) {
        return Ok(());
    }
    environment
        .register_ep_library(name, &library)
        .map_err(|error| runtime_error("load the provider's library", &error).to_string())?;
    loaded.insert(library);
    Ok(())
}
