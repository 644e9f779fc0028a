//! What is measured on: operating system, processor, memory. Read once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::reading::Reading;

/// The device, with the reason for whatever is not known. It holds no serial number, user or host name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct Machine {
    /// The lab's own name of the device, where it gave one.
    pub label: Option<String>,
    /// Maker's name of the device.
    pub device: Reading<String>,
    /// Name of the processor or system on chip.
    pub soc: Reading<String>,
    /// `linux`, `android`, `ios`, `macos`, `windows`.
    pub os: String,
    /// Name and version that the system gives itself.
    pub os_version: Reading<String>,
    /// Version of the kernel.
    pub kernel: Reading<String>,
    /// `x86_64`, `aarch64`.
    pub arch: String,
    /// Processors that the system offers to this process.
    pub cpu_count: usize,
    /// Most megahertz of each kind of core, with how many cores have it.
    pub cores: Reading<Vec<CoreKind>>,
    /// What decides about clock rates.
    pub governor: Reading<String>,
    /// Bytes of memory.
    pub memory_bytes: Reading<u64>,
    /// What changes while measuring, as first read, or why it is not known.
    pub sensors: BTreeMap<String, Reading<String>>,
}

/// Cores of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
pub struct CoreKind {
    /// How many.
    pub count: usize,
    /// Highest clock rate.
    pub mhz_max: u64,
}

/// What an app knows of its device that no file tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct HostFacts {
    /// Maker and model: Android `Build.MANUFACTURER` and `Build.MODEL`, iOS `utsname.machine`.
    pub device: Option<String>,
    /// Android `Build.SOC_MODEL`.
    pub soc: Option<String>,
    /// `Android 16 (API 36)`, `iOS 26.1`.
    pub os_version: Option<String>,
    /// Bytes of memory, where the app may ask.
    pub memory_bytes: Option<u64>,
    /// The app itself: name, version, whether it was built to be measured.
    pub app: Option<String>,
}

impl Machine {
    /// Reads what the files under `root` (`/` but in tests) tell; what `host` says wins.
    pub(crate) fn read(root: &Path, host: Option<&HostFacts>, label: Option<String>) -> Self {
        let told = |value: Option<&String>, otherwise: Reading<String>| match value {
            Some(value) => Reading::present(value.clone(), "the app"),
            None => otherwise,
        };
        let memory = host.and_then(|host| host.memory_bytes);
        Self {
            label,
            device: told(host.and_then(|host| host.device.as_ref()), device(root)),
            soc: told(host.and_then(|host| host.soc.as_ref()), soc(root)),
            os: std::env::consts::OS.to_owned(),
            os_version: told(host.and_then(|host| host.os_version.as_ref()), os_version(root)),
            kernel: first_line(root, &["proc/sys/kernel/osrelease"]),
            arch: std::env::consts::ARCH.to_owned(),
            cpu_count: std::thread::available_parallelism().map_or(1, usize::from),
            cores: cores(root),
            governor: first_line(root, &["sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"]),
            memory_bytes: memory.map_or_else(|| memory_bytes(root), |bytes| Reading::present(bytes, "the app")),
            sensors: BTreeMap::new(),
        }
    }

    /// What a person calls it: the lab's name, else the maker's, else the processor's, else the system's.
    #[cfg(feature = "report")]
    pub(crate) fn name(&self) -> String {
        let name = self.label.as_ref().or(self.device.value()).or(self.soc.value());
        name.cloned().unwrap_or_else(|| format!("{} {}", self.os, self.arch))
    }
}

/// The first of `paths` under `root` that holds text, without the zero byte that device trees end theirs with.
pub(crate) fn first_line(root: &Path, paths: &[&str]) -> Reading<String> {
    let line = |path: &&str| {
        let text = fs::read_to_string(root.join(path)).ok()?;
        let line = text.lines().next().unwrap_or("").trim_matches(['\0', ' ']).to_owned();
        (!line.is_empty()).then(|| Reading::present(line, format!("/{path}")))
    };
    let none = || Reading::absent(format!("no /{}", paths.join(", no /")));
    paths.iter().find_map(line).unwrap_or_else(none)
}

fn device(root: &Path) -> Reading<String> {
    first_line(root, &["proc/device-tree/model", "sys/devices/virtual/dmi/id/product_name"])
}

