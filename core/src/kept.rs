//! What was found out at one start and is kept for the next, with what it was found out about.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// One value in a file of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    path: PathBuf,
    key: String,
}

#[derive(Serialize, Deserialize)]
struct Record<T> {
    key: String,
    value: T,
}

impl Kept {
    /// The place in `folder` for a value of this `kind` about `subject`. It counts as long as `key` is the same: all that
    /// the value depends on.
    pub(crate) fn new(folder: &Path, kind: &str, subject: &str, key: String) -> Self {
        let mut hasher = DefaultHasher::new();
        subject.hash(&mut hasher);
        // Two subjects may share a name; the record says whose value it holds.
        Self { path: folder.join(format!("{kind}-{:016x}.json", hasher.finish())), key }
    }

    /// The file.
    #[cfg(test)]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What was kept, if it can be read and still counts.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        let record: Record<T> = serde_json::from_slice(&fs::read(&self.path).ok()?).ok()?;
        (record.key == self.key).then_some(record.value)
    }

    /// Keeps `value`. A failure is logged: the next start finds it out again.
    pub(crate) fn write<T: Serialize>(&self, value: T) {
        let record = Record { key: self.key.clone(), value };
        let json = serde_json::to_vec(&record).expect("records become JSON");
        let folder = self.path.parent().map_or(Ok(()), fs::create_dir_all);
        if let Err(error) = folder.and_then(|()| drafthorse_pack::write_whole(&self.path, &json)) {
            log::warn!("{} was not written: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CostProfile;

    #[test]
    fn what_was_kept_is_that_of_the_same_key_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let costs = CostProfile::new(vec![(1, 2.0), (4, 3.0)], Some(0.5));
        let kept = Kept::new(folder.path(), "costs", "pack", "one".into());
        assert_eq!(kept.read::<CostProfile>(), None);
        kept.write(&costs);
        assert_eq!(kept.read(), Some(costs));
        // Another key under the same name: a changed subject, or a collision of hashes.
        let other = Kept { key: "two".into(), ..kept };
        assert_eq!(other.read::<CostProfile>(), None);
        fs::write(&other.path, "{half").unwrap();
        assert_eq!(other.read::<CostProfile>(), None);
    }
}
