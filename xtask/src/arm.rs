//! `cargo xtask test --arm`: core's tests as aarch64 Linux code, under qemu, with the real arm64 ONNX Runtime.
//!
//! It shows that the code runs on ARM and agrees with x86-64; it shows nothing about speed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::program::starts;
use crate::{cargo, runtime};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATORS: [&str; 2] = ["qemu-aarch64-static", "qemu-aarch64"];

/// Where Debian and Ubuntu put the arm64 C library.
const SYSROOT: &str = "/usr/aarch64-linux-gnu";

/// The processor that is emulated: Armv8.2 with dot products and half floats, as in phones.
const PROCESSOR: &str = "neoverse-n1";

/// What ONNX Runtime reads to learn about the processor. Older qemu shows the host's, which crashes it.
const CPU_INFO: &str = "\
processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
";

pub(crate) fn test() -> Result<()> {
    let emulator = EMULATORS.into_iter().find(|name| starts(name));
    let (Some(emulator), true, true) = (emulator, starts(LINKER), Path::new(SYSROOT).is_dir()) else {
        bail!(
            "the ARM run needs qemu's user emulation and an arm64 C toolchain; on Debian and Ubuntu:\n  \
             apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static"
        );
    };
    need_standard_library()?;
    runtime::place("linux", "aarch64")?;
    let root = emulated_root()?;

    let mut command =
        cargo::command(&["test", "--package", "drafthorse", "--target", TARGET, "--lib", "--tests", "--no-fail-fast"]);
    command
        .env(cargo::target_variable(TARGET, "LINKER"), LINKER)
        .env(cargo::target_variable(TARGET, "RUNNER"), format!("{emulator} -cpu {PROCESSOR} -L {}", root.display()))
        .env_remove("ORT_DYLIB_PATH");
    cargo::run(command)
}

fn need_standard_library() -> Result<()> {
    let rustc = std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .context("cannot start rustc")?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    ensure!(
        output.status.success() && folder.is_dir(),
        "Rust's library for ARM is missing: rustup target add {TARGET}"
    );
    Ok(())
}

/// A root folder for the emulated program: the arm64 C library, and an ARM `/proc/cpuinfo`.
fn emulated_root() -> Result<PathBuf> {
    let root = runtime::cache_folder()?.join("arm-root");
    fs::create_dir_all(root.join("proc"))?;
    fs::write(root.join("proc/cpuinfo"), CPU_INFO)?;
    link(&Path::new(SYSROOT).join("lib"), &root.join("lib"))?;
    Ok(root)
}

#[cfg(unix)]
fn link(target: &Path, name: &Path) -> Result<()> {
    if name.is_symlink() {
        fs::remove_file(name)?;
    }
    std::os::unix::fs::symlink(target, name).with_context(|| format!("cannot link {}", name.display()))
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> Result<()> {
    bail!("the ARM run needs Linux")
}
