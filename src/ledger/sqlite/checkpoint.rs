//! Checkpoints the WAL on a thread of its own, so that its disk syncs do not block the writer.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::db_file::{Inode, inode_at};

/// Requests checkpoints from the checkpoint thread.
pub(super) struct Checkpointer(SyncSender<Inode>);

/// The requests that the checkpoint thread serves.
pub(super) struct Requests {
    requests: Receiver<Inode>,
    path: PathBuf,
}

impl Checkpointer {
    pub(super) fn new(path: &Path) -> (Self, Requests) {
        let (sender, requests) = sync_channel(1);
        (Self(sender), Requests { requests, path: path.to_owned() })
    }

    /// Requests a checkpoint of this file, unless one is already pending.
    pub(super) fn request(&self, file: Inode) {
        let _ = self.0.try_send(file);
    }
}

impl Requests {
    /// Serves requests until the [`Checkpointer`] is dropped.
    pub(super) fn serve(&self) {
        while let Ok(file) = self.requests.recv() {
            if let Err(error) = self.checkpoint(file) {
                // The writer will hit the same error and log it.
                tracing::debug!("a checkpoint of the ledger failed: {error}");
            }
        }
    }

    /// Opens the file each time, since it may have been replaced; another file is left alone.
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
