//! `cargo xtask setup`: the pinned ONNX Runtime library from its PyPI wheel, digest checked, into the user's cache.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::runtime_library;

/// A wheel that holds the library for one platform.
struct Wheel {
    /// Package and version on PyPI.
    package: &'static str,
    version: &'static str,
    /// System and processor, in Rust's names.
    os: &'static str,
    arch: &'static str,
    /// Platform tag of the wheel.
    tag: &'static str,
    /// SHA-256 of the wheel, in hexadecimal.
    sha256: &'static str,
    /// The library inside the wheel.
    member: &'static str,
    /// Its name in the cache.
    file_name: &'static str,
}

const NO_CACHE: &str = "no cache folder for this user; set DRAFTHORSE_CACHE to a folder (absolute path)";
const PACKAGE: &str = "onnxruntime";

/// Wheels of CPython 3.12; the Python here only downloads, so its own version does not matter.
const WHEELS: [Wheel; 4] = [
    Wheel {
        package: PACKAGE,
        version: runtime_library::VERSION,
        os: "linux",
        arch: "x86_64",
        tag: "manylinux_2_28_x86_64",
        sha256: "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
        member: "onnxruntime/capi/libonnxruntime.so.1.31.1",
        file_name: "libonnxruntime.so",
    },
    Wheel {
        package: PACKAGE,
        version: runtime_library::VERSION,
        os: "linux",
        arch: "aarch64",
        tag: "manylinux_2_28_aarch64",
        sha256: "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
        member: "onnxruntime/capi/libonnxruntime.so.1.31.1",
        file_name: "libonnxruntime.so",
    },
    Wheel {
        package: PACKAGE,
        version: runtime_library::VERSION,
        os: "macos",
        arch: "aarch64",
        tag: "macosx_14_0_arm64",
        sha256: "96dd2564b10ea7153ad9c207e7cd8e5917cb3ba521e0e0a62ac03486fdc8d56c",
        member: "onnxruntime/capi/libonnxruntime.1.31.1.dylib",
        file_name: "libonnxruntime.dylib",
    },
    Wheel {
        package: PACKAGE,
        version: runtime_library::VERSION,
        os: "windows",
        arch: "x86_64",
        tag: "win_amd64",
        sha256: "ae8a9a351efda685cc59a66226cdefaa37a126c1d66872ca23a2de9425326130",
        member: "onnxruntime/capi/onnxruntime.dll",
        file_name: "onnxruntime.dll",
    },
];

/// The newest one with WebGPU inside.
const WEBGPU_WHEEL: Wheel = Wheel {
    package: "onnxruntime-webgpu",
    version: "1.27.0",
    os: "linux",
    arch: "x86_64",
    tag: "manylinux_2_28_x86_64",
    sha256: "fe5e49e00ad71bc667316d57670bfbf525438783d4a3468e0d337314ec985cbe",
    member: "onnxruntime/capi/libonnxruntime.so.1.27.0",
    file_name: "libonnxruntime.so",
};

/// Licence texts that go with the library, inside the wheel.
const NOTICES: [&str; 2] = ["onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"];

/// The folder that everything placed by these commands lies in.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    runtime_library::cache_folder().context(NO_CACHE)
}

/// Places the library for this machine and returns its path; `ORT_DYLIB_PATH` is taken as it is.
///
/// # Errors
/// If there is no wheel for this machine, no pip, or the download is not the pinned file.
pub(crate) fn place_for_host() -> Result<PathBuf> {
    if let Some(own) = std::env::var_os("ORT_DYLIB_PATH") {
        let own = PathBuf::from(own);
        ensure!(own.is_file(), "ORT_DYLIB_PATH names {}, which is no file; correct it or unset it", own.display());
        return Ok(own);
    }
    if cfg!(target_env = "musl") {
        bail!("{}", no_wheel("linux with musl"));
    }
    place(std::env::consts::OS, std::env::consts::ARCH)
}

/// Places the library for a platform, in Rust's names, and returns its path.
///
/// # Errors
/// As [`place_for_host`].
pub(crate) fn place(os: &str, arch: &str) -> Result<PathBuf> {
    let wheel = WHEELS
        .iter()
        .find(|wheel| wheel.os == os && wheel.arch == arch)
        .with_context(|| no_wheel(&format!("{os} {arch}")))?;
    let folder = runtime_library::folder(os, arch).context(NO_CACHE)?;
    place_wheel(wheel, &folder)
}

/// Places a library that has WebGPU, and returns its path.
///
/// # Errors
/// As [`place_for_host`].
pub(crate) fn place_webgpu() -> Result<PathBuf> {
    let wheel = &WEBGPU_WHEEL;
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    ensure!(
        (os, arch) == (wheel.os, wheel.arch),
        "a library with WebGPU is pinned for {} {} alone",
        wheel.os,
        wheel.arch
    );
    let folder = cache_folder()?;
    place_wheel(wheel, &folder.join(format!("{}-{}", wheel.package, wheel.version)).join(format!("{os}-{arch}")))
}

