//! An ONNX Runtime that is linked into the app, as on iOS: there is no library to load.

use std::path::Path;

use ort::environment::EnvironmentBuilder;
use ort::sys;

/// An environment of the runtime that this program was linked with. `path` names nothing here.
///
/// # Errors
/// The reason, if it is older than this library needs.
pub(super) fn begin(_path: &Path) -> Result<EnvironmentBuilder, String> {
    // SAFETY: the runtime's entry point takes nothing and returns a static table, or null.
    let base = unsafe { sys::OrtGetApiBase().as_ref() }.ok_or("it has no interface")?;
    // SAFETY: any version may be asked for; an unknown one gives null, and what is returned lives for ever.
    let api = unsafe { (base.GetApi)(sys::ORT_API_VERSION).as_ref() };
    let api = api.ok_or_else(|| format!("it is older than interface {}; link a newer one", sys::ORT_API_VERSION))?;
    ort::set_api(api.clone());
    Ok(ort::init())
}
