//! `cargo xtask ios --onnxruntime XCFRAMEWORK`: the XCFramework for the Swift package, on a Mac.
//!
//! `--check` needs no Mac: it builds the device's static library, Rust's own included, and looks at what it leaves to
//! the app. Only a Mac can link and run it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::bindings::{self, Build};
use crate::{cargo, rust_source};

const LIBRARY: &str = "libdrafthorse_bindings.a";

/// In place of Apple's linker, for the check: makes the file that is asked for, empty. A dependency also wants to be a
/// dynamic library, which nobody uses.
const NO_LINKER: &str = "\
#!/bin/sh
while [ $# -gt 0 ]; do
  if [ \"$1\" = -o ]; then : > \"$2\"; fi
  shift
done
";

pub(crate) const DEVICE: &str = "aarch64-apple-ios";

/// Simulators on Macs of both kinds; one file holds both.
const SIMULATORS: [&str; 2] = ["aarch64-apple-ios-sim", "x86_64-apple-ios"];

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["--onnxruntime", framework] => make(Path::new(framework)),
        ["--check"] => check(None).map(drop),
        ["--check", prefix] => check(Some(Path::new(prefix))).map(drop),
        _ => bail!(
            "cargo xtask ios --onnxruntime onnxruntime.xcframework (Microsoft's static one for iOS, 1.27 or later; \
             hosts are tested with {}), or cargo xtask ios --check [RUST_PREFIX]",
            crate::runtime_library::VERSION
        ),
    }
}

/// Builds every slice and puts the XCFramework, ONNX Runtime's, and the Swift source where the package looks.
fn make(runtime: &Path) -> Result<()> {
    ensure!(cfg!(target_os = "macos"), "an XCFramework needs a Mac with Xcode; `cargo xtask ios --check` does not");
    ensure!(runtime.join("Info.plist").is_file(), "{} is no XCFramework", runtime.display());
    let target = cargo::target_folder()?;
    for slice in [DEVICE].into_iter().chain(SIMULATORS) {
        cargo::run(bindings::mobile_for(slice, "staticlib"))?;
    }
    let built = |slice: &str| target.join(slice).join("mobile").join(LIBRARY);
    let work = target.join("ios");
    let simulators = work.join("simulators");
    let headers = work.join("headers");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&simulators)?;
    let simulator = simulators.join(LIBRARY);
    let mut lipo = Command::new("lipo");
    lipo.arg("-create").args(SIMULATORS.map(built)).arg("-output").arg(&simulator);
    cargo::run(lipo)?;

    let sources = bindings::write("swift", None, Build::Debug)?.sources;
    // A folder of its own: every XCFramework's headers land in one place.
    let module = headers.join("CDrafthorse");
    fs::create_dir_all(&module)?;
    fs::copy(sources.join("CDrafthorse.h"), module.join("CDrafthorse.h"))?;
    fs::copy(sources.join("CDrafthorse.modulemap"), module.join("module.modulemap"))?;
    let framework = work.join("CDrafthorse.xcframework");
    let mut create = Command::new("xcodebuild");
    create.arg("-create-xcframework");
    for library in [built(DEVICE), simulator] {
        create.arg("-library").arg(library).arg("-headers").arg(&headers);
    }
    create.arg("-output").arg(&framework);
    cargo::run(create)?;

    let generated = cargo::workspace().join("ios/Generated");
    let ffi = generated.join("DrafthorseFFI");
    fs::create_dir_all(&ffi)?;
    fs::copy(sources.join("DrafthorseFFI.swift"), ffi.join("DrafthorseFFI.swift"))?;
    replace(&framework, &generated.join("CDrafthorse.xcframework"))?;
    replace(runtime, &generated.join("onnxruntime.xcframework"))?;
    println!("{}", generated.display());
    println!(
        "Where Xcode or SwiftPM read the package before and misses a product, make it look again: \
         File, Packages, Reset Package Caches; or `swift package purge-cache`."
    );
    Ok(())
}

/// Copies a folder to `place`, whose old content goes.
fn replace(folder: &Path, place: &Path) -> Result<()> {
    if place.exists() {
        fs::remove_dir_all(place).with_context(|| format!("cannot remove {}", place.display()))?;
    }
    let mut copy = Command::new("cp");
    copy.arg("-R").arg(folder).arg(place);
    cargo::run(copy)
}

/// Builds the device's static library without a Mac.
pub(crate) fn check(prefix: Option<&Path>) -> Result<PathBuf> {
    let target = cargo::target_folder()?.join("link-check");
    let mut build = bindings::mobile_for(DEVICE, "staticlib");
    rust_source::find(prefix)?.apply(&mut build);
    let linker = target.join("no-linker.sh");
    rust_source::write_linker(&linker, NO_LINKER)?;
    build.env("CARGO_TARGET_DIR", &target).env(cargo::target_variable(DEVICE, "LINKER"), linker);
    // Stripping is for what is linked, and asks for a tool that knows Apple's files.
    build.env("CARGO_PROFILE_MOBILE_STRIP", "none");
    cargo::run(build)?;
    let library = target.join(DEVICE).join("mobile").join(LIBRARY);
    let bytes = fs::metadata(&library)?.len();
    println!("{}: {bytes} bytes, the objects of every crate; an app keeps what it calls", library.display());
    println!("This was a check that it compiles for {DEVICE}: only a Mac links and runs it.");
    Ok(library)
}
