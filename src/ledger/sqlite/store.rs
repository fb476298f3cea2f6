//! The file: opened, written and kept within its bounds. Everything here waits for the disk.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, SystemTime};

use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::book::Open;
use super::checkpoint::Checkpointer;
use super::rows::{EndingRow, Leftover, OpenRow, Plan, number, text_of, text_of_minute, time_of};
use super::schema::{STEPS, migrate};
use super::sight::Sight;
use super::trouble::{Trouble, lock_path};
use crate::config::Synchronous;
use crate::vocabulary::{ConnectionId, IdMap, IdSet};

/// How many pages go into the WAL from one checkpoint to the next: 4 MiB.
const WAL_STEP: i32 = 1000;

/// How long the WAL may become before the writer waits for it: 64 MiB.
const WAL_AT_MOST: i32 = 16_000;

/// How much must fit before a store that failed counts as mended, in bytes: some 100 endings.
const ROOM: i64 = 256 * 1024;

/// After a death a power loss may have cost numbers that were told: none of them is given again.
const LEAP: u64 = 1_000_000;

/// Where and how a store is kept.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) synchronous: Synchronous,
    pub(super) busy_timeout: Duration,
    #[cfg(test)]
    pub(super) faults: super::tests::Faults,
}

/// An open file.
pub(super) struct Store {
    pub(super) connection: Connection,
    sight: Sight,
    /// How many pages the WAL had after the last commit.
    wal_pages: Arc<AtomicI32>,
    /// How many there were at the last checkpoint.
    checkpointed: i32,
    /// Tells the rows of this process from those of one that died.
    run: i64,
    #[cfg(test)]
    faults: super::tests::Faults,
}

/// What was found and done when a store and what is known of open connections were compared.
#[derive(Default)]
pub(super) struct Reconciled {
    /// How many connections of a process that died have their endings now.
    pub(super) died: u64,
    /// How many had ended without a record.
    pub(super) unrecorded: u64,
    /// Where the open connections are now.
    pub(super) rows: Vec<(ConnectionId, u64)>,
}

/// Takes the lock that keeps a second process out.
pub(super) fn lock(path: &Path) -> Result<File, Trouble> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o750).create(folder);
        made.map_err(|error| Trouble::Io("its directory cannot be made", error))?;
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o640)
        .open(lock_path(path))
        .map_err(|error| Trouble::Io("its lock file cannot be opened", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Trouble::Locked),
        Err(TryLockError::Error(error)) => Err(Trouble::Io("it cannot be locked", error)),
    }
}

impl Store {
    /// Opens the file, which the caller has locked; makes it if it is not there. `sight` is that of
    /// the store before this one.
    pub(super) fn open(place: &Place, run: i64, sight: Option<Sight>) -> Result<Self, Trouble> {
        let path = &place.path;
        // Only if it is not there: closing a descriptor of our own would drop SQLite's locks.
        let made = File::options().write(true).create_new(true).mode(0o640).open(path);
        match made {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Trouble::Io("it cannot be made", error)),
        }
        // Of the same file it is the same descriptor, for the sake of those locks.
        let mut sight = match sight.filter(|sight| sight.is_of(path)) {
            Some(sight) => sight,
            None => Sight::open(path)?,
        };
        sight.look_whole()?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(place.busy_timeout)?;
        migrate(&mut connection, STEPS)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let synchronous = match place.synchronous {
            Synchronous::Normal => "NORMAL",
            Synchronous::Full => "FULL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        // See `checkpoint`.
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
        sight.remember();
        Ok(Self {
            connection,
            sight,
            wal_pages,
            checkpointed: 0,
            run,
            #[cfg(test)]
            faults: place.faults.clone(),
        })
    }