fn soc(root: &Path) -> Reading<String> {
    const CPUINFO: &str = "proc/cpuinfo";
    let named = first_line(root, &["sys/devices/soc0/machine", "sys/devices/soc0/soc_id"]);
    if named.value().is_some() {
        return named;
    }
    let text = fs::read_to_string(root.join(CPUINFO)).unwrap_or_default();
    match ["model name", "Hardware", "Model"].into_iter().find_map(|key| cpuinfo(&text, key)) {
        Some(name) => Reading::present(name.to_owned(), format!("/{CPUINFO}")),
        None => Reading::absent(format!("{}, no name in /{CPUINFO}", named.explanation())),
    }
}

/// The first value of `key` in the text of /proc/cpuinfo.
pub(crate) fn cpuinfo<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
}

fn os_version(root: &Path) -> Reading<String> {
    const FILE: &str = "etc/os-release";
    let text = fs::read_to_string(root.join(FILE)).unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    match name {
        Some(name) => Reading::present(name.trim_matches('"').to_owned(), format!("/{FILE}")),
        None => Reading::absent(format!("no PRETTY_NAME in /{FILE}")),
    }
}

fn cores(root: &Path) -> Reading<Vec<CoreKind>> {
    let mut kinds: BTreeMap<u64, usize> = BTreeMap::new();
    for folder in numbered(root, "sys/devices/system/cpu", "cpu") {
        let text = fs::read_to_string(folder.join("cpufreq/cpuinfo_max_freq"));
        if let Some(khz) = text.ok().and_then(|text| text.trim().parse::<u64>().ok()) {
            *kinds.entry(khz / 1000).or_default() += 1;
        }
    }
    if kinds.is_empty() {
        return Reading::absent("no /sys/devices/system/cpu/cpu*/cpufreq: the system does not tell clock rates");
    }
    let kinds = kinds.into_iter().rev().map(|(mhz_max, count)| CoreKind { count, mhz_max }).collect();
    Reading::present(kinds, "/sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq")
}

fn memory_bytes(root: &Path) -> Reading<u64> {
    match kilobytes(&root.join("proc/meminfo"), "MemTotal") {
        Some(bytes) => Reading::present(bytes, "/proc/meminfo"),
        None => Reading::absent("no MemTotal in /proc/meminfo"),
    }
}

/// `key` of a file with lines such as `MemTotal:  24000 kB`, in bytes.
pub(crate) fn kilobytes(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Folders `prefix0`, `prefix1`, ... in `folder` under `root`, by number.
pub(crate) fn numbered(root: &Path, folder: &str, prefix: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
    let mut found: Vec<(u64, std::path::PathBuf)> = entries
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Writes a file of a made-up system.
    pub(crate) fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_phone_is_read_from_its_files() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "proc/device-tree/model", "Acme Phone 9\0");
        write(root.path(), "sys/devices/soc0/machine", "AB1234\n");
        write(root.path(), "proc/meminfo", "MemTotal:       8000000 kB\nMemFree: 1 kB\n");
        for (cpu, khz) in [(0, 1_800_000), (1, 1_800_000), (10, 3_200_000)] {
            write(root.path(), &format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq"), &khz.to_string());
        }
        let machine = Machine::read(root.path(), None, Some("shelf 3".into()));
        assert_eq!(machine.device.value().unwrap(), "Acme Phone 9");
        assert_eq!(machine.soc.value().unwrap(), "AB1234");
        assert_eq!(machine.memory_bytes.value(), Some(&8_192_000_000));
        let kinds = [CoreKind { count: 1, mhz_max: 3200 }, CoreKind { count: 2, mhz_max: 1800 }];
        assert_eq!(machine.cores.value().unwrap(), &kinds);
    }

    #[test]
    fn what_is_absent_says_why_and_the_app_knows_better() {
        let root = tempfile::tempdir().unwrap();
        let host = HostFacts { soc: Some("Z1".into()), ..HostFacts::default() };
        let machine = Machine::read(root.path(), Some(&host), None);
        assert_eq!(machine.soc, Reading::present("Z1".to_owned(), "the app"));
        assert!(machine.governor.explanation().contains("scaling_governor"));
        assert!(machine.cores.value().is_none() && machine.device.value().is_none());
    }
}
