//! The durable ledger: SQLite in WAL mode, one thread that writes, group commit.
//!
//! [`Sqlite::append`](Ledger::append) queues an entry and returns. The writer takes all queued
//! entries, writes them in one transaction, and reports them. An open connection is a row that its
//! ending replaces; rows left behind by a dead process become `process_died` when the file is next
//! opened. While the file cannot be written, entries are reported as lost at once, the writer
//! retries, and on success it corrects the rows of open connections. Connections that end meanwhile
//! are marked in a separate file, in case the process ends before that. While the writer hangs in a
//! write, a watchdog reports in its place.

mod attempts;
mod checkpoint;
mod commit_queue;
mod db_file;
mod marks;
mod networks;
mod over_time;
mod queries;
mod reader;
mod retention;
mod revocations;
mod rows;
mod schema;
mod store;
mod store_error;
#[cfg(test)]
mod tests;
mod tracker;
mod writer;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use self::checkpoint::Checkpointer;
use self::commit_queue::{CommitQueue, Waiting};
use self::db_file::DbFile;
use self::retention::Bounds;
use self::store::StoreConfig;
use self::tracker::Tracker;
use self::writer::{Shared, Writer, watch};
use super::{
    Archive, Committed, EndingFilter, EndingPage, Entry, Health, Ledger, Property, QueryError,
    RecordedRevocations, Replay, Slots, Stored, Summary, Timeline,
};
use crate::ledger::revocation_table::RevocationTable;
use crate::settings::{ByteSize, FailurePolicy, Synchronous};
use crate::vocabulary::{ConnectionName, Record};

pub use self::store_error::OpenError;

/// Options of the durable ledger; see the section `[ledger]` of the configuration.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The file.
    pub path: PathBuf,
    /// How long endings are kept.
    pub retention: Duration,
    /// The maximum size of the file.
    pub max_size: ByteSize,
    /// What survives a power loss.
    pub synchronous: Synchronous,
    /// What happens when endings cannot be stored.
    pub on_failure: FailurePolicy,
    /// The number of attempts stored per listener and second; the rest is only counted.
    pub open_failed_per_second: u64,
    /// The maximum size of the entries that wait for the disk.
    pub queue_bytes: ByteSize,
    /// How long a write may take before the ledger counts as failing.
    pub stall_timeout: Duration,
    #[cfg(test)]
    pub(super) faults: tests::Faults,
}

impl SqliteOptions {
    /// Takes all options but the path from the configuration.
    pub fn new(path: impl Into<PathBuf>, config: &crate::settings::Ledger) -> Self {
        Self {
            path: path.into(),
            retention: config.retention,
            max_size: config.max_size,
            synchronous: config.synchronous,
            on_failure: config.on_failure,
            open_failed_per_second: config.open_failed_per_second,
            queue_bytes: config.queue_bytes,
            stall_timeout: config.stall_timeout,
            #[cfg(test)]
            faults: tests::Faults::default(),
        }
    }
}

/// What was recovered when a ledger was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// The number of connections that a dead process had left open; their endings are recorded now.
    pub died: u64,
}

/// The durable ledger.
pub struct Sqlite {
    shared: Arc<Shared>,
}

impl Sqlite {
    /// Returns whether a file is a ledger or empty, by the check that [`Sqlite::open`] makes first.
    ///
    /// Changes nothing. Must not be called by a process that has the file open as a ledger, since
    /// closing the descriptor would drop its locks.
    pub fn is_ledger(path: &Path) -> bool {
        DbFile::open(path).and_then(|db_file| db_file.check_intact()).is_ok()
    }

    /// Changes how long endings are kept, and the maximum size of the file. What exceeds them is removed
    /// in the course of the next minutes.
    pub fn set_bounds(&self, retention: Duration, max_size: ByteSize) {
        *self.shared.bounds.lock() = Bounds { retention, max_size: max_size.0 };
    }

    /// Opens a ledger, and creates it if it does not exist.
    ///
    /// A file that cannot be used is an error if `on_failure` is `refuse`. Otherwise the ledger
    /// starts as failing, leaves the file untouched, and retries.
    ///
    /// # Errors
    /// [`OpenError`], with its remedy.
    pub fn open(options: SqliteOptions) -> Result<(Arc<Self>, Recovery), OpenError> {
        let SqliteOptions { path, retention, max_size, queue_bytes, stall_timeout, .. } = options;
        let refuse = options.on_failure == FailurePolicy::Refuse;
        let config = StoreConfig {
            path: path.clone(),
            synchronous: options.synchronous,
            // Shorter than the stall timeout, so that another program's transaction is not taken
            // for a hanging disk.
            busy_timeout: stall_timeout / 2,
            #[cfg(test)]
            faults: options.faults,
        };
        let bytes = usize::try_from(queue_bytes.0).unwrap_or(usize::MAX);
        let shared = Arc::new(Shared::new(
            config,
            Bounds { retention, max_size: max_size.0 },
            CommitQueue::new(bytes, stall_timeout),
            Tracker::new(options.open_failed_per_second),
            refuse,
        ));
        let (checkpointer, requests) = Checkpointer::new(&path);
        let mut writer = Writer::new(Arc::clone(&shared), checkpointer);
        let died = match writer.open() {
            Ok(died) => died,
            Err(error) => {
                if let Some(fatal) = error.fatal(&path) {
                    return Err(fatal);
                }
                if refuse {
                    return Err(OpenError::Unusable(error.message(&path)));
                }
                writer.open_failed(&error);
                0
            }
        };
        spawn("ledger-checkpoint", move || requests.serve()).map_err(OpenError::Threads)?;
        let watched = Arc::clone(&shared);
        spawn("ledger-watchdog", move || watch(&watched)).map_err(|error| {
            shared.commits.writer_exited(false);
            OpenError::Threads(error)
        })?;
        let working = Arc::clone(&shared);
        let mut writer = Some(writer);
        let write = move || {
            if let Some(writer) = writer.take() {
                run(writer, &working);
            }
        };
        spawn("ledger-writer", write).map_err(|error| {
            shared.commits.writer_exited(false);
            OpenError::Threads(error)
        })?;
        Ok((Arc::new(Self { shared }), Recovery { died }))
    }

