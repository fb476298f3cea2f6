//! Marks of connections that have ended while their rows could not be removed.
//!
//! On a full disk the ending of a connection is told and logged, but its row in the table of open
//! connections stays; the next start would take it for a connection whose process died, and write
//! a second ending. So each such connection is marked in a file of its own, `PATH.ended`. Its room is
//! taken before a row is written, so a mark overwrites bytes in place and needs no room on the disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::vocabulary::{ConnectionId, IdSet};

/// The first bytes of the file.
const HEAD: &[u8; SIZE as usize] = b"lastword ended 1";

/// What a mark takes: the id of a connection, or zeros where there is none.
const SIZE: u64 = 16;

/// By how many marks the file grows: 64 KiB.
const STEP: usize = 4096;

/// The file, and what is marked in it.
pub(super) struct Marks {
    file: File,
    marked: IdSet,
    /// How many marks it has room for.
    room: usize,
}

impl Marks {
    /// Opens the file of a ledger, which the caller has locked; makes it if it is not there.
    pub(super) fn open(ledger: &Path) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o640)
            .open(path_of(ledger))?;
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0)?;
        let marks = bytes.strip_prefix(HEAD).unwrap_or_default();
        if marks.len() + HEAD.len() != length {
            // Nothing that was ever marked there: it is new, or its beginning did not fit.
            file.set_len(0)?;
        }
        let (marks, _) = marks.as_chunks::<{ SIZE as usize }>();
        let marked = marks.iter().filter(|mark| **mark != [0; 16]);
        let marked = marked.map(|mark| ConnectionId::from_bytes(*mark)).collect();
        Ok(Self { file, marked, room: marks.len() })
    }

    /// Takes room for this many marks in all.
    pub(super) fn reserve(&mut self, count: usize) -> io::Result<()> {
        if count <= self.room {
            return Ok(());
        }
        let room = count.next_multiple_of(STEP);
        if self.room == 0 {
            self.file.write_all_at(HEAD, 0)?;
        }
        // Written, not only made longer: a hole takes no room.
        let zeros = vec![0; (room - self.room) * SIZE as usize];
        self.file.write_all_at(&zeros, offset(self.room))?;
        self.room = room;
        Ok(())
    }

    /// Marks connections; `durably` also for a power loss.
    pub(super) fn mark(
        &mut self,
        ids: impl IntoIterator<Item = ConnectionId>,
        durably: bool,
    ) -> io::Result<()> {
        for id in ids {
            if self.marked.contains(&id) {
                continue;
            }
            // There is room, or this is the last attempt to get some.
            self.reserve(self.marked.len() + 1)?;
            self.file.write_all_at(&id.to_bytes(), offset(self.marked.len()))?;
            self.marked.insert(id);
        }
        if durably {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Returns who is marked.
    pub(super) fn marked(&self) -> &IdSet {
        &self.marked
    }

    /// Removes all marks: the rows of those are gone.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        if !self.marked.is_empty() {
            let zeros = vec![0; self.marked.len() * SIZE as usize];
            self.file.write_all_at(&zeros, offset(0))?;
            self.marked.clear();
        }
        Ok(())
    }
}

fn offset(mark: usize) -> u64 {
    HEAD.len() as u64 + mark as u64 * SIZE
}

/// Returns the file of marks of a ledger.
pub(super) fn path_of(ledger: &Path) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push(".ended");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_outlive_the_process_until_they_are_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("ledger.db");
        let ids: Vec<ConnectionId> = (0..5000).map(|_| ConnectionId::new()).collect();
        let mut marks = Marks::open(&ledger).unwrap();
        assert!(marks.marked().is_empty());
        marks.reserve(5000).unwrap();
        let length = || std::fs::metadata(path_of(&ledger)).unwrap().len();
        let reserved = length();
        marks.mark(ids.iter().copied(), true).unwrap();
        marks.mark(ids[..10].iter().copied(), false).unwrap();
        assert_eq!(length(), reserved, "marks are written in place");
        drop(marks);

        let mut marks = Marks::open(&ledger).unwrap();
        assert_eq!(marks.marked(), &ids.iter().copied().collect::<IdSet>());
        marks.clear().unwrap();
        drop(marks);
        assert!(Marks::open(&ledger).unwrap().marked().is_empty());
        assert_eq!(length(), reserved, "its room stays taken");
    }

    #[test]
    fn what_is_no_file_of_marks_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("ledger.db");
        std::fs::write(path_of(&ledger), "something else").unwrap();
        let mut marks = Marks::open(&ledger).unwrap();
        let id = ConnectionId::new();
        marks.mark([id], false).unwrap();
        drop(marks);
        assert!(Marks::open(&ledger).unwrap().marked().contains(&id));
    }
}
