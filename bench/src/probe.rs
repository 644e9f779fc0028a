//! What changes while measuring: clock rate, heat, throttling, battery, energy, other programs, memory.
//!
//! A sample reads a few small files, between generations only. What an app has to ask its system for comes through
//! [`HostProbe`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::machine::numbered;
use crate::memory;
use crate::reading::Reading;

/// One look at the sensors; what the system does not tell is left out, with the reason in `Machine::sensors`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Sample {
    /// Seconds since the run began.
    pub at_s: f64,
    /// Mean clock rate of the cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_mhz: Option<f64>,
    /// Of the hottest zone that belongs to the processor, in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_c: Option<f64>,
    /// Times that the processor throttled, or the state of its cooling device; a rise means throttling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<f64>,
    /// In the system's own words: `nominal`, `fair`, `serious`, `critical`; `none`, `light`, `moderate`, `severe`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thermal_state: Option<String>,
    /// Android's thermal headroom: 1 is where severe throttling begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thermal_headroom: Option<f64>,
    /// Charge of the battery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery_percent: Option<f64>,
    /// Current out of the battery; negative while it charges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery_ma: Option<f64>,
    /// Energy used since some moment in the past, by whatever the source counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_j: Option<f64>,
    /// Share of all processors that other programs used since the sample before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_cpu_share: Option<f64>,
    /// Memory of this process that is resident.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
}

/// What an app asks its system for, since no file tells.
pub trait HostProbe: Send + Sync {
    /// A JSON object with any of the fields of [`HostSample`].
    fn sample_json(&self) -> String;
}

/// What an app answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostSample {
    /// As in [`Sample`].
    pub temperature_c: Option<f64>,
    /// As in [`Sample`].
    pub thermal_state: Option<String>,
    /// As in [`Sample`].
    pub thermal_headroom: Option<f64>,
    /// As in [`Sample`].
    pub battery_percent: Option<f64>,
    /// As in [`Sample`].
    pub battery_ma: Option<f64>,
    /// As in [`Sample`].
    pub energy_j: Option<f64>,
    /// As in [`Sample`].
    pub resident_bytes: Option<u64>,
    /// Why a field is left out, by its name.
    pub absent: BTreeMap<String, String>,
}

/// Microamperes into the battery, which the kernel counts (`current_now` in its `sysfs-class-power`), as milliamperes out.
const MA_OUT: f64 = -1e-3;

/// Reads the sensors.
pub(crate) struct Probe<'a> {
    root: PathBuf,
    host: Option<&'a dyn HostProbe>,
    cpu_times: Option<CpuTimes>,
}

/// Clock ticks: of all processors, of these idle, of this process.
#[derive(Clone, Copy)]
struct CpuTimes {
    total: f64,
    idle: f64,
    own: f64,
}

impl<'a> Probe<'a> {
    /// Over the files under `root`, which is `/` but in tests; this process's memory is its own in tests too.
    pub(crate) fn new(root: &Path, host: Option<&'a dyn HostProbe>) -> Self {
        Self { root: root.to_owned(), host, cpu_times: None }
    }

    /// What there is, with sources and reasons.
    pub(crate) fn describe(&mut self) -> BTreeMap<String, Reading<String>> {
        let told = self.ask_host();
        let mut sensors = BTreeMap::new();
        let mut add = |name: &str, of_host: Option<String>, own: Reading<String>| {
            let reading = match (of_host, told.absent.get(name)) {
                (Some(value), _) => Reading::present(value, "the app"),
                (None, Some(reason)) if own.value().is_none() => Reading::absent(reason.clone()),
                _ => own,
            };
            sensors.insert(name.to_owned(), reading);
        };
        let number = |value: Option<f64>| value.map(|value| value.to_string());
        let only_apps = |what: &str| Reading::absent(format!("{what}, which is asked through an app"));
        add("cpu_mhz", None, text(self.cpu_mhz()));
        add("temperature_c", number(told.temperature_c), text(self.temperature_c()));
        add("throttle", None, text(self.throttle()));
        add("thermal_state", told.thermal_state.clone(), only_apps("a notion of Android and iOS"));
        add("thermal_headroom", number(told.thermal_headroom), only_apps("a notion of Android"));
        add("battery_percent", number(told.battery_percent), text(self.battery("capacity", 1.0)));
        add("battery_ma", number(told.battery_ma), text(self.battery("current_now", MA_OUT)));
        add("energy_j", number(told.energy_j), text(self.energy_j()));
        let times = if self.cpu_times().is_some() {
            Reading::present("0".to_owned(), "/proc/stat less /proc/self/stat")
        } else {
            Reading::absent("no readable /proc/stat")
        };
        add("other_cpu_share", None, times);
        add("resident_bytes", told.resident_bytes.map(|bytes| bytes.to_string()), text(memory::resident_bytes()));
        sensors
    }