fn place_wheel(wheel: &Wheel, folder: &Path) -> Result<PathBuf> {
    let library = folder.join(wheel.file_name);
    if library.is_file() {
        return Ok(library);
    }

    let parent = folder.parent().expect("the folder has a parent");
    let staging = parent.join(format!("{}-{}.{}.tmp", wheel.os, wheel.arch, std::process::id()));
    fs::create_dir_all(&staging).with_context(|| format!("cannot create {}", staging.display()))?;
    let outcome = fill(&staging, wheel).and_then(|()| publish(&staging, folder, &library));
    if staging.exists() {
        // A leftover is harmless: its name is never looked up.
        let _ = fs::remove_dir_all(&staging);
    }
    outcome?;
    Ok(library)
}

fn no_wheel(platform: &str) -> String {
    let version = runtime_library::VERSION;
    format!(
        "no prebuilt ONNX Runtime {version} is pinned for {platform}; \
         build or install one and set ORT_DYLIB_PATH to the library"
    )
}

fn fill(staging: &Path, wheel: &Wheel) -> Result<()> {
    let path = download(staging, wheel)?;
    let digest = sha256(&path)?;
    ensure!(
        digest == wheel.sha256,
        "{} is not the pinned file: its SHA-256 is {digest}, expected {}; \
         the package index or a cache on the way served something else",
        path.file_name().unwrap_or_default().to_string_lossy(),
        wheel.sha256
    );
    unpack(&path, staging, wheel)?;
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}

/// The download lands in `staging`; pip brings its own index, proxy and certificate settings.
fn download(staging: &Path, wheel: &Wheel) -> Result<PathBuf> {
    let (package, version) = (wheel.package, wheel.version);
    let python = python()?;
    eprintln!("Fetching {package} {version} for {} {} by pip (about 25 MB) ...", wheel.os, wheel.arch);
    let output = Command::new(python)
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"])
        .args(["--no-deps", "--only-binary=:all:", "--platform", wheel.tag])
        .args(["--python-version", "3.12", "--implementation", "cp", "--abi", "cp312", "--dest"])
        .arg(staging)
        .arg(format!("{package}=={version}"))
        .output()
        .context("cannot start pip")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("pip could not download {package} {version}:\n{}", said.trim_end());
    }
    let found = fs::read_dir(staging)?.filter_map(|entry| Some(entry.ok()?.path()));
    found
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip reported success and left no wheel")
}

/// A Python that has pip.
fn python() -> Result<&'static str> {
    let mut found_without_pip = None;
    for name in ["python3", "python"] {
        match Command::new(name).args(["-m", "pip", "--version"]).output() {
            Ok(output) if output.status.success() => return Ok(name),
            Ok(_) => found_without_pip = found_without_pip.or(Some(name)),
            Err(_) => {}
        }
    }
    let remedy = "or set ORT_DYLIB_PATH to an ONNX Runtime library that you have";
    match found_without_pip {
        Some(name) => bail!(
            "{name} has no pip, which fetches the ONNX Runtime library; install it \
             (`{name} -m ensurepip`, or the system's package, often python3-pip), {remedy}"
        ),
        None => bail!(
            "python3 is not installed; its pip fetches the ONNX Runtime library; install python3 with pip, {remedy}"
        ),
    }
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unpack(path: &Path, staging: &Path, wheel: &Wheel) -> Result<()> {
    let file = fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut archive = zip::ZipArchive::new(file).with_context(|| format!("{} is no zip file", path.display()))?;
    let notices = NOTICES.iter().map(|member| (*member, member.rsplit('/').next().expect("a member has a name")));
    for (member, name) in notices.chain([(wheel.member, wheel.file_name)]) {
        let mut source = archive.by_name(member).with_context(|| format!("the wheel has no {member}"))?;
        let target = staging.join(name);
        let mut out = fs::File::create(&target).with_context(|| format!("cannot create {}", target.display()))?;
        io::copy(&mut source, &mut out).with_context(|| format!("cannot write {}", target.display()))?;
        out.sync_all().with_context(|| format!("cannot write {}", target.display()))?;
    }
    Ok(())
}

fn publish(staging: &Path, folder: &Path, library: &Path) -> Result<()> {
    match fs::rename(staging, folder) {
        Ok(()) => Ok(()),
        // Another setup was first.
        Err(_) if library.is_file() => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot rename to {}", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wheel_of_this_platform_gives_the_name_that_the_runtime_looks_for() {
        for wheel in WHEELS.iter().filter(|wheel| wheel.os == std::env::consts::OS) {
            assert_eq!(wheel.file_name, runtime_library::FILE_NAME);
        }
    }

    #[test]
    fn members_carry_the_pinned_version() {
        for wheel in WHEELS.iter().filter(|wheel| wheel.os != "windows") {
            assert!(wheel.member.contains(runtime_library::VERSION), "{}", wheel.member);
        }
    }

    #[test]
    fn an_unknown_platform_is_told_what_to_do() {
        let error = place("plan9", "mips").unwrap_err().to_string();
        assert!(error.contains("plan9 mips") && error.contains("ORT_DYLIB_PATH"), "{error}");
    }
}
