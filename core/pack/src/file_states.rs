//! Whether files are still the very files that were read before, by what the system says of them.

use std::{
    fs::Metadata,
    path::Path,
    time::{Duration, SystemTime},
};

use crate::{
    Folder, MANIFEST_FILE, Manifest,
    digest::joint_digest,
    root::{NamedBy, Root},
};

/// A file changed this recently may be changed again without another time: clocks of file systems tick this slowly.
const TICK_MAX: Duration = Duration::from_secs(2);

impl Folder {
    /// The states of all files that [`check_digests`](Self::check_digests) reads, in one short text: another one as soon
    /// as any of them was written to, replaced or moved. Files are not read.
    ///
    /// `None` without a manifest, where the system does not tell when a file was last changed, and where a file was
    /// changed less than two seconds ago.
    pub fn file_states(&self) -> Option<String> {
        let mut states = states_in(&self.root, self.manifest.as_ref()?)?;
        if let Some(source) = &self.drafter_source
            && let Some(manifest) = &source.manifest
        {
            states.extend(states_in(&source.root, manifest)?);
        }
        Some(joint_digest(&states))
    }
}

fn states_in(root: &Root, manifest: &Manifest) -> Option<Vec<String>> {
    let by = NamedBy { path: root.folder(), field: "files" };
    // With what is recorded of each: the manifest on disk may be another by now than the one that was read.
    let recorded = manifest.files.iter().map(|(name, file)| (name.as_str(), file.sha256.as_str()));
    let now = SystemTime::now();
    std::iter::once((MANIFEST_FILE, ""))
        .chain(recorded)
        .map(|(name, digest)| Some(format!("{name} {digest} {}", state(&root.named(name, by).ok()?, now)?)))
        .collect()
}

fn state(path: &Path, now: SystemTime) -> Option<String> {
    let (changed, state) = described(&path.metadata().ok()?)?;
    now.duration_since(changed).is_ok_and(|age| age > TICK_MAX).then_some(state)
}

/// When the file was last changed, and what tells it from another state of it. The time of change, unlike that of
/// modification, is not at a program's choice.
#[cfg(unix)]
fn described(metadata: &Metadata) -> Option<(SystemTime, String)> {
    use std::os::unix::fs::MetadataExt;

    let seconds = u64::try_from(metadata.ctime()).ok()?;
    let nanos = u32::try_from(metadata.ctime_nsec()).ok()?;
    let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))?;
    let (device, inode) = (metadata.dev(), metadata.ino());
    Some((changed, format!("{device} {inode} {} {seconds} {nanos}", metadata.len())))
}

/// Other systems' times of modification can be set by any program.
#[cfg(not(unix))]
fn described(_: &Metadata) -> Option<(SystemTime, String)> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_file_written_to_is_in_another_state_though_its_length_and_time_of_modification_are_set_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        fs::write(&path, "one").unwrap();
        let later = SystemTime::now() + 2 * TICK_MAX;
        let before = state(&path, later).unwrap();
        assert_eq!(state(&path, later).as_ref(), Some(&before));

        let modified = path.metadata().unwrap().modified().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&path, "two").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_ne!(state(&path, later).unwrap(), before);
    }

    #[test]
    fn a_file_changed_a_moment_ago_is_not_vouched_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        fs::write(&path, "one").unwrap();
        assert_eq!(state(&path, SystemTime::now()), None);
        assert_eq!(state(&path, SystemTime::UNIX_EPOCH), None, "a clock that was set back");
        assert_eq!(state(&folder.path().join("none"), SystemTime::now()), None);
    }
}
