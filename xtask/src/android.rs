//! `cargo xtask android`: the library for Android, one folder per ABI, where the Gradle project looks for it.
//!
//! With the NDK it is what ships. `--link-check` needs no NDK: it builds Rust's own library from source, links against
//! nothing, and compares what is left open with the symbols of Android's C library. That shows that the library can be
//! built and loaded there; it is no library to ship, because the unwinder is missing from it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::{bindings, cargo, elf, rust_source};

const LIBRARY: &str = "libdrafthorse_bindings.so";

/// Oldest Android that apps may ask for (minSdk of the Gradle project).
const API_LEVEL: u32 = 26;

/// Android's page size from 15 on; a library aligned to less is refused there.
const PAGE_BYTES: u64 = 16 * 1024;

/// Symbols that the library may leave to Android: name, and the API level it came with.
const ANDROID_SYMBOLS: &str = include_str!("android/symbols.txt");

/// Functions that Java and the generated Kotlin find by name.
const ENTRIES: [&str; 4] = [
    "JNI_OnLoad",
    "Java_dev_drafthorse_android_Native_prepare",
    "Java_dev_drafthorse_Direct_next",
    "ffi_drafthorse_bindings_uniffi_contract_version",
];

/// A processor of Android devices.
pub(crate) struct Abi {
    /// Gradle's name.
    name: &'static str,
    /// Rust's target.
    pub(crate) target: &'static str,
    /// The linker's emulation, for the link check.
    emulation: &'static str,
}

pub(crate) const ABIS: [Abi; 2] = [
    Abi { name: "arm64-v8a", target: "aarch64-linux-android", emulation: "aarch64linux" },
    Abi { name: "x86_64", target: "x86_64-linux-android", emulation: "elf_x86_64" },
];

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        [] => ABIS.iter().try_for_each(|abi| ship(abi).map(drop)),
        ["--link-check"] => link_check(&ABIS[0], None).map(drop),
        ["--link-check", prefix] => link_check(&ABIS[0], Some(Path::new(prefix))).map(drop),
        _ => bail!("cargo xtask android [--link-check [RUST_PREFIX]]"),
    }
}

/// Builds the library of `abi` with the NDK and puts it where the Gradle project looks.
fn ship(abi: &Abi) -> Result<PathBuf> {
    let linker = ndk_linker(abi)?;
    let mut build = bindings::mobile_for(abi.target, "cdylib");
    build
        .env(cargo::target_variable(abi.target, "LINKER"), linker)
        .env(cargo::target_variable(abi.target, "RUSTFLAGS"), page_flags());
    cargo::run(build)?;
    let built = cargo::target_folder()?.join(abi.target).join("mobile").join(LIBRARY);
    check(&built)?;
    let folder = cargo::target_folder()?.join("android/jniLibs").join(abi.name);
    fs::create_dir_all(&folder)?;
    let (temporary, place) = (folder.join("new.tmp"), folder.join(LIBRARY));
    fs::copy(&built, &temporary)?;
    fs::rename(temporary, &place)?;
    println!("{}: {} bytes", place.display(), fs::metadata(&place)?.len());
    Ok(place)
}

/// Builds the library of `abi` without the NDK and says what could be checked.
pub(crate) fn link_check(abi: &Abi, prefix: Option<&Path>) -> Result<PathBuf> {
    let source = rust_source::find(prefix)?;
    let target = cargo::target_folder()?.join("link-check");
    let linker = target.join("linker.sh");
    rust_source::write_linker(&linker, include_str!("android/linker.sh"))?;

    let mut build = bindings::mobile_for(abi.target, "cdylib");
    source.apply(&mut build);
    let flags = format!("-Clinker={} {}", linker.display(), page_flags());
    build.env(cargo::target_variable(abi.target, "RUSTFLAGS"), flags).env("CARGO_TARGET_DIR", &target);
    build.env("DRAFTHORSE_LLD", rust_source::lld()?).env("DRAFTHORSE_LLD_EMULATION", abi.emulation);
    cargo::run(build)?;
    let library = target.join(abi.target).join("mobile").join(LIBRARY);
    check(&library)?;
    println!("This was a link check, not a library to ship: it links no unwinder and names no system library.");
    Ok(library)
}

