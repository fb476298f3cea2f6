//! Moves the WAL into the file, beside the writer: what syncs the disk holds up nobody.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::sight::{Inode, inode_at};

/// Asks for a checkpoint.
pub(super) struct Checkpointer(SyncSender<Inode>);

/// The other end: what the thread works on.
pub(super) struct Requests {
    asked: Receiver<Inode>,
    path: PathBuf,
}

impl Checkpointer {
    pub(super) fn new(path: &Path) -> (Self, Requests) {
        let (ask, asked) = sync_channel(1);
        (Self(ask), Requests { asked, path: path.to_owned() })
    }

    /// Asks for one of this file; if one is asked for already, that will do.
    pub(super) fn ask(&self, file: Inode) {
        let _ = self.0.try_send(file);
    }
}

impl Requests {
    /// Does what is asked, until nobody is left to ask.
    pub(super) fn serve(&self) {
        while let Ok(file) = self.asked.recv() {
            if let Err(error) = self.checkpoint(file) {
                // The writer meets the same trouble, and says so.
                tracing::debug!("a checkpoint of the ledger failed: {error}");
            }
        }
    }

    /// Opens the file anew each time: it may be another one by now, which is left alone.
    fn checkpoint(&self, file: Inode) -> rusqlite::Result<()> {
        let is_there = || inode_at(&self.path) == Some(file);
        if !is_there() {
            return Ok(());
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(Duration::from_secs(1))?;
        if !is_there() {
            return Ok(());
        }
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }
}
