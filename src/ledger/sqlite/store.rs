//! Opens and writes the SQLite file. Everything here may block on the disk.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, SystemTime};

use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::checkpoint::Checkpointer;
use super::db_file::DbFile;
use super::networks::Sizes;
use super::revocations;
use super::rows::{EndingRow, Leftover, OpenRow, Plan, number, text_of, text_of_minute, time_of};
use super::schema::{STEPS, migrate};
use super::store_error::{StoreError, lock_path};
use super::tracker::Open;
use crate::ledger::revocation_table::RevocationTable;
use crate::settings::Synchronous;
use crate::vocabulary::{ConnectionId, IdMap, IdSet};

/// The number of WAL pages between two checkpoints: 4 MiB.
const WAL_STEP: i32 = 1000;

/// The number of WAL pages at which the writer checkpoints by itself: 64 MiB.
const WAL_AT_MOST: i32 = 16_000;

/// The bytes that must fit before a store that failed counts as recovered: about 100 endings.
const FREE_SPACE: i64 = 256 * 1024;

/// The gap left in the sequence after a process died: a power loss may have lost numbers that were
/// already reported, and none of them may be assigned again.
const SEQUENCE_GAP: u64 = 1_000_000;

/// The path and the options of a store.
#[derive(Debug, Clone)]
pub(super) struct StoreConfig {
    pub(super) path: PathBuf,
    pub(super) synchronous: Synchronous,
    pub(super) busy_timeout: Duration,
    #[cfg(test)]
    pub(super) faults: super::tests::Faults,
}

/// An open file.
pub(super) struct Store {
    pub(super) connection: Connection,
    db_file: DbFile,
    /// The number of pages in the WAL after the last commit.
    wal_pages: Arc<AtomicI32>,
    /// The number of pages at the last checkpoint.
    checkpointed: i32,
    synchronous: &'static str,
    /// Distinguishes the rows of this process from those of a dead one.
    run: i64,
    #[cfg(test)]
    faults: super::tests::Faults,
}

/// The result of [`Store::reconcile`].
#[derive(Default)]
pub(super) struct Reconciled {
    /// The number of connections of a dead process whose endings were written.
    pub(super) died: u64,
    /// The number of connections that had ended without a record.
    pub(super) unrecorded: u64,
    /// The current rows of the open connections.
    pub(super) rows: Vec<(ConnectionId, u64)>,
    pub(super) revocations: RevocationTable,
}

/// Takes the lock that excludes a second process.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o750).create(folder);
        made.map_err(|error| StoreError::Io("its directory cannot be created", error))?;
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o640)
        .open(lock_path(path))
        .map_err(|error| StoreError::Io("its lock file cannot be opened", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked),
        Err(TryLockError::Error(error)) => Err(StoreError::Io("it cannot be locked", error)),
    }
}

