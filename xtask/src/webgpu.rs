//! `cargo xtask test --webgpu`: drafter and target on WebGPU and on the CPU, with an ONNX Runtime that has both.
//!
//! Without a Vulkan driver named by `VK_ICD_FILENAMES` a software one is placed. It shows that the code runs there and
//! agrees with the CPU; it shows nothing about speed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{cargo, program, runtime};

/// Names the Vulkan drivers to the system's loader.
const DRIVERS: &str = "VK_ICD_FILENAMES";
/// Debian's package that has SwiftShader inside, and where it is there.
const PACKAGE: &str = "chromium-common";
const DRIVER_FOLDER: &str = "usr/lib/chromium";
const DRIVER: &str = "libvk_swiftshader.so";
const DESCRIPTION: &str = "vk_swiftshader_icd.json";

pub(crate) fn test() -> Result<()> {
    let driver = match std::env::var_os(DRIVERS) {
        Some(named) => PathBuf::from(named),
        None => place_driver()?,
    };
    let mut command = cargo::command(&["test", "--workspace", "--test", "onnx_webgpu", "--test", "two_providers"]);
    command.args(["--", "--nocapture", "--test-threads=1"]);
    command.env(DRIVERS, driver).env("DRAFTHORSE_WEBGPU_DYLIB", runtime::place_webgpu()?);
    runtime::place_for_host()?;
    cargo::run(command)
}

/// Places SwiftShader in the cache and returns its description.
fn place_driver() -> Result<PathBuf> {
    let cache = runtime::cache_folder()?;
    let folder = cache.join("swiftshader");
    let description = folder.join(DESCRIPTION);
    if description.is_file() {
        return Ok(description);
    }
    let staging = tempfile::tempdir_in(fs::create_dir_all(&cache).map(|()| &cache)?)?;
    unpack(staging.path()).with_context(|| {
        format!("name a Vulkan driver's description by {DRIVERS}; on Debian, {PACKAGE} has one and was not to be had")
    })?;
    let inside = staging.path().join(DRIVER_FOLDER);
    let text = fs::read_to_string(inside.join(DESCRIPTION))?;
    let own = format!("./{DRIVER}");
    ensure!(text.contains(&own), "{DESCRIPTION} does not name {own}: {text}");
    fs::create_dir_all(&folder)?;
    fs::copy(inside.join(DRIVER), folder.join(DRIVER))?;
    // Last: the description says that the driver is there.
    let written = staging.path().join(DESCRIPTION);
    fs::write(&written, text.replace(&own, &folder.join(DRIVER).to_string_lossy()))?;
    fs::rename(written, &description)?;
    Ok(description)
}

/// Debian's package, fetched by apt with its own sources and checks, unpacked into `folder`.
fn unpack(folder: &Path) -> Result<()> {
    eprintln!("Fetching {PACKAGE} for its software Vulkan driver (32 MB) ...");
    run(Command::new("apt-get").args(["download", "--quiet", PACKAGE]).current_dir(folder))?;
    let package = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let package = package.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    run(Command::new("dpkg-deb").arg("--extract").arg(package.context("apt-get left no package")?).arg(folder))
}

fn run(command: &mut Command) -> Result<()> {
    program::quietly(&cargo::line(command), command)
}
