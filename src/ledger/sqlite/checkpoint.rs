//! Moves the WAL into the file, beside the writer: what syncs the disk holds up nobody.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// Asks for a checkpoint.
pub(super) struct Checkpointer(SyncSender<()>);

/// The other end: what the thread works on.
pub(super) struct Requests {
    asked: Receiver<()>,
    path: PathBuf,
}

impl Checkpointer {
    pub(super) fn new(path: &Path) -> (Self, Requests) {
        let (ask, asked) = sync_channel(1);
        (Self(ask), Requests { asked, path: path.to_owned() })
    }

    /// Asks for one; if one is asked for already, that will do.
    pub(super) fn ask(&self) {
        let _ = self.0.try_send(());
    }
}

impl Requests {
    /// Does what is asked, until nobody is left to ask.
    pub(super) fn serve(self) {
        while self.asked.recv().is_ok() {
            if let Err(error) = self.checkpoint() {
                // The writer meets the same trouble, and says so.
                tracing::debug!("a checkpoint of the ledger failed: {error}");
            }
        }
    }

    /// Opens the file anew each time: it may be another one by now.
    fn checkpoint(&self) -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(Duration::from_secs(1))?;
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }
}
