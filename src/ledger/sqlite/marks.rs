//! Marks of connections that have ended while their rows could not be removed.
//!
//! On a full disk the ending of a connection is reported and logged, but its row in the table of
//! open connections stays; the next start would take it for a connection whose process died, and
//! write a second ending. So each such connection is marked in a separate file, `PATH.ended`. Its
//! space is reserved before a row is written, so a mark overwrites bytes in place and needs no free
//! space on the disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::vocabulary::{ConnectionId, IdSet};

/// The first bytes of the file.
const HEAD: &[u8; SIZE as usize] = b"lastword ended 1";

/// The size of a mark: the id of a connection, or zeros in an unused slot.
const SIZE: u64 = 16;

/// The number of marks by which the file grows: 64 KiB.
const STEP: usize = 4096;

/// The file of marks and its contents.
pub(super) struct Marks {
    file: File,
    marked: IdSet,
    /// The number of marks that space is reserved for.
    capacity: usize,
}

impl Marks {
    /// Opens the marks of a ledger that the caller has locked; creates the file if it is missing.
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
            // It has never held a mark: it is new, or the disk was full when it was created.
            file.set_len(0)?;
        }
        let (marks, _) = marks.as_chunks::<{ SIZE as usize }>();
        let marked = marks.iter().filter(|mark| **mark != [0; 16]);
        let marked = marked.map(|mark| ConnectionId::from_bytes(*mark)).collect();
        Ok(Self { file, marked, capacity: marks.len() })
    }

    /// Reserves space for this many marks in total.
    pub(super) fn reserve(&mut self, count: usize) -> io::Result<()> {
        if count <= self.capacity {
            return Ok(());
        }
        let capacity = count.next_multiple_of(STEP);
        if self.capacity == 0 {
            self.file.write_all_at(HEAD, 0)?;
        }
        // Write zeros instead of extending the file: a hole would reserve no space.
        let zeros = vec![0; (capacity - self.capacity) * SIZE as usize];
        self.file.write_all_at(&zeros, offset(self.capacity))?;
        self.capacity = capacity;
        Ok(())
    }

    /// Marks connections; with `durably`, the marks survive a power loss.
    pub(super) fn mark(
        &mut self,
        ids: impl IntoIterator<Item = ConnectionId>,
        durably: bool,
    ) -> io::Result<()> {
        for id in ids {
            if self.marked.contains(&id) {
                continue;
            }
            // Usually reserved already; if not, this is the last chance to get space.
            self.reserve(self.marked.len() + 1)?;
            self.file.write_all_at(&id.to_bytes(), offset(self.marked.len()))?;
            self.marked.insert(id);
        }
        if durably {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Returns the marked connections.
    pub(super) fn marked(&self) -> &IdSet {
        &self.marked
    }

    /// Removes all marks, once the rows of those connections are gone.
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

/// Returns the path of a ledger's file of marks.
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
        assert_eq!(length(), reserved, "its space stays reserved");
    }

    #[test]
    fn a_file_that_holds_no_marks_is_truncated() {
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