    /// One look, `at_s` seconds after the beginning.
    pub(crate) fn sample(&mut self, at_s: f64) -> Sample {
        let told = self.ask_host();
        let own = |reading: Reading<f64>| reading.value().copied();
        Sample {
            at_s,
            cpu_mhz: own(self.cpu_mhz()),
            temperature_c: told.temperature_c.or_else(|| own(self.temperature_c())),
            throttle: own(self.throttle()),
            thermal_state: told.thermal_state,
            thermal_headroom: told.thermal_headroom,
            battery_percent: told.battery_percent.or_else(|| own(self.battery("capacity", 1.0))),
            battery_ma: told.battery_ma.or_else(|| own(self.battery("current_now", MA_OUT))),
            energy_j: told.energy_j.or_else(|| self.own_energy_j()),
            other_cpu_share: self.other_cpu_share(),
            resident_bytes: told.resident_bytes.or_else(|| memory::resident_bytes().value().copied()),
        }
    }

    /// Memory of this process that is resident, by the app where it tells.
    pub(crate) fn resident_bytes(&self) -> Reading<u64> {
        match self.ask_host().resident_bytes {
            Some(bytes) => Reading::present(bytes, "the app"),
            None => memory::resident_bytes(),
        }
    }

    /// The counter that [`Self::sample`] reads, and none of the system's other files; an app is asked for all it tells.
    pub(crate) fn energy_now_j(&self) -> Option<f64> {
        self.ask_host().energy_j.or_else(|| self.own_energy_j())
    }

    fn own_energy_j(&self) -> Option<f64> {
        self.energy_j().value().copied()
    }

    fn ask_host(&self) -> HostSample {
        let Some(host) = self.host else { return HostSample::default() };
        serde_json::from_str(&host.sample_json()).unwrap_or_else(|error| HostSample {
            absent: BTreeMap::from([(
                "thermal_state".to_owned(),
                format!("the app's answer is not as agreed: {error}"),
            )]),
            ..HostSample::default()
        })
    }

    fn cpu_mhz(&self) -> Reading<f64> {
        let cores = numbered(&self.root, "sys/devices/system/cpu", "cpu");
        let rates: Vec<f64> = cores
            .iter()
            .filter_map(|core| number(&core.join("cpufreq/scaling_cur_freq")))
            .map(|khz| khz / 1e3)
            .collect();
        if !rates.is_empty() {
            let mean = rates.iter().sum::<f64>() / rates.len() as f64;
            return Reading::present(mean, "/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq");
        }
        let text = fs::read_to_string(self.root.join("proc/cpuinfo")).unwrap_or_default();
        match crate::machine::cpuinfo(&text, "cpu MHz").and_then(|mhz| mhz.parse().ok()) {
            Some(mhz) => Reading::present(mhz, "/proc/cpuinfo, which may be the nominal rate"),
            None => Reading::absent("neither cpufreq under /sys nor a rate in /proc/cpuinfo"),
        }
    }

