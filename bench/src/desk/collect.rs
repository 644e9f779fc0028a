//! A fleet: thousands of reports, of which every bad one is named and none is lost.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::plan::{Decoding, Mode};
use crate::report::Report;
use crate::statistics::median;
use crate::table::{aligned, number, provider};
use crate::{Error, Result};

/// Folders within folders are read this deep.
const DEPTH_MAX: usize = 16;

/// What was found in a folder of reports: `files` is `merged` and what was set aside.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Collected {
    /// JSON files, and whatever else could hold reports and could not be looked into.
    pub files: usize,
    /// Reports that were merged.
    pub merged: usize,
    /// Files that were not, with the reason, by name. They stay where they are.
    pub set_aside: Vec<SetAside>,
    /// Percentiles over devices.
    pub groups: Vec<Group>,
}

/// A file that was not merged, or a folder that was not looked into.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SetAside {
    /// The file or folder.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// Devices with the same processor and system, measured alike with the same models.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// What they have in common.
    #[serde(flatten)]
    pub key: GroupKey,
    /// Name of the pack, as the first of the reports has it.
    pub pack: String,
    /// Different devices: by label, else each report counts as one.
    pub devices: usize,
    /// Reports.
    pub reports: usize,
    /// Tokens per second of decoding.
    pub decode_tokens_per_s: Spread,
    /// Time to the first token, the median of each device's answers.
    pub ttft_ms: Spread,
    /// Time between tokens that 99 in a hundred of each device's tokens keep.
    pub inter_token_ms_p99: Spread,
    /// Devices on which the mode is told to be faster than plain decoding.
    pub faster: usize,
    /// Devices on which it is told to be slower.
    pub slower: usize,
}

/// What the devices of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GroupKey {
    /// Processor.
    pub soc: String,
    /// System with its version.
    pub os: String,
    /// SHA-256 over the target's files.
    pub target_digest: Option<String>,
    /// SHA-256 over the drafter's files.
    pub drafter_digest: Option<String>,
    /// Whose loop.
    pub engine: String,
    /// The target's provider, and the drafter's where it is another.
    pub provider: String,
    /// How tokens were chosen.
    pub decoding: Decoding,
    /// How tokens were drafted.
    pub mode: Mode,
}

/// Percentiles over devices, by nearest rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// One device in ten is no greater.
    pub p10: f64,
    /// Half are no greater.
    pub p50: f64,
    /// Nine in ten are no greater.
    pub p90: f64,
}

/// Figures of one report that become part of a group.
#[derive(Clone, Debug)]
struct Entry {
    pack: String,
    device: String,
    speed: f64,
    ttft_ms: f64,
    p99_ms: f64,
    /// 1 faster, -1 slower, 0 not told.
    told: i8,
}

/// Reads every `.json` file under `folder`, calls `on_report` for each good report, and groups them.
///
/// # Errors
/// `Io` if `folder` cannot be listed, and those of `on_report`. A file that is no report is no error, nor is a folder
/// within `folder` that cannot be listed.
pub fn collect(folder: &Path, on_report: &mut dyn FnMut(&Report) -> Result<()>) -> Result<Collected> {
    let mut found = Found::default();
    found.look_into(folder, 0).map_err(Error::io(folder))?;
    // By name, so that of two equal reports it is always the same one that counts.
    found.files.sort();
    let Found { files, set_aside } = found;
    let mut collected = Collected { files: files.len() + set_aside.len(), set_aside, ..Collected::default() };
    let mut seen: HashMap<String, ([u8; 32], PathBuf)> = HashMap::new();
    let mut groups = Groups::default();
    for path in files {
        match Report::read(&path).map_err(reason).and_then(|report| is_new(&mut seen, &path, report)) {
            Ok(report) => {
                groups.add(&report);
                on_report(&report)?;
                collected.merged += 1;
            }
            Err(reason) => collected.set_aside.push(SetAside { path, reason }),
        }
    }
    collected.set_aside.sort();
    collected.groups = groups.finish();
    Ok(collected)
}