impl Store {
    /// Opens the file, which the caller has locked; creates it if it does not exist. `db_file` is
    /// that of the previous store.
    pub(super) fn open(
        config: &StoreConfig,
        run: i64,
        db_file: Option<DbFile>,
    ) -> Result<Self, StoreError> {
        let path = &config.path;
        // Only if it does not exist: closing a descriptor of it would drop SQLite's locks.
        let made = File::options().write(true).create_new(true).mode(0o640).open(path);
        match made {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StoreError::Io("it cannot be created", error)),
        }
        // Reuse the descriptor of the same file, for the sake of those locks.
        let mut db_file = match db_file.filter(|db_file| db_file.is_at(path)) {
            Some(db_file) => db_file,
            None => DbFile::open(path)?,
        };
        db_file.check_intact()?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(config.busy_timeout)?;
        migrate(&mut connection, STEPS)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let synchronous = match config.synchronous {
            Synchronous::Normal => "NORMAL",
            Synchronous::Full => "FULL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        // Checkpoints are started by `checkpoint`.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "journal_size_limit", i64::from(WAL_AT_MOST) * 4096)?;
        connection.pragma_update(None, "cache_size", -8192)?;
        let wal_pages = Arc::new(AtomicI32::new(0));
        let counted = Arc::clone(&wal_pages);
        connection.wal_hook(Some(move |_: &mut Wal, pages| {
            counted.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        connection.set_prepared_statement_cache_capacity(32);
        db_file.record_state();
        Ok(Self {
            connection,
            db_file,
            wal_pages,
            checkpointed: 0,
            synchronous,
            run,
            #[cfg(test)]
            faults: config.faults.clone(),
        })
    }

    /// Writes a plan in one transaction. One with revocations survives a power loss in any case:
    /// after it, what was revoked must not be valid again.
    pub(super) fn commit(&mut self, plan: &Plan) -> Result<(), StoreError> {
        if plan.revocations.is_empty() {
            return self.write(plan);
        }
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        let written = self.write(plan);
        self.connection.pragma_update(None, "synchronous", self.synchronous)?;
        written
    }

    fn write(&mut self, plan: &Plan) -> Result<(), StoreError> {
        #[cfg(test)]
        self.faults.before()?;
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !plan.opened.is_empty() {
            let mut insert = transaction.prepare_cached(OpenRow::INSERT)?;
            for row in &plan.opened {
                row.insert(&mut insert, self.run)?;
            }
        }
        if !plan.endings.is_empty() {
            let mut sizes = Sizes::default();
            let mut insert = transaction.prepare_cached(EndingRow::INSERT_ENDING)?;
            for row in &plan.endings {
                row.insert_ending(&mut insert, &mut sizes)?;
            }
            sizes.add_to(&transaction)?;
        }
        if !plan.closed.is_empty() {
            let mut delete =
                transaction.prepare_cached("DELETE FROM open_connections WHERE sequence = ?")?;
            for row in &plan.closed {
                delete.execute([number(*row)])?;
            }
        }
        let mut attempt_bytes = 0;
        if !plan.attempts.is_empty() {
            let mut insert = transaction.prepare_cached(EndingRow::INSERT_ATTEMPT)?;
            for row in &plan.attempts {
                attempt_bytes += row.insert_attempt(&mut insert)?;
            }
        }
        if !plan.counts.is_empty() {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO counted_attempts \
                 (minute, listener, open_failure, network, fault, count) VALUES (?, ?, ?, ?, ?, ?) \
                 ON CONFLICT DO UPDATE SET count = count + excluded.count",
            )?;
            for (group, count) in &plan.counts {
                insert.execute(params![
                    text_of_minute(group.minute),
                    group.listener,
                    group.failure,
                    group.network,
                    group.fault,
                    number(*count)
                ])?;
            }
        }
        for change in &plan.revocations {
            revocations::write(&transaction, change)?;
        }
        transaction
            .prepare_cached(
                "UPDATE ledger SET sequence = max(sequence, ?), alive_at = ?, closed = 0, \
                 attempt_bytes = attempt_bytes + ?",
            )?
            .execute(params![
                number(plan.sequence),
                text_of(SystemTime::now()),
                number(attempt_bytes)
            ])?;
        transaction.commit()?;
        #[cfg(test)]
        self.faults.after()?;
        Ok(())
    }

    /// Makes the table of open connections match `open` in one transaction: rows of a dead process
    /// become endings, rows of connections that ended without a record are deleted, and connections
    /// that opened without a row get one. Likewise with the table of revocations, which is read the
    /// first time, when `revocations` is `None`.
    pub(super) fn reconcile(
        &mut self,
        open: &IdMap<Open>,
        marked: &IdSet,
        revocations: Option<RevocationTable>,
        sequence: &mut u64,
    ) -> Result<Reconciled, StoreError> {
        #[cfg(test)]
        self.faults.before()?;
        let now = SystemTime::now();
        let mut done = Reconciled::default();
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (stored, alive_at, closed): (i64, String, bool) =
            transaction.query_row("SELECT sequence, alive_at, closed FROM ledger", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let stored = u64::try_from(stored).unwrap_or(0);
        // A smaller number means another file, which lacks what was reported before.
        let removed = if stored < *sequence { *sequence } else { 0 };
        let leap = if closed || *sequence > 0 { 0 } else { SEQUENCE_GAP };
        *sequence = (stored + leap).max(*sequence);
        {
            let mut rows = transaction.prepare(
                "SELECT sequence, run, id, opened_at, record, network FROM open_connections",
            )?;
            let mut sizes = Sizes::default();
            let mut insert = transaction.prepare_cached(EndingRow::INSERT_ENDING)?;
            let mut delete =
                transaction.prepare_cached("DELETE FROM open_connections WHERE sequence = ?")?;
            // Read all rows first: a query that sees its own changes may never end.
            let mut found: Vec<(i64, Option<Leftover>, String)> = Vec::new();
            let mut read = rows.query([])?;
            while let Some(row) = read.next()? {
                let id: String = row.get(2)?;
                let leftover = if row.get::<_, i64>(1)? == self.run {
                    None
                } else {
                    let (opened_at, record, network) = (row.get(3)?, row.get(4)?, row.get(5)?);
                    Some(Leftover { id: id.clone(), opened_at, record, network })
                };
                found.push((row.get(0)?, leftover, id));
            }
            for (row, leftover, id) in found {
                let id: Option<ConnectionId> = id.parse().ok();
                if leftover.is_some() && id.is_some_and(|id| marked.contains(&id)) {
                    // Its ending was reported and logged.
                    delete.execute([row])?;
                    done.unrecorded += 1;
                    continue;
                }
                if let Some(leftover) = leftover {
                    *sequence += 1;
                    let died = (time_of(&alive_at), now);
                    leftover.insert_ending(&mut insert, *sequence, died, &mut sizes)?;
                    delete.execute([row])?;
                    done.died += 1;
                    continue;
                }
                match id {
                    Some(id) if open.contains_key(&id) => {
                        done.rows.push((id, u64::try_from(row).unwrap_or(0)));
                    }
                    _ => {
                        delete.execute([row])?;
                    }
                }
            }
            sizes.add_to(&transaction)?;
            let placed: IdSet = done.rows.iter().map(|(id, _)| *id).collect();
            let mut insert = transaction.prepare_cached(OpenRow::INSERT)?;
            for (id, Open { opened, .. }) in open.iter().filter(|(id, _)| !placed.contains(id)) {
                *sequence += 1;
                let row = OpenRow { sequence: *sequence, opened: Arc::clone(opened) };
                row.insert(&mut insert, self.run)?;
                done.rows.push((*id, row.sequence));
            }
        }
        done.revocations = match revocations {
            Some(table) => {
                table.write(&transaction)?;
                table
            }
            None => RevocationTable::read(&transaction)?,
        };
        transaction.execute(
            "UPDATE ledger SET sequence = ?, removed = max(removed, ?), alive_at = ?, closed = 0",
            params![number(*sequence), number(removed), text_of(now)],
        )?;
        transaction.commit()?;
        self.db_file.record_state();
        #[cfg(test)]
        self.faults.after()?;
        Ok(done)
    }

    /// Frees the page cache, which is full and unused after a burst.
    pub(super) fn shrink(&self) -> Result<(), StoreError> {
        Ok(self.connection.execute_batch("PRAGMA shrink_memory")?)
    }

    /// Checks that the file has not been moved, replaced or overwritten.
    pub(super) fn check_file(&mut self) -> Result<(), StoreError> {
        self.db_file.check()
    }

    /// Proves that many endings fit, not only the next few bytes.
    pub(super) fn prove_space(&mut self) -> Result<(), StoreError> {
        #[cfg(test)]
        self.faults.before()?;
        let step = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step.execute_batch("CREATE TABLE IF NOT EXISTS room (filler BLOB)")?;
        step.execute("INSERT INTO room VALUES (zeroblob(?))", [FREE_SPACE])?;
        step.commit()?;
        Ok(self.connection.execute_batch("DROP TABLE room")?)
    }

    /// Closes a file that was moved or overwritten, and removes its log, so that the log is not
    /// applied to the new contents.
    pub(super) fn abandon(self, why: &StoreError) -> DbFile {
        let Self { connection, db_file, .. } = self;
        match why {
            // Move the log's contents into the file it belongs to, wherever that is now.
            StoreError::Gone => {
                let checkpoint = "PRAGMA wal_checkpoint(PASSIVE)";
                let _ = connection.query_row(checkpoint, [], |_| Ok(()));
            }
            _ => {
                let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
            }
        }
        drop(connection);
        db_file.remove_log();
        db_file
    }

    /// Closes the connection, and returns the file for the next store.
    pub(super) fn into_db_file(self) -> DbFile {
        self.db_file
    }

    /// Checkpoints a WAL that has grown: on the checkpoint thread, or, if that does not keep up, on
    /// this one, since the WAL restarts only after a complete checkpoint.
    pub(super) fn checkpoint(&mut self, checkpointer: &Checkpointer) -> Result<(), StoreError> {
        let pages = self.wal_pages.load(Ordering::Relaxed);
        if pages < self.checkpointed {
            // The WAL has restarted.
            self.checkpointed = 0;
        }
        if pages - self.checkpointed < WAL_STEP {
            return Ok(());
        }
        self.checkpointed = pages;
        self.check_file()?;
        if pages < WAL_AT_MOST {
            checkpointer.request(self.db_file.inode());
        } else {
            self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        }
        Ok(())
    }

    /// Records a clean stop in the file, and leaves no WAL behind.
    pub(super) fn close(&mut self, plan: &Plan) -> Result<(), StoreError> {
        self.check_file()?;
        self.commit(plan)?;
        self.connection.execute("UPDATE ledger SET closed = 1", [])?;
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }
}
