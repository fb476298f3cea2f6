//! Notices that a file was changed, by looking at it now and then.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file that is looked at for changes.
#[derive(Debug, Clone)]
pub(crate) struct WatchedFile {
    path: PathBuf,
    /// The state that the caller knows; `None` without a file.
    known: Option<Stamp>,
    /// The state at the last look.
    seen: Option<Stamp>,
}

/// What changes with a file: device, inode, size, and the times of its content and of its metadata
/// in seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(u64, u64, u64, [i64; 4]);

impl Stamp {
    pub(crate) fn of(file: &Metadata) -> Self {
        let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
        Self(file.dev(), file.ino(), file.size(), times)
    }

    /// Returns that of the file at a path, if there is one. Follows links, so that switching a link to
    /// another file is a change.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|file| Self::of(&file))
    }
}

/// Returns whether everybody on this machine can read a file.
pub(crate) fn is_world_readable(file: &Metadata) -> bool {
    file.mode() & 0o004 != 0
}

impl WatchedFile {
    /// Watches a file from its present state, which the caller reads next.
    pub(crate) fn new(path: &Path) -> Self {
        let now = Stamp::at(path);
        Self { path: path.to_owned(), known: now, seen: now }
    }

    /// Returns the path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the file; returns whether it has a new state, which is then the known one.
    ///
    /// A state counts once it is seen by two looks in a row: whoever writes the file may not have
    /// finished at the first. This blocks as long as the file system does.
    pub(crate) fn has_changed(&mut self) -> bool {
        let now = Stamp::at(&self.path);
        let at_rest = now == self.seen;
        self.seen = now;
        let changed = at_rest && now != self.known;
        if changed {
            self.known = now;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_and_when_it_is_at_rest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "one").unwrap();
        let mut file = WatchedFile::new(&path);
        assert!(!file.has_changed() && !file.has_changed());
        fs::write(&path, "three").unwrap();
        assert!(!file.has_changed(), "it may be half written");
        fs::write(&path, "four and more").unwrap();
        assert!(!file.has_changed(), "it was written again");
        assert!(file.has_changed());
        assert!(!file.has_changed());
    }

    #[test]
    fn a_file_may_go_and_come_back_and_be_another_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let other = directory.path().join("other");
        fs::write(&path, "one").unwrap();
        let mut file = WatchedFile::new(&path);
        let mut looks = || [file.has_changed(), file.has_changed(), file.has_changed()];
        fs::remove_file(&path).unwrap();
        assert_eq!(looks(), [false, true, false]);
        fs::write(&other, "one").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(looks(), [false, true, false]);
    }
}
