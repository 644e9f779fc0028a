//! How much memory the process takes.

/// Bytes of this process that lie in memory, mapped files included; `None` where the system does not tell (it does on
/// Linux and Android).
pub fn resident_bytes() -> Option<u64> {
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        return None;
    }
    resident_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The line reads `VmRSS: 123456 kB`, with blanks between.
fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_line_and_nothing_else() {
        assert_eq!(resident_of("Name:\tx\nVmHWM:\t 99 kB\nVmRSS:\t  1204 kB\nRssAnon:\t 7 kB\n"), Some(1204 * 1024));
        assert_eq!(resident_of("Name:\tx\n"), None);
        assert_eq!(resident_of("VmRSS:\t many kB\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_is_touched_counts() {
        let before = resident_bytes().unwrap();
        let touched = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(resident_bytes().unwrap() > before + (32 << 20));
        drop(touched);
    }
}
