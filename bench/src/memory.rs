//! Memory of this process, and the system's memory of files.

use std::fs;
use std::path::Path;

use crate::machine::kilobytes;
use crate::reading::Reading;

/// Bytes that are resident now.
pub(crate) fn resident_bytes() -> Reading<u64> {
    match drafthorse::resident_bytes() {
        Some(bytes) => Reading::present(bytes, "/proc/self/status, VmRSS"),
        None => Reading::absent("no VmRSS in /proc/self/status; an app may tell it"),
    }
}

/// Most bytes that were resident since the process began, or since [`forget_peak`].
pub(crate) fn peak_bytes() -> Reading<u64> {
    if let Some(bytes) = kilobytes(Path::new("/proc/self/status"), "VmHWM") {
        return Reading::present(bytes, "/proc/self/status, VmHWM");
    }
    of_getrusage()
}

#[cfg(unix)]
fn of_getrusage() -> Reading<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    // Apple counts bytes, others kilobytes.
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    match getrusage(UsageWho::RUSAGE_SELF) {
        Ok(usage) => Reading::present(usage.max_rss().unsigned_abs() * unit, "getrusage, ru_maxrss"),
        Err(error) => Reading::absent(format!("getrusage: {error}")),
    }
}

#[cfg(not(unix))]
fn of_getrusage() -> Reading<u64> {
    Reading::absent("this system has neither /proc/self/status nor getrusage")
}

/// Begins a new peak; false where the system cannot.
pub(crate) fn forget_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Asks the system to forget what it holds of the files at `paths`. What it says about that becomes part of the report.
pub(crate) fn forget_files<'a>(paths: impl Iterator<Item = &'a Path>) -> String {
    let mut refused = None;
    for path in paths {
        if let Err(reason) = forget_file(path) {
            refused.get_or_insert(format!("{}: {reason}", path.file_name().unwrap_or_default().to_string_lossy()));
        }
    }
    match refused {
        None => "first opening on this provider, after the system was advised to forget the files".to_owned(),
        Some(reason) => format!("first opening on this provider; the files may have been in memory ({reason})"),
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn forget_file(path: &Path) -> Result<(), String> {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).map_err(|error| error.to_string())
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn forget_file(_: &Path) -> Result<(), String> {
    Err("this system takes no such advice".to_owned())
}

/// Bytes that the storage has delivered to this process.
pub(crate) fn read_bytes() -> Reading<u64> {
    let text = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let bytes = text.lines().find_map(|line| line.strip_prefix("read_bytes:")?.trim().parse().ok());
    match bytes {
        Some(bytes) => Reading::present(bytes, "/proc/self/io, read_bytes"),
        None => Reading::absent("no readable /proc/self/io"),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_touched_allocation_raises_the_peak() {
        let before = *peak_bytes().value().unwrap();
        let block = vec![1_u8; 64 << 20];
        let resident = *resident_bytes().value().unwrap();
        assert!(block.iter().map(|&byte| u64::from(byte)).sum::<u64>() == 64 << 20);
        assert!(*peak_bytes().value().unwrap() >= before && resident > 64 << 20);
    }
}