    /// Stores the queued entries, records a clean stop in the file, and closes it.
    ///
    /// Waits for that, but not much longer than a write may take. Entries appended later are
    /// reported as lost.
    pub fn close(&self) {
        let commits = &self.shared.commits;
        if !commits.close(commits.stall_timeout() * 2 + Duration::from_secs(1)) {
            tracing::warn!(
                "{}: the ledger could not be closed in time; the next start will find its connections open",
                self.path().display()
            );
        }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.shared.config.path
    }

    /// Returns how many endings, including those of attempts, could not be stored.
    pub fn unrecorded(&self) -> u64 {
        self.shared.tracker.unrecorded()
    }

    /// Returns how many endings were written on behalf of a dead process.
    pub fn recovered(&self) -> u64 {
        self.shared.recovered.load(Ordering::Relaxed)
    }

    /// Returns how many attempts were only counted.
    pub fn counted_attempts(&self) -> u64 {
        self.shared.tracker.counted()
    }

    fn query<T>(
        &self,
        query: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T>,
    ) -> Result<T, QueryError> {
        match self.shared.generation.load(Ordering::Acquire) {
            0 => Err(QueryError(match self.shared.health() {
                Health::Failing { problem, .. } => problem,
                Health::Good => format!("{}: the ledger is not open yet", self.path().display()),
            })),
            generation => self.shared.readers.query(generation, query),
        }
    }
}

/// The nice value of the ledger's threads: on a busy machine, messages take precedence.
const NICE: i32 = 5;

/// How long a thread that panicked waits before it restarts.
const AFTER_PANIC: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 1000 });

/// Runs work on a new thread, and restarts it after a panic.
fn spawn(name: &'static str, mut work: impl FnMut() + Send + 'static) -> std::io::Result<()> {
    let run = move || {
        // On Linux this applies to the calling thread only. The ledger works without it, too.
        let _ = rustix::process::setpriority_process(None, NICE);
        while catch_unwind(AssertUnwindSafe(&mut work)).is_err() {
            tracing::error!(
                thread = name,
                "a thread of the ledger panicked and was restarted: please report this"
            );
            std::thread::sleep(AFTER_PANIC);
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}

fn run(writer: Writer, shared: &Shared) {
    let panicked = catch_unwind(AssertUnwindSafe(|| writer.run())).is_err();
    if panicked {
        shared.mark_failing(&store_error::StoreError::WriterGone);
    }
    shared.commits.writer_exited(panicked);
}

impl Ledger for Sqlite {
    fn append(&self, entry: Entry, committed: &Arc<dyn Committed>) {
        if let Err(late) = self.shared.commits.push(Waiting::new(entry, committed)) {
            let records = self.shared.tracker.refused(std::slice::from_ref(&late));
            late.report(records.first().copied().unwrap_or(Record::Failed));
        }
    }

    fn health(&self) -> Health {
        self.shared.health()
    }

    fn refuses_new(&self) -> bool {
        self.shared.refuses_new()
    }

    fn lag(&self) -> Duration {
        self.shared.commits.lag()
    }

    fn turned(&self) -> Option<Instant> {
        Some(self.shared.commits.turned())
    }

    fn revocations(&self) -> Option<RecordedRevocations> {
        self.shared.tracker.revocations().map(RevocationTable::recorded)
    }
}

impl Archive for Sqlite {
    fn ending(&self, name: ConnectionName) -> Result<Option<Stored>, QueryError> {
        self.query(|connection| queries::ending(connection, name))
    }

    fn endings(&self, filter: &EndingFilter) -> Result<EndingPage, QueryError> {
        self.query(|connection| queries::endings(connection, filter))
    }

    fn summary(
        &self,
        since: Option<SystemTime>,
        until: Option<SystemTime>,
        by: Property,
    ) -> Result<Summary, QueryError> {
        self.query(|connection| queries::summary(connection, since, until, by))
    }

    fn over_time(&self, slots: &Slots, by: Property) -> Result<Timeline, QueryError> {
        self.query(|connection| over_time::count(connection, slots, by))
    }

    fn after(&self, sequence: u64, limit: usize) -> Result<Replay, QueryError> {
        self.query(|connection| queries::after(connection, sequence, limit))
    }
}

impl Drop for Sqlite {
    /// Only asks the writer to finish; entries that it has not stored by the end of the process
    /// are lost.
    fn drop(&mut self) {
        self.shared.commits.close(Duration::ZERO);
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path()).finish_non_exhaustive()
    }
}