fn page_flags() -> String {
    format!("-Clink-arg=-Wl,-z,max-page-size={PAGE_BYTES}")
}

/// Clang of the newest NDK that is installed.
fn ndk_linker(abi: &Abi) -> Result<PathBuf> {
    let named = ["ANDROID_NDK_HOME", "ANDROID_NDK_ROOT"].into_iter().find_map(std::env::var_os).map(PathBuf::from);
    let ndk = named.or_else(newest_ndk).context(
        "the NDK was not found: set ANDROID_NDK_HOME, or ANDROID_HOME with an ndk folder; \
         without it, `cargo xtask android --link-check` shows that the library builds",
    )?;
    let host = if cfg!(target_os = "macos") { "darwin-x86_64" } else { "linux-x86_64" };
    let name = format!("{}{API_LEVEL}-clang", abi.target);
    let linker = ndk.join("toolchains/llvm/prebuilt").join(host).join("bin").join(name);
    ensure!(linker.is_file(), "{} is missing; is that an NDK?", linker.display());
    Ok(linker)
}

fn newest_ndk() -> Option<PathBuf> {
    let sdk = PathBuf::from(std::env::var_os("ANDROID_HOME")?);
    let mut versions: Vec<PathBuf> =
        fs::read_dir(sdk.join("ndk")).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    versions.sort_by_key(|path| version(path));
    versions.pop()
}

fn version(path: &Path) -> Vec<u32> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').filter_map(|part| part.parse().ok()).collect()
}

/// Page alignment, exported entry points, and what is left to the system.
fn check(library: &Path) -> Result<()> {
    let found = elf::read(library)?;
    println!("{}: {} bytes", library.display(), found.bytes);
    ensure!(
        found.alignment_min >= PAGE_BYTES,
        "a segment is aligned to {} bytes; Android 15 needs {PAGE_BYTES}",
        found.alignment_min
    );
    println!("segments aligned to {} bytes: fit for 16 KB pages", found.alignment_min);
    for entry in ENTRIES {
        ensure!(found.defined.contains(entry), "{entry} is not exported, so Java or Kotlin would not find it");
    }
    let (unknown, later) = left_open(found.undefined.iter().map(String::as_str));
    ensure!(unknown.is_empty(), "Android's libraries have no {}", unknown.join(", "));
    println!(
        "{} symbols are left to Android, all of API level {API_LEVEL} or before",
        found.undefined.len() - later.len()
    );
    if !later.is_empty() {
        println!("from a later level, or from the NDK's unwinder: {}", later.join(", "));
    }
    Ok(())
}

/// Of `undefined`, what no library of Android has, and what came after [`API_LEVEL`].
fn left_open<'a>(undefined: impl Iterator<Item = &'a str>) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut unknown, mut later) = (Vec::new(), Vec::new());
    for name in undefined {
        match level(name) {
            None => unknown.push(name),
            Some(level) if level > API_LEVEL => later.push(name),
            Some(_) => {}
        }
    }
    (unknown, later)
}

/// The API level that `symbol` came with.
fn level(symbol: &str) -> Option<u32> {
    let lines = ANDROID_SYMBOLS.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == symbol)?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_told_apart_by_level() {
        assert_eq!(left_open(["malloc", "no_such_symbol"].into_iter()), (vec!["no_such_symbol"], vec![]));
        assert_eq!(left_open(["_Unwind_Backtrace"].into_iter()), (vec![], vec!["_Unwind_Backtrace"]));
    }

    #[test]
    fn every_line_of_the_table_has_a_level() {
        for line in ANDROID_SYMBOLS.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(' ').next().unwrap();
            assert!(level(name).is_some(), "{line}");
        }
    }

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(version(Path::new("ndk/27.0.1")) > version(Path::new("ndk/9.10.2")));
    }
}