fn reason(error: Error) -> String {
    match error {
        Error::Report { reason, .. } => reason,
        Error::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

/// The report, unless one with its id was read before.
fn is_new(seen: &mut HashMap<String, ([u8; 32], PathBuf)>, path: &Path, report: Report) -> Result<Report, String> {
    let digest: [u8; 32] = Sha256::digest(report.to_json()).into();
    match seen.get(&report.id) {
        None => {
            seen.insert(report.id.clone(), (digest, path.to_owned()));
            Ok(report)
        }
        Some((known, first)) if *known == digest => Err(format!("the same report as {}", first.display())),
        Some((_, first)) => {
            Err(format!("has the id of {} but says something else: one of them was changed", first.display()))
        }
    }
}

/// What lies in a folder.
#[derive(Default)]
struct Found {
    files: Vec<PathBuf>,
    set_aside: Vec<SetAside>,
}

impl Found {
    /// Adds what lies in `folder`, at any depth. Links are not followed.
    fn look_into(&mut self, folder: &Path, depth: usize) -> io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let is_json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
            if kind.is_dir() && depth == DEPTH_MAX {
                self.set_aside(path, format!("more than {DEPTH_MAX} folders deep"));
            } else if kind.is_dir() {
                if let Err(error) = self.look_into(&path, depth + 1) {
                    self.set_aside(path, error.to_string());
                }
            } else if kind.is_file() && is_json {
                self.files.push(path);
            } else if is_json || kind.is_symlink() && path.is_dir() {
                self.set_aside(path, "a link or a device, which is not followed".into());
            }
        }
        Ok(())
    }

    fn set_aside(&mut self, path: PathBuf, reason: String) {
        self.set_aside.push(SetAside { path, reason });
    }
}

/// Groups under construction.
#[derive(Default)]
struct Groups(BTreeMap<GroupKey, Vec<Entry>>);

impl Groups {
    fn add(&mut self, report: &Report) {
        let known = |reading: &crate::Reading<String>| reading.value().cloned().unwrap_or_else(|| "unknown".to_owned());
        let device = report.machine.label.clone().unwrap_or_else(|| report.id.clone());
        let os = report.machine.os_version.value().cloned().unwrap_or_else(|| report.machine.os.clone());
        for subject in &report.subjects {
            for case in subject.cases.iter().filter(|case| case.task.is_none()) {
                let Some(speed) = case.decode_tokens_per_s else { continue };
                let key = GroupKey {
                    soc: known(&report.machine.soc),
                    os: os.clone(),
                    target_digest: report.pack.target_digest.value().cloned(),
                    drafter_digest: report.pack.drafter_digest.value().cloned(),
                    engine: subject.engine.clone(),
                    provider: provider(subject),
                    decoding: case.decoding,
                    mode: case.mode,
                };
                let told =
                    case.speedup.and_then(|ratio| ratio.value).map_or(0, |value| if value > 1.0 { 1 } else { -1 });
                let (ttft_ms, p99_ms) = (case.ttft_ms.p50, case.inter_token_ms.p99);
                let (pack, device) = (report.pack.name.clone(), device.clone());
                let entry = Entry { pack, device, speed: speed.value, ttft_ms, p99_ms, told };
                self.0.entry(key).or_default().push(entry);
            }
        }
    }

    /// A device that reported often counts once, with its medians.
    fn finish(self) -> Vec<Group> {
        let group = |(key, entries): (GroupKey, Vec<Entry>)| {
            let mut devices: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
            entries.iter().for_each(|entry| devices.entry(&entry.device).or_default().push(entry));
            let spread = |figure: fn(&Entry) -> f64| {
                Spread::of(
                    devices.values().map(|own| median(own.iter().map(|entry| figure(entry)).collect())).collect(),
                )
            };
            let told = |sign: i8| {
                let agrees = |own: &&Vec<&Entry>| own.iter().filter(|entry| entry.told == sign).count() * 2 > own.len();
                devices.values().filter(agrees).count()
            };
            Group {
                pack: entries[0].pack.clone(),
                devices: devices.len(),
                reports: entries.len(),
                decode_tokens_per_s: spread(|entry| entry.speed),
                ttft_ms: spread(|entry| entry.ttft_ms),
                inter_token_ms_p99: spread(|entry| entry.p99_ms),
                faster: told(1),
                slower: told(-1),
                key,
            }
        };
        self.0.into_iter().map(group).collect()
    }
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * values.len() as f64).ceil() as usize;
            values.get(rank.max(1) - 1).copied().unwrap_or(0.0)
        };
        Self { p10: at(0.1), p50: at(0.5), p90: at(0.9) }
    }
}