    /// Zones of the processor where any is named so, else all zones; zones below zero or beyond 150 °C are unused ones.
    fn temperature_c(&self) -> Reading<f64> {
        let zones: Vec<(String, f64)> = numbered(&self.root, "sys/class/thermal", "thermal_zone")
            .iter()
            .filter_map(|zone| {
                let kind = fs::read_to_string(zone.join("type")).ok()?.trim().to_lowercase();
                Some((kind, number(&zone.join("temp"))? / 1e3)).filter(|(_, c)| (0.0..150.0).contains(c))
            })
            .collect();
        let of_cpu = |zone: &&(String, f64)| ["cpu", "soc", "pkg", "core"].iter().any(|part| zone.0.contains(part));
        let hottest =
            |zones: &mut dyn Iterator<Item = &(String, f64)>| zones.max_by(|a, b| a.1.total_cmp(&b.1)).cloned();
        match hottest(&mut zones.iter().filter(of_cpu)).or_else(|| hottest(&mut zones.iter())) {
            Some((kind, temperature)) => Reading::present(temperature, format!("/sys/class/thermal, zone {kind}")),
            None => Reading::absent("no readable zone in /sys/class/thermal"),
        }
    }

    fn throttle(&self) -> Reading<f64> {
        let cores = numbered(&self.root, "sys/devices/system/cpu", "cpu");
        let counts: Vec<f64> =
            cores.iter().filter_map(|core| number(&core.join("thermal_throttle/core_throttle_count"))).collect();
        if !counts.is_empty() {
            return Reading::present(counts.iter().sum(), "/sys/devices/system/cpu/cpu*/thermal_throttle");
        }
        let states = numbered(&self.root, "sys/class/thermal", "cooling_device").into_iter().filter_map(|device| {
            let kind = fs::read_to_string(device.join("type")).ok()?;
            kind.contains("cpu").then(|| number(&device.join("cur_state")))?
        });
        match states.reduce(f64::max) {
            Some(state) => Reading::present(state, "/sys/class/thermal/cooling_device*/cur_state"),
            None => Reading::absent("neither throttle counts of the cores nor a cooling device of theirs under /sys"),
        }
    }

    fn battery(&self, file: &str, factor: f64) -> Reading<f64> {
        let supplies = fs::read_dir(self.root.join("sys/class/power_supply")).into_iter().flatten().flatten();
        let is_battery =
            |path: &PathBuf| fs::read_to_string(path.join("type")).is_ok_and(|kind| kind.trim() == "Battery");
        let Some(battery) = supplies.map(|entry| entry.path()).find(is_battery) else {
            return Reading::absent("no battery in /sys/class/power_supply");
        };
        match number(&battery.join(file)) {
            Some(value) => Reading::present(value * factor, format!("/sys/class/power_supply/*/{file}")),
            None => Reading::absent(format!("the battery has no readable {file}")),
        }
    }

    /// RAPL: the sum over processor packages. The counters wrap after hours: a fall tells nothing.
    fn energy_j(&self) -> Reading<f64> {
        let packages = numbered(&self.root, "sys/class/powercap", "intel-rapl:");
        if packages.is_empty() {
            return Reading::absent("no /sys/class/powercap: the system offers no energy counter");
        }
        let counts: Option<Vec<f64>> = packages.iter().map(|package| number(&package.join("energy_uj"))).collect();
        match counts {
            Some(counts) => Reading::present(counts.iter().sum::<f64>() / 1e6, "/sys/class/powercap/intel-rapl:*"),
            None => Reading::absent("/sys/class/powercap/intel-rapl:*/energy_uj may only be read by the administrator"),
        }
    }

    fn cpu_times(&self) -> Option<CpuTimes> {
        let stat = fs::read_to_string(self.root.join("proc/stat")).ok()?;
        let numbers: Vec<f64> =
            stat.lines().next()?.split_whitespace().skip(1).filter_map(|part| part.parse().ok()).collect();
        let own = fs::read_to_string(self.root.join("proc/self/stat")).ok()?;
        // The name in brackets may hold spaces; fields 14 and 15 are the process's own time.
        let own: Vec<f64> =
            own.rsplit_once(')')?.1.split_whitespace().skip(11).take(2).filter_map(|part| part.parse().ok()).collect();
        // Guest time, the last two, is part of user time already.
        Some(CpuTimes {
            total: numbers.iter().take(8).sum(),
            idle: numbers.get(3)? + numbers.get(4)?,
            own: own.iter().sum(),
        })
    }

