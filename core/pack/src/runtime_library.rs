//! Where the pinned ONNX Runtime library lies on this machine: `cargo xtask setup` puts it there, the runtime loads it.
//!
//! Standard library only, because `xtask` compiles this file too: the rule is written once.

use std::ffi::OsString;
use std::path::PathBuf;

/// Version of the pinned ONNX Runtime (docs/adr/0002).
pub const VERSION: &str = "1.31.1";

/// File name of the library on this system.
pub const FILE_NAME: &str = if cfg!(windows) {
    "onnxruntime.dll"
} else if cfg!(target_vendor = "apple") {
    "libonnxruntime.dylib"
} else {
    "libonnxruntime.so"
};

/// The library that `cargo xtask setup` places for this system and processor, whether or not it is there.
///
/// `CACHE/onnxruntime-VERSION/OS-ARCH/FILE_NAME`; `None` if this user has no cache folder.
pub fn path() -> Option<PathBuf> {
    Some(folder(std::env::consts::OS, std::env::consts::ARCH)?.join(FILE_NAME))
}

/// The folder for another system, in Rust's names: `("linux", "aarch64")`.
pub fn folder(os: &str, arch: &str) -> Option<PathBuf> {
    Some(cache_folder()?.join(format!("onnxruntime-{VERSION}")).join(format!("{os}-{arch}")))
}

/// This project's cache: `$DRAFTHORSE_CACHE`, or `drafthorse` in the user's cache folder.
pub fn cache_folder() -> Option<PathBuf> {
    cache_folder_from(|name| std::env::var_os(name), std::env::home_dir())
}

fn cache_folder_from(variable: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(folder) = absolute("DRAFTHORSE_CACHE") {
        return Some(folder);
    }
    let of_user = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_vendor = "apple") {
        home.map(|home| home.join("Library/Caches"))
    } else {
        absolute("XDG_CACHE_HOME").or_else(|| home.map(|home| home.join(".cache")))
    };
    Some(of_user?.join("drafthorse"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &'static str, value: &'static str) -> impl Fn(&str) -> Option<OsString> {
        move |asked| (asked == name).then(|| value.into())
    }

    #[test]
    #[cfg(unix)]
    fn the_variable_wins_over_the_users_cache() {
        let home = Some(PathBuf::from("/u"));
        assert_eq!(cache_folder_from(set("DRAFTHORSE_CACHE", "/c"), home), Some("/c".into()));
    }

    #[test]
    #[cfg(all(unix, not(target_vendor = "apple")))]
    fn the_users_cache_follows_xdg_then_home() {
        let home = Some(PathBuf::from("/u"));
        assert_eq!(cache_folder_from(set("XDG_CACHE_HOME", "/x"), home.clone()), Some("/x/drafthorse".into()));
        assert_eq!(cache_folder_from(set("XDG_CACHE_HOME", "relative"), home), Some("/u/.cache/drafthorse".into()));
        assert_eq!(cache_folder_from(|_| None, None), None);
    }

    #[test]
    fn the_library_lies_in_a_folder_of_its_version_and_platform() {
        let Some(path) = path() else { return };
        assert!(path.ends_with(PathBuf::from(format!(
            "onnxruntime-{VERSION}/{}-{}/{FILE_NAME}",
            std::env::consts::OS,
            std::env::consts::ARCH
        ))));
    }
}
