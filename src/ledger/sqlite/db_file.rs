//! Checks that the ledger's file is still in place, unchanged by others, and complete.
//!
//! SQLite trusts the file that it has open, and a write-ahead log of the same name. If somebody
//! replaces, overwrites or truncates the file under a running daemon, SQLite would write the log
//! over the new contents. So this check runs before each checkpoint.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::schema::APPLICATION;
use super::store_error::StoreError;

/// The first bytes of every SQLite database.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The file, held open for as long as SQLite may have it open: closing any descriptor of a file
/// drops all POSIX locks of the process on it.
pub(super) struct DbFile {
    path: PathBuf,
    file: File,
    inode: Inode,
    /// The state at the last check.
    last: Seen,
    /// The write-ahead log of this file.
    log: Option<Inode>,
}

/// The device and inode numbers, which identify a file whatever its path.
pub(super) type Inode = (u64, u64);

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    length: u64,
    /// The change counter of the header, which never decreases.
    changes: u32,
}

impl DbFile {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::options().read(true).open(path);
        let file = file.map_err(|error| StoreError::Io("it cannot be opened", error))?;
        let found = file.metadata().map_err(|error| StoreError::Io("it cannot be read", error))?;
        let path = path.to_owned();
        Ok(Self { path, file, inode: inode_of(&found), last: Seen::default(), log: None })
    }

    /// Checks the file before SQLite opens it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or [`StoreError::Foreign`] for a file that must be left as it is,
    /// even if applying a leftover log would make it readable.
    pub(super) fn check_intact(&self) -> Result<(), StoreError> {
        let length = self.file.metadata().map_or(0, |found| found.len());
        // A rollback journal means that SQLite was stopped while it created the file.
        if length > 0 && !self.sibling("-journal").exists() {
            let header = self.header().ok_or(StoreError::Damaged)?;
            if header.application != APPLICATION {
                return Err(StoreError::Foreign);
            }
            let has_log = fs::metadata(self.sibling("-wal")).is_ok_and(|log| log.len() > 0);
            if !has_log && length < header.bytes {
                return Err(StoreError::Damaged);
            }
        }
        Ok(())
    }

    /// Returns whether this file is still the one at `path`.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.path == path && inode_at(path) == Some(self.inode)
    }

    pub(super) fn inode(&self) -> Inode {
        self.inode
    }

    /// Checks the file against its last known state.
    ///
    /// # Errors
    /// [`StoreError::Gone`] if it was moved, removed or replaced; [`StoreError::Overwritten`] if
    /// another program wrote to it.
    pub(super) fn check(&mut self) -> Result<(), StoreError> {
        if inode_at(&self.path) != Some(self.inode) {
            return Err(StoreError::Gone);
        }
        let length = self.file.metadata().map_or(0, |found| found.len());
        let Some(header) = self.header() else { return Err(StoreError::Overwritten) };
        // VACUUM may shrink the file, but updates the header first.
        let cut_off = length < self.last.length && length < header.bytes;
        let is_older = header.changes < self.last.changes;
        if header.application != APPLICATION || cut_off || is_older {
            return Err(StoreError::Overwritten);
        }
        self.last = Seen { length, changes: header.changes };
        self.log = self.current_log();
        Ok(())
    }

    /// Takes the current state as the reference, when a store has just been opened.
    pub(super) fn record_state(&mut self) {
        let length = self.file.metadata().map_or(0, |found| found.len());
        let changes = self.header().map_or(0, |header| header.changes);
        self.last = Seen { length, changes };
        self.log = self.current_log();
    }

    /// Removes the log if it still belongs to this file, so that it is not applied to another.
    pub(super) fn remove_log(&self) {
        if self.log.is_some() && self.current_log() == self.log {
            // A log that cannot be removed is caught when the file is next opened.
            let _ = fs::remove_file(self.sibling("-wal"));
            let _ = fs::remove_file(self.sibling("-shm"));
        }
    }

    fn current_log(&self) -> Option<Inode> {
        inode_at(&self.sibling("-wal"))
    }

    fn sibling(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    }

    fn header(&self) -> Option<Header> {
        let mut bytes = [0; 100];
        self.file.read_exact_at(&mut bytes, 0).ok()?;
        let number = |at: usize| {
            let four = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
            u32::from_be_bytes(four)
        };
        // 1 means 65,536.
        let page = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65_536,
            size => u64::from(size),
        };
        bytes.starts_with(MAGIC).then(|| Header {
            changes: number(24),
            bytes: u64::from(number(28)) * page,
            application: number(68) as i32,
        })
    }
}

/// The fields of the file's header that are checked.
struct Header {
    changes: u32,
    /// The size of the database, in bytes.
    bytes: u64,
    application: i32,
}

/// Returns the file at this path.
pub(super) fn inode_at(path: &Path) -> Option<Inode> {
    fs::metadata(path).ok().map(|found| inode_of(&found))
}

fn inode_of(found: &Metadata) -> Inode {
    (found.dev(), found.ino())
}
