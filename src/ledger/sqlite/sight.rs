//! The ledger's file seen from outside: whether it is still there, still ours, and whole.
//!
//! SQLite trusts the file that it has open, and a write-ahead log of the same name. Somebody who
//! replaces, overwrites or cuts off the file under a running daemon would have the log written over
//! what is there now. So this is looked at before anything is moved into the file.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::schema::APPLICATION;
use super::trouble::Trouble;

/// The beginning of the header that every SQLite database has.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The file, held open for as long as SQLite may have it open: to close a descriptor of a file drops
/// all locks that the process has on it.
pub(super) struct Sight {
    path: PathBuf,
    file: File,
    inode: Inode,
    /// What was seen last.
    last: Seen,
    /// The write-ahead log of this file.
    log: Option<Inode>,
}

/// Names a file, whatever its path.
pub(super) type Inode = (u64, u64);

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    length: u64,
    /// How many transactions have changed the first page of the file; it never falls.
    changes: u32,
}

impl Sight {
    pub(super) fn open(path: &Path) -> Result<Self, Trouble> {
        let file = File::options().read(true).open(path);
        let file = file.map_err(|error| Trouble::Io("it cannot be opened", error))?;
        let found = file.metadata().map_err(|error| Trouble::Io("it cannot be read", error))?;
        let path = path.to_owned();
        Ok(Self { path, file, inode: inode_of(&found), last: Seen::default(), log: None })
    }

    /// Looks at the file before SQLite does.
    ///
    /// # Errors
    /// [`Trouble::Damaged`] or [`Trouble::Foreign`] for a file that is to be left as it is, though
    /// a log that lies beside it might make it seem to be good.
    pub(super) fn look_whole(&self) -> Result<(), Trouble> {
        let length = self.file.metadata().map_or(0, |found| found.len());
        // A rollback journal beside it: SQLite was stopped while it made the file.
        if length > 0 && !self.beside("-journal").exists() {
            let header = self.header().ok_or(Trouble::Damaged)?;
            if header.application != APPLICATION {
                return Err(Trouble::Foreign);
            }
            let has_log = fs::metadata(self.beside("-wal")).is_ok_and(|log| log.len() > 0);
            if !has_log && length < header.bytes {
                return Err(Trouble::Damaged);
            }
        }
        Ok(())
    }

    /// Tells whether the file is still the one of its name.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        self.path == path && inode_at(path) == Some(self.inode)
    }

    pub(super) fn inode(&self) -> Inode {
        self.inode
    }

    /// Looks again.
    ///
    /// # Errors
    /// [`Trouble::Gone`] if another file, or none, has its name; [`Trouble::Overwritten`] if somebody
    /// else wrote to it.
    pub(super) fn check(&mut self) -> Result<(), Trouble> {
        if inode_at(&self.path) != Some(self.inode) {
            return Err(Trouble::Gone);
        }
        let length = self.file.metadata().map_or(0, |found| found.len());
        let Some(header) = self.header() else { return Err(Trouble::Overwritten) };
        // It may shrink by VACUUM, which says so in the header first.
        let cut_off = length < self.last.length && length < header.bytes;
        let is_older = header.changes < self.last.changes;
        if header.application != APPLICATION || cut_off || is_older {
            return Err(Trouble::Overwritten);
        }
        self.last = Seen { length, changes: header.changes };
        self.log = self.log_of_now();
        Ok(())
    }

    /// Takes what is there now for the file's own: a store has just been opened.
    pub(super) fn remember(&mut self) {
        let length = self.file.metadata().map_or(0, |found| found.len());
        let changes = self.header().map_or(0, |header| header.changes);
        self.last = Seen { length, changes };
        self.log = self.log_of_now();
    }

    /// Removes the log if it is still that of this file, so that it is not applied to another.
    pub(super) fn remove_log(&self) {
        if self.log.is_some() && self.log_of_now() == self.log {
            // What cannot be removed is found by the next look at the file.
            let _ = fs::remove_file(self.beside("-wal"));
            let _ = fs::remove_file(self.beside("-shm"));
        }
    }

    fn log_of_now(&self) -> Option<Inode> {
        inode_at(&self.beside("-wal"))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
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

/// What the first bytes of the file say.
struct Header {
    changes: u32,
    /// What the file holds in all.
    bytes: u64,
    application: i32,
}

/// Returns which file has this name.
pub(super) fn inode_at(path: &Path) -> Option<Inode> {
    fs::metadata(path).ok().map(|found| inode_of(&found))
}

fn inode_of(found: &Metadata) -> Inode {
    (found.dev(), found.ino())
}
