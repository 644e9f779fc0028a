//! A Swift toolchain: the one on PATH, or Debian's in a folder of its own that is entered by chroot.
//!
//! Mounts are made in a private mount namespace, so they are gone when the command ends, however it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::program::{self, starts};
use crate::{cargo, runtime};

/// Debian's release that packages Swift 6.0.
const RELEASE: &str = "trixie";

/// Swift itself, and what it links programs with.
const PACKAGES: [&str; 6] = ["swiftlang", "libc6-dev", "libstdc++-14-dev", "g++", "git", "ca-certificates"];

/// Enters the folder `$1`, with the folders up to `--` visible at their own paths, and runs the rest there.
const ENTER: &str = r#"
root=$1; shift
mount --bind /proc "$root/proc"
mount --bind /dev "$root/dev"
while [ "$1" != -- ]; do
    mkdir -p "$root$1"
    mount --bind "$1" "$root$1"
    shift
done
shift
exec chroot "$root" "$@"
"#;

/// Where `swift` is.
pub(super) enum Toolchain {
    /// On PATH.
    Installed,
    /// In a folder that holds a Debian system.
    Chroot(PathBuf),
}

impl Toolchain {
    /// The toolchain of this machine, or the one made here earlier; nothing is downloaded.
    pub(super) fn present() -> Option<Self> {
        if starts("swift") {
            return Some(Self::Installed);
        }
        let root = chroot_folder().ok()?;
        (root.is_dir() && is_root()).then_some(Self::Chroot(root))
    }

    /// The toolchain of this machine, or one made now.
    ///
    /// # Errors
    /// If there is none and none can be made here; the message says what to install.
    pub(super) fn provide() -> Result<Self> {
        match Self::present() {
            Some(toolchain) => Ok(toolchain),
            None => make().map(Self::Chroot),
        }
    }

    /// `program`, not yet run, in `folder`, which lies in one of the folders that it `sees`.
    pub(super) fn command(&self, program: &str, folder: &Path, sees: &[&Path]) -> Command {
        match self {
            Self::Installed => {
                let mut command = Command::new(program);
                command.current_dir(folder);
                command
            }
            Self::Chroot(root) => {
                let mut command = enter(root, sees);
                command.arg("env").arg(with("--chdir=", folder)).arg("HOME=/tmp").arg(program);
                command
            }
        }
    }
}

fn with(prefix: &str, path: &Path) -> std::ffi::OsString {
    let mut text = std::ffi::OsString::from(prefix);
    text.push(path);
    text
}

/// A command that runs its further arguments inside `root`.
fn enter(root: &Path, sees: &[&Path]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc", ENTER, "enter"]);
    command.arg(root).args(sees).arg("--");
    command
}

fn chroot_folder() -> Result<PathBuf> {
    Ok(runtime::cache_folder()?.join(format!("swift-6.0-{RELEASE}")))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

/// Makes the folder: a minimal Debian with Swift, under a temporary name until it is whole.
fn make() -> Result<PathBuf> {
    let remedy = "install Swift 6.0 or later (swift.org/install) and put `swift` on PATH";
    ensure!(is_debian(), "no `swift` on PATH, and one can only be made on Debian; {remedy}");
    ensure!(
        is_root(),
        "no `swift` on PATH; one can be made in a Debian chroot, which needs root: run as root, or {remedy}"
    );
    let mirror = mirror()?;
    let root = chroot_folder()?;
    let mut staging = root.clone().into_os_string();
    staging.push(format!(".{}.tmp", std::process::id()));
    let staging = PathBuf::from(staging);
    eprintln!("Making a Debian {RELEASE} with Swift 6.0 in {} (2.8 GB, some minutes) ...", root.display());
    let outcome = fill(&staging, &mirror).and_then(|()| {
        fs::rename(&staging, &root).with_context(|| format!("cannot rename {} to its final name", staging.display()))
    });
    if outcome.is_err() && staging.exists() {
        // A leftover is never looked up; it only takes room.
        let _ = fs::remove_dir_all(&staging);
    }
    outcome.map(|()| root)
}

fn fill(root: &Path, mirror: &str) -> Result<()> {
    if !starts("debootstrap") {
        quietly(Command::new("apt-get").args(["update", "-q"]))?;
        quietly(Command::new("apt-get").args(["install", "-y", "-q", "--no-install-recommends", "debootstrap"]))?;
    }
    fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
    let mut bootstrap = Command::new("unshare");
    bootstrap.args(["--mount", "--propagation", "private", "debootstrap", "--variant=minbase", RELEASE]);
    quietly(bootstrap.arg(root).arg(mirror))?;

    let apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
    quietly(enter(root, &[]).args(apt).args(["install", "-y", "-q", "--no-install-recommends"]).args(PACKAGES))?;
    quietly(enter(root, &[]).args(apt).arg("clean"))?;
    quietly(enter(root, &[]).args(["swift", "--version"]))
}

fn is_debian() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|line| line == "ID=debian"))
}

/// The mirror that this machine's own packages come from.
fn mirror() -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    mirror_of(&read("/etc/apt/sources.list.d/debian.sources"), &read("/etc/apt/sources.list"))
        .context("neither debian.sources nor sources.list in /etc/apt names a mirror to take Debian packages from")
}

fn mirror_of(sources: &str, list: &str) -> Option<String> {
    let line = sources.lines().find(|line| line.starts_with("URIs:"));
    let line = line.or_else(|| list.lines().find(|line| line.starts_with("deb ")))?;
    line.split_whitespace().find(|word| word.contains("://")).map(str::to_owned)
}

/// Shows a command as it is inside the folder, if it is one that enters it.
fn line(command: &Command) -> String {
    let inside = command.get_args().position(|argument| argument == "--");
    match inside {
        Some(at) if command.get_program() == "unshare" => {
            let words = command.get_args().skip(at + 1).map(|argument| argument.to_string_lossy());
            format!("(in the Swift folder) {}", words.collect::<Vec<_>>().join(" "))
        }
        _ => cargo::line(command),
    }
}

/// Shows the command, runs it, and fails if it does.
pub(super) fn run(command: &mut Command) -> Result<()> {
    program::run(&line(command), command)
}

fn quietly(command: &mut Command) -> Result<()> {
    program::quietly(&line(command), command)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn the_mirror_is_the_machines_own() {
        let sources = "Types: deb\nURIs: http://mirror/debian\nSuites: x\n";
        let list = "# deb http://old/debian\ndeb [arch=amd64] http://list/debian x main\n";
        assert_eq!(mirror_of(sources, list).as_deref(), Some("http://mirror/debian"));
        assert_eq!(mirror_of("", list).as_deref(), Some("http://list/debian"));
        assert_eq!(mirror_of("", ""), None);
    }

    #[test]
    fn a_command_in_the_chroot_sees_only_what_it_was_given() {
        let toolchain = Toolchain::Chroot("/c".into());
        let command = toolchain.command("swift", Path::new("/w/ios"), &[Path::new("/w")]);
        assert_eq!(line(&command), "(in the Swift folder) env --chdir=/w/ios HOME=/tmp swift");
        let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).skip(6).collect();
        assert_eq!(arguments, ["enter", "/c", "/w", "--", "env", "--chdir=/w/ios", "HOME=/tmp", "swift"]);
    }
}