/// What was collected as text for a terminal.
pub fn collected_table(collected: &Collected) -> String {
    let mut out = format!(
        "{} files: {} reports merged, {} set aside\n",
        collected.files,
        collected.merged,
        collected.set_aside.len()
    );
    for one in &collected.set_aside {
        let _ = writeln!(out, "  set aside: {}: {}", one.path.display(), one.reason);
    }
    let mut place = None;
    let mut rows: Vec<Vec<String>> = Vec::new();
    let flush = |out: &mut String, rows: &mut Vec<Vec<String>>| {
        if rows.len() > 1 {
            aligned(out, rows);
        }
        let head = [
            "decoding",
            "mode",
            "devices",
            "tokens/s p10",
            "p50",
            "p90",
            "first token p50",
            "p90",
            "p99 ms p50",
            "p90",
            "faster",
            "slower",
        ];
        *rows = vec![head.map(str::to_owned).to_vec()];
    };
    for group in &collected.groups {
        let key = &group.key;
        let own = (&key.soc, &key.os, &key.target_digest, &key.drafter_digest, &key.engine, &key.provider);
        if place != Some(own) {
            flush(&mut out, &mut rows);
            let _ = writeln!(
                out,
                "\n{}, {}: {}, {} on {}, percentiles over devices",
                key.soc,
                key.os,
                models(group),
                key.engine,
                key.provider
            );
            place = Some(own);
        }
        let (speed, ttft, p99) = (group.decode_tokens_per_s, group.ttft_ms, group.inter_token_ms_p99);
        let mut row = vec![key.decoding.name().to_owned(), key.mode.name().to_owned(), group.devices.to_string()];
        row.extend([speed.p10, speed.p50, speed.p90, ttft.p50, ttft.p90, p99.p50, p99.p90].map(number));
        row.extend(if key.mode == Mode::Plain {
            ["–".into(), "–".into()]
        } else {
            [group.faster.to_string(), group.slower.to_string()]
        });
        rows.push(row);
    }
    flush(&mut out, &mut rows);
    out
}

