//! A Rust compiler with the source of its standard library, for targets that no installed one has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The compiler to build the standard library with.
pub(crate) struct RustSource {
    /// `None` is the usual compiler, which has the source.
    prefix: Option<PathBuf>,
}

/// The compiler below `prefix` (its `usr/bin/rustc`), or the usual one.
///
/// # Errors
/// If it has no source.
pub(crate) fn find(prefix: Option<&Path>) -> Result<RustSource> {
    let source = RustSource { prefix: prefix.map(Path::canonicalize).transpose().context("there is no such prefix")? };
    let library = source.sysroot()?.join("lib/rustlib/src/rust/library");
    ensure!(
        library.is_dir(),
        "{} is missing: `rustup component add rust-src`, or unpack Debian's rustc-web, libstd-rust-web, \
         libstd-rust-web-dev, rust-web-src and libllvm into a folder and name it",
        library.display()
    );
    Ok(source)
}

/// The linker that comes with the usual compiler.
///
/// # Errors
/// If it does not come with one.
pub(crate) fn lld() -> Result<PathBuf> {
    let usual = RustSource { prefix: None };
    let host = usual.ask("-vV")?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?.to_owned();
    let linker = usual.sysroot()?.join("lib/rustlib").join(host).join("bin/gcc-ld/ld.lld");
    ensure!(linker.is_file(), "{} is missing; install Rust by rustup", linker.display());
    Ok(linker)
}

/// Writes `script` to `path` as a program that rustc can link with.
///
/// # Errors
/// If it cannot be written, or the system has no such scripts.
pub(crate) fn write_linker(path: &Path, script: &str) -> Result<()> {
    fs::create_dir_all(path.parent().context("a linker lies in a folder")?)?;
    fs::write(path, script).with_context(|| format!("cannot write {}", path.display()))?;
    make_executable(path)
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<()> {
    anyhow::bail!("the checks without a phone's tools need Linux or macOS")
}

impl RustSource {
    /// Makes a cargo command build the standard library too.
    pub(crate) fn apply(&self, cargo: &mut Command) {
        cargo.args(["-Z", "build-std=std,panic_unwind"]).env("RUSTC_BOOTSTRAP", "1");
        if self.prefix.is_some() {
            cargo.env("RUSTC", self.compiler()).env("RUSTC_WRAPPER", "").env("LD_LIBRARY_PATH", self.libraries());
        }
    }

    fn compiler(&self) -> PathBuf {
        match &self.prefix {
            Some(prefix) => prefix.join("usr/bin/rustc"),
            None => std::env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from),
        }
    }

    /// Where a compiler that was only unpacked finds its own libraries.
    fn libraries(&self) -> String {
        let Some(prefix) = &self.prefix else { return String::new() };
        let arch = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        format!("{}:{}", prefix.join(arch).display(), prefix.join("usr/lib").display())
    }

    fn sysroot(&self) -> Result<PathBuf> {
        Ok(self.ask("--print=sysroot")?.trim().into())
    }

    fn ask(&self, question: &str) -> Result<String> {
        let mut command = Command::new(self.compiler());
        if self.prefix.is_some() {
            command.env("LD_LIBRARY_PATH", self.libraries());
        }
        let output =
            command.arg(question).output().with_context(|| format!("cannot start {}", self.compiler().display()))?;
        ensure!(output.status.success(), "{}: {}", self.compiler().display(), String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}