    /// Writes a plan in one transaction, or nothing of it.
    pub(super) fn commit(&mut self, plan: &Plan) -> Result<(), Trouble> {
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
            let mut insert = transaction.prepare_cached(EndingRow::INSERT_ENDING)?;
            for row in &plan.endings {
                row.insert_ending(&mut insert)?;
            }
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

    /// Makes the table of open connections equal to what is open, in one transaction: rows of a
    /// process that died get their endings, rows of connections that ended without a record go,
    /// and connections that opened without a row get one.
    pub(super) fn reconcile(
        &mut self,
        open: &IdMap<Open>,
        marked: &IdSet,
        sequence: &mut u64,
    ) -> Result<Reconciled, Trouble> {
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
        // Another file than before: what was told since is not in it.
        let removed = if stored < *sequence { *sequence } else { 0 };
        let leap = if closed || *sequence > 0 { 0 } else { LEAP };
        *sequence = (stored + leap).max(*sequence);
        {
            let mut rows = transaction
                .prepare("SELECT sequence, run, id, opened_at, record FROM open_connections")?;
            let mut insert = transaction.prepare_cached(EndingRow::INSERT_ENDING)?;
            let mut delete =
                transaction.prepare_cached("DELETE FROM open_connections WHERE sequence = ?")?;
            // Read before anything is changed: a query that sees its own changes may not end.
            let mut found: Vec<(i64, Option<Leftover>, String)> = Vec::new();
            let mut read = rows.query([])?;
            while let Some(row) = read.next()? {
                let id: String = row.get(2)?;
                let leftover = if row.get::<_, i64>(1)? == self.run {
                    None
                } else {
                    let (opened_at, record) = (row.get(3)?, row.get(4)?);
                    Some(Leftover { id: id.clone(), opened_at, record })
                };
                found.push((row.get(0)?, leftover, id));
            }
            for (row, leftover, id) in found {
                let id: Option<ConnectionId> = id.parse().ok();
                if leftover.is_some() && id.is_some_and(|id| marked.contains(&id)) {
                    // Its ending was told, and is in the log.
                    delete.execute([row])?;
                    done.unrecorded += 1;
                    continue;
                }
                if let Some(leftover) = leftover {
                    *sequence += 1;
                    leftover.insert_ending(&mut insert, *sequence, time_of(&alive_at), now)?;
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
            let placed: IdSet = done.rows.iter().map(|(id, _)| *id).collect();
            let mut insert = transaction.prepare_cached(OpenRow::INSERT)?;
            for (id, Open { opened, .. }) in open.iter().filter(|(id, _)| !placed.contains(id)) {
                *sequence += 1;
                let row = OpenRow { sequence: *sequence, opened: Arc::clone(opened) };
                row.insert(&mut insert, self.run)?;
                done.rows.push((*id, row.sequence));
            }
        }
        transaction.execute(
            "UPDATE ledger SET sequence = ?, removed = max(removed, ?), alive_at = ?, closed = 0",
            params![number(*sequence), number(removed), text_of(now)],
        )?;
        transaction.commit()?;
        self.sight.remember();
        #[cfg(test)]
        self.faults.after()?;
        Ok(done)
    }

    /// Gives back what the cache of pages holds: after a storm it is full, and nobody asks for it.
    pub(super) fn shrink(&self) -> Result<(), Trouble> {
        Ok(self.connection.execute_batch("PRAGMA shrink_memory")?)
    }

    /// Tells whether the file is still the one of that name, and ours.
    pub(super) fn check_place(&mut self) -> Result<(), Trouble> {
        self.sight.check()
    }

    /// Shows that there is room for a good many endings, and not only for the next few bytes.
    pub(super) fn prove_room(&mut self) -> Result<(), Trouble> {
        #[cfg(test)]
        self.faults.before()?;
        let step = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step.execute_batch("CREATE TABLE IF NOT EXISTS room (filler BLOB)")?;
        step.execute("INSERT INTO room VALUES (zeroblob(?))", [ROOM])?;
        step.commit()?;
        Ok(self.connection.execute_batch("DROP TABLE room")?)
    }

    /// Lets go of a file that is no longer where it was or no longer ours, so that its log is not
    /// applied to what is there now.
    pub(super) fn abandon(self, why: &Trouble) -> Sight {
        let Self { connection, sight, .. } = self;
        match why {
            // What the log still holds goes to the file that it belongs to, wherever that is now.
            Trouble::Gone => {
                let moved = "PRAGMA wal_checkpoint(PASSIVE)";
                let _ = connection.query_row(moved, [], |_| Ok(()));
            }
            _ => {
                let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
            }
        }
        drop(connection);
        sight.remove_log();
        sight
    }

    /// Lets go of a file that is to be opened again.
    pub(super) fn let_go(self) -> Sight {
        self.sight
    }

    /// Has the WAL moved into the file once it has grown: beside the writer, and only where that
    /// does not keep up by the writer itself, since a WAL ends only where all of it is in the file.
    pub(super) fn checkpoint(&mut self, beside: &Checkpointer) -> Result<(), Trouble> {
        let pages = self.wal_pages.load(Ordering::Relaxed);
        if pages < self.checkpointed {
            // It began anew.
            self.checkpointed = 0;
        }
        if pages - self.checkpointed < WAL_STEP {
            return Ok(());
        }
        self.checkpointed = pages;
        self.check_place()?;
        if pages < WAL_AT_MOST {
            beside.ask(self.sight.inode());
        } else {
            self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        }
        Ok(())
    }

    /// Says in the file that the process stopped in order, and leaves no WAL behind.
    pub(super) fn close(&mut self, plan: &Plan) -> Result<(), Trouble> {
        self.check_place()?;
        self.commit(plan)?;
        self.connection.execute("UPDATE ledger SET closed = 1", [])?;
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }
}