/// The pack's name with the begins of its digests: a name may be that of several.
fn models(group: &Group) -> String {
    let begin = |what: &str, digest: &Option<String>| {
        digest.as_ref().map(|digest| format!("{what} {}", digest.chars().take(8).collect::<String>()))
    };
    let digests = [begin("target", &group.key.target_digest), begin("drafter", &group.key.drafter_digest)];
    let digests: Vec<String> = digests.into_iter().flatten().collect();
    if digests.is_empty() { group.pack.clone() } else { format!("{} ({})", group.pack, digests.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::tests::run;
    use crate::fixture::report;

    fn write(folder: &Path, name: &str, change: impl Fn(&mut Report)) {
        let mut report = report(run());
        change(&mut report);
        std::fs::write(folder.join(name), report.to_json()).unwrap();
    }

    #[test]
    fn bad_files_are_named_and_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir(root.join("rack")).unwrap();
        for number in 0..5 {
            write(root, &format!("rack/{number}.json"), |report| report.id = number.to_string());
        }
        write(root, "z-duplicate.json", |report| report.id = "3".into());
        write(root, "z-forged.json", |report| {
            report.id = "4".into();
            report.duration_s = 9.0;
        });
        write(root, "future.json", |report| report.format_version = 2);
        let whole = report(run()).to_json();
        std::fs::write(root.join("cut.json"), &whole[..whole.len() / 2]).unwrap();
        std::fs::write(root.join("empty.json"), "").unwrap();
        std::fs::write(root.join("other.json"), "{\"name\": 1}").unwrap();
        std::fs::write(root.join("half.json"), "{\"format_version\": 1}").unwrap();
        std::fs::write(root.join("binary.json"), [0xff, 0x00, 0x7f]).unwrap();
        std::fs::write(root.join("readme.txt"), "not counted").unwrap();

        let mut merged = Vec::new();
        let collected = collect(root, &mut |report| {
            merged.push(report.id.clone());
            Ok(())
        })
        .unwrap();
        merged.sort();
        assert_eq!(merged, ["0", "1", "2", "3", "4"]);
        assert_eq!((collected.files, collected.merged), (13, 5));
        assert_eq!(collected.files, collected.merged + collected.set_aside.len());
        let reason = |name: &str| {
            let found = collected.set_aside.iter().find(|one| one.path.ends_with(name));
            found.map(|one| one.reason.clone()).unwrap_or_default()
        };
        assert!(reason("z-duplicate.json").starts_with("the same report as"));
        assert!(reason("z-forged.json").contains("says something else"));
        assert!(reason("future.json").contains("newer than this program"));
        assert!(reason("cut.json").contains("cut off") && reason("empty.json").contains("cut off"));
        assert!(reason("other.json").contains("format_version"));
        assert!(reason("half.json").contains("missing field"));
        assert!(reason("binary.json").contains("no JSON"));
        let table = collected_table(&collected);
        assert!(collected.set_aside.iter().all(|one| table.contains(&one.reason)));
    }

    #[cfg(unix)]
    #[test]
    fn what_cannot_be_looked_into_is_named() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "0.json", |_| ());
        symlink(root.join("0.json"), root.join("link.json")).unwrap();
        symlink(root, root.join("circle")).unwrap();
        symlink(root.join("nowhere"), root.join("readme.txt")).unwrap();
        let deep = root.join("d/".repeat(DEPTH_MAX + 1));
        std::fs::create_dir_all(&deep).unwrap();
        write(&deep, "1.json", |_| ());
        let locked = root.join("locked");
        std::fs::create_dir(&locked).unwrap();
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
        // An administrator may read it all the same.
        let is_locked = std::fs::read_dir(&locked).is_err();

        let collected = collect(root, &mut |_| Ok(())).unwrap();
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o700)).unwrap();
        let names: Vec<String> =
            collected.set_aside.iter().map(|one| one.path.strip_prefix(root).unwrap().display().to_string()).collect();
        let depth = "d/".repeat(DEPTH_MAX) + "d";
        let mut expected = vec!["circle", depth.as_str(), "link.json"];
        expected.extend(is_locked.then_some("locked"));
        assert_eq!(names, expected);
        assert_eq!((collected.files, collected.merged), (1 + expected.len(), 1));
        assert!(collected_table(&collected).contains("more than 16 folders deep"));
    }

    #[test]
    fn devices_are_grouped_and_count_once() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..10 {
            write(folder.path(), &format!("{number}.json"), |report| {
                report.id = number.to_string();
                report.machine.label = Some(format!("phone {}", number % 3));
                if number == 9 {
                    report.machine.soc = crate::Reading::present("B2".to_owned(), "test");
                }
            });
        }
        let collected = collect(folder.path(), &mut |_| Ok(())).unwrap();
        assert_eq!(collected.groups.len(), 4, "two processors, two modes");
        let group = collected.groups.iter().find(|g| g.key.soc == "A1" && g.key.mode == Mode::Drafter).unwrap();
        assert_eq!((group.devices, group.reports, group.faster, group.slower), (3, 9, 3, 0));
        assert!(collected_table(&collected).contains("A1"));
    }

    #[test]
    fn the_drafters_provider_makes_a_group_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        for (id, drafter) in [("0", None), ("1", Some("cpu")), ("2", Some("qnn"))] {
            write(folder.path(), &format!("{id}.json"), |report| {
                report.id = id.into();
                report.subjects[0].drafter_provider = drafter.map(str::to_owned);
            });
        }
        let collected = collect(folder.path(), &mut |_| Ok(())).unwrap();
        let own = collected.groups.iter().filter(|group| group.key.provider == "cpu, drafter on qnn");
        assert_eq!((own.count(), collected.groups.len()), (2, 4), "two modes of each");
    }

    #[test]
    fn models_are_not_mixed() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..4 {
            write(folder.path(), &format!("{number}.json"), |report| {
                report.id = number.to_string();
                let digest = |what: &str, of: usize| crate::Reading::present(format!("{of:08x}{what}"), "test");
                report.pack.target_digest = digest("t", number / 2);
                report.pack.drafter_digest = digest("d", number);
                report.pack.name = format!("pack {number}");
            });
        }
        let collected = collect(folder.path(), &mut |_| Ok(())).unwrap();
        assert_eq!(collected.groups.len(), 4 * 2, "four drafters, two modes");
        assert!(collected.groups.iter().all(|group| group.reports == 1));
        let table = collected_table(&collected);
        assert!(table.contains("pack 3 (target 00000001, drafter 00000003), drafthorse 0 on cpu"), "{table}");
    }

    #[test]
    fn percentiles_over_devices_are_nearest_ranks() {
        let spread = Spread::of((1..=20).map(f64::from).collect());
        assert_eq!((spread.p10, spread.p50, spread.p90), (2.0, 10.0, 18.0));
        assert_eq!(Spread::of(vec![]), Spread::default());
    }
}
