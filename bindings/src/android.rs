//! What uniffi cannot do on Android: the logger behind the `log` facade, and the folders that only the app's `Context`
//! knows. Also built for hosts, so that it is tested on a Java machine without a phone.
#![allow(unsafe_code, unreachable_pub, reason = "Java finds these functions by their exported names")]

use std::ffi::c_void;
use std::fs;
use std::path::{Path, PathBuf};

use jni::errors::{Error, Result, ThrowRuntimeExAndDefault};
use jni::objects::{JClass, JObject, JString};
use jni::strings::JNIString;
use jni::sys::{JNI_VERSION_1_6, JavaVM, jint};
use jni::{Env, EnvUnowned, jni_mangle, jni_sig, jni_str};

use crate::settings;

/// The runtime library's name in Microsoft's Android package.
const RUNTIME_LIBRARY: &str = "libonnxruntime.so";

/// Java calls this once, when it loads the library.
// SAFETY: no other library of a process that loads this one by name may define the symbol; each has its own scope.
#[unsafe(no_mangle)]
pub extern "system" fn JNI_OnLoad(_vm: *mut JavaVM, _reserved: *mut c_void) -> jint {
    #[cfg(target_os = "android")]
    android_logger::init_once(
        android_logger::Config::default().with_tag("drafthorse").with_max_level(log::LevelFilter::Info),
    );
    JNI_VERSION_1_6
}

/// `dev.drafthorse.android.Native.prepare(Context)`: takes the runtime library from the app, and makes a folder of its
/// own in the app's cache.
///
/// Throws a `RuntimeException` with the reason if the context names no folders, or nothing can be written there.
#[jni_mangle("dev.drafthorse.android.Native")]
pub extern "system" fn prepare<'local>(mut env: EnvUnowned<'local>, _class: JClass<'local>, context: JObject<'local>) {
    env.with_env(|env| -> Result<()> {
        let cache = cache_folder(env, &context)?.join("drafthorse");
        let libraries = library_folder(env, &context)?;
        if let Err(error) = fs::create_dir_all(&cache) {
            return refuse(env, &format!("{}: {error}", cache.display()));
        }
        settings::prepare(cache, runtime_library(&libraries));
        Ok(())
    })
    .resolve::<ThrowRuntimeExAndDefault>();
}

fn cache_folder(env: &mut Env<'_>, context: &JObject<'_>) -> Result<PathBuf> {
    if context.is_null() {
        return refuse(env, "there is no context");
    }
    let folder = env.call_method(context, jni_str!("getCacheDir"), jni_sig!("()Ljava/io/File;"), &[])?.l()?;
    if folder.is_null() {
        return refuse(env, "the context has no cache folder");
    }
    let path = env.call_method(&folder, jni_str!("getAbsolutePath"), jni_sig!("()Ljava/lang/String;"), &[])?.l()?;
    text(env, path)
}

fn library_folder(env: &mut Env<'_>, context: &JObject<'_>) -> Result<PathBuf> {
    let signature = jni_sig!("()Landroid/content/pm/ApplicationInfo;");
    let app = env.call_method(context, jni_str!("getApplicationInfo"), signature, &[])?.l()?;
    let path = env.get_field(&app, jni_str!("nativeLibraryDir"), jni_sig!("Ljava/lang/String;"))?.l()?;
    if path.is_null() {
        return refuse(env, "the app has no folder of native libraries");
    }
    text(env, path)
}

fn text(env: &mut Env<'_>, value: JObject<'_>) -> Result<PathBuf> {
    Ok(PathBuf::from(env.cast_local::<JString>(value)?.try_to_string(env)?))
}

/// Ends the call with a `RuntimeException`.
fn refuse<T>(env: &mut Env<'_>, reason: &str) -> Result<T> {
    env.throw(JNIString::from(reason))?;
    Err(Error::JavaException)
}

/// The library where it was unpacked; else its bare name, because the loader also looks into the app's package.
fn runtime_library(folder: &Path) -> PathBuf {
    let unpacked = folder.join(RUNTIME_LIBRARY);
    if unpacked.is_file() { unpacked } else { RUNTIME_LIBRARY.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_inside_the_package_is_left_to_the_loader() {
        assert_eq!(runtime_library(Path::new("/data/app/lib/arm64")), Path::new(RUNTIME_LIBRARY));
        let folder = tempfile::TempDir::new().unwrap();
        fs::write(folder.path().join(RUNTIME_LIBRARY), "").unwrap();
        assert_eq!(runtime_library(folder.path()), folder.path().join(RUNTIME_LIBRARY));
    }
}