    fn other_cpu_share(&mut self) -> Option<f64> {
        let now = self.cpu_times()?;
        let before = self.cpu_times.replace(now)?;
        let passed = now.total - before.total;
        let busy = passed - (now.idle - before.idle) - (now.own - before.own);
        (passed > 0.0).then(|| (busy / passed).clamp(0.0, 1.0))
    }
}

fn number(path: &Path) -> Option<f64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn text<T: ToString>(reading: Reading<T>) -> Reading<String> {
    match reading {
        Reading::Present { value, source } => Reading::Present { value: value.to_string(), source },
        Reading::Absent { absent } => Reading::Absent { absent },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::write;

    #[test]
    fn sensors_are_read_from_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (zone, kind, temperature) in
            [(0, "battery", 33_000), (1, "cpu-0-0", 61_500), (2, "cpu-0-1", 58_000), (3, "cpu-x", -5)]
        {
            write(root, &format!("sys/class/thermal/thermal_zone{zone}/type"), kind);
            write(root, &format!("sys/class/thermal/thermal_zone{zone}/temp"), &temperature.to_string());
        }
        write(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1000000");
        write(root, "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "3000000");
        write(root, "sys/class/thermal/cooling_device0/type", "thermal-cpufreq-0");
        write(root, "sys/class/thermal/cooling_device0/cur_state", "2");
        write(root, "sys/class/power_supply/bat/type", "Battery\n");
        write(root, "sys/class/power_supply/bat/capacity", "81\n");
        write(root, "sys/class/power_supply/bat/current_now", "-512000\n");
        write(root, "sys/class/powercap/intel-rapl:0/energy_uj", "3000000");
        let sample = Probe::new(root, None).sample(2.0);
        assert_eq!((sample.temperature_c, sample.cpu_mhz, sample.throttle), (Some(61.5), Some(2000.0), Some(2.0)));
        assert_eq!((sample.battery_percent, sample.battery_ma, sample.energy_j), (Some(81.0), Some(512.0), Some(3.0)));
    }

    #[test]
    fn nothing_to_read_is_said_with_its_reason() {
        let root = tempfile::tempdir().unwrap();
        let mut probe = Probe::new(root.path(), None);
        let sample = probe.sample(1.0);
        assert_eq!(sample, Sample { at_s: 1.0, resident_bytes: sample.resident_bytes, ..Sample::default() });
        let mut sensors = probe.describe();
        assert_eq!(sensors.len(), 10);
        sensors.remove("resident_bytes");
        assert!(sensors.values().all(|reading| reading.value().is_none() && reading.explanation().len() > 10));
    }

    #[test]
    fn other_programs_are_told_from_this_one() {
        let folder = tempfile::tempdir().unwrap();
        let times = |user: u32, idle: u32, own: u32| {
            write(folder.path(), "proc/stat", &format!("cpu  {user} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1\n"));
            write(folder.path(), "proc/self/stat", &format!("7 (a b) c) S 1 1 1 0 -1 0 0 0 0 0 {own} 0 0"));
        };
        let mut probe = Probe::new(folder.path(), None);
        times(100, 100, 10);
        assert_eq!(probe.sample(0.0).other_cpu_share, None);
        times(180, 120, 40);
        assert_eq!(probe.sample(1.0).other_cpu_share, Some(0.5));
    }

    #[test]
    fn an_app_answers_for_its_system() {
        struct App(&'static str);
        impl HostProbe for App {
            fn sample_json(&self) -> String {
                self.0.to_owned()
            }
        }
        let root = tempfile::tempdir().unwrap();
        let app = App(r#"{"thermal_state": "fair", "absent": {"battery_ma": "the maker's driver returns 0"}}"#);
        let mut probe = Probe::new(root.path(), Some(&app));
        assert_eq!(probe.sample(0.0).thermal_state.as_deref(), Some("fair"));
        let sensors = probe.describe();
        assert_eq!(sensors["thermal_state"], Reading::present("fair".to_owned(), "the app"));
        assert!(sensors["battery_ma"].explanation().contains("driver"));
        let nonsense = App("{\"heat\": 1}");
        assert!(
            Probe::new(root.path(), Some(&nonsense)).describe()["thermal_state"].explanation().contains("as agreed")
        );
    }
}
