//! The durable ledger: SQLite in WAL mode, one thread that writes, group commit.
//!
//! [`Sqlite::append`](Ledger::append) puts an entry on the desk and returns. The writer takes all
//! that lies there, writes it in one transaction, and tells. An open connection is a row that its
//! ending replaces; rows that a process left behind become `process_died` when the file is next
//! opened. While the file cannot be written entries are told as lost at once, and the writer tries
//! again; then the rows of open connections are made right. Connections that end meanwhile are marked
//! in a file beside, should the process end before that. A watchdog does the telling when the writer
//! hangs in a write.

mod attempts;
mod book;
mod checkpoint;
mod desk;
mod marks;
mod queries;
mod reader;
mod retention;
mod rows;
mod schema;
mod sight;
mod store;
#[cfg(test)]
mod tests;
mod trouble;
mod writer;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use self::book::Book;
use self::checkpoint::Checkpointer;
use self::desk::{Desk, Waiting};
use self::retention::Bounds;
use self::sight::Sight;
use self::store::Place;
use self::writer::{Shared, Writer, watch};
use super::{
    Archive, Committed, EndingFilter, EndingPage, Entry, Health, Ledger, Property, QueryError,
    Replay, Stored, Summary,
};
use crate::config::{ByteSize, FailurePolicy, Synchronous};
use crate::vocabulary::{ConnectionName, Record};

pub use self::trouble::OpenError;

/// How the durable ledger is kept; see the section `[ledger]` of the configuration.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The file.
    pub path: PathBuf,
    /// How long endings are kept.
    pub retention: Duration,
    /// What the file may take.
    pub max_size: ByteSize,
    /// What survives a power loss.
    pub synchronous: Synchronous,
    /// What happens when endings cannot be stored.
    pub on_failure: FailurePolicy,
    /// How many attempts are stored per listener; the rest is only counted.
    pub open_failed_per_second: u64,
    /// What may wait for the disk.
    pub queue_bytes: ByteSize,
    /// How long a write may take before the disk counts as failing.
    pub stall_timeout: Duration,
    #[cfg(test)]
    pub(super) faults: tests::Faults,
}

impl SqliteOptions {
    /// Takes the options from the configuration, but for the path.
    pub fn new(path: impl Into<PathBuf>, config: &crate::config::Ledger) -> Self {
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

/// What opening a ledger found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// How many connections a process that died had left open; they have their endings now.
    pub died: u64,
}

/// The durable ledger.
pub struct Sqlite {
    shared: Arc<Shared>,
}

impl Sqlite {
    /// Tells whether a file is a ledger, or empty, as [`Sqlite::open`] would find before it opens it.
    /// Changes nothing. Not for a process that has the file open as a ledger: it would lose its locks.
    pub fn is_ledger(path: &Path) -> bool {
        Sight::open(path).and_then(|sight| sight.look_whole()).is_ok()
    }

    /// Opens a ledger, and makes it if it is not there.
    ///
    /// A file that cannot be used is an error if `on_failure` is `refuse`; otherwise the ledger
    /// starts as failing, and goes on trying. The file is then not touched.
    ///
    /// # Errors
    /// [`OpenError`], each with its remedy.
    pub fn open(options: SqliteOptions) -> Result<(Arc<Self>, Recovery), OpenError> {
        let SqliteOptions { path, retention, max_size, queue_bytes, stall_timeout, .. } = options;
        let refuse = options.on_failure == FailurePolicy::Refuse;
        let place = Place {
            path: path.clone(),
            synchronous: options.synchronous,
            // Another program's transaction is to be told from a disk that hangs.
            busy_timeout: stall_timeout / 2,
            #[cfg(test)]
            faults: options.faults,
        };
        let bytes = usize::try_from(queue_bytes.0).unwrap_or(usize::MAX);
        let shared = Arc::new(Shared::new(
            place,
            Bounds { retention, max_size: max_size.0 },
            Desk::new(bytes, stall_timeout),
            Book::new(options.open_failed_per_second),
            refuse,
        ));
        let (checkpointer, requests) = Checkpointer::new(&path);
        let mut writer = Writer::new(Arc::clone(&shared), checkpointer);
        let died = match writer.open() {
            Ok(died) => died,
            Err(trouble) => {
                if let Some(fatal) = trouble.fatal(&path) {
                    return Err(fatal);
                }
                if refuse {
                    return Err(OpenError::Unusable(trouble.sentence(&path)));
                }
                writer.open_later(&trouble);
                0
            }
        };
        spawn("ledger-checkpoint", move || requests.serve()).map_err(OpenError::Threads)?;
        let watched = Arc::clone(&shared);
        spawn("ledger-watchdog", move || watch(&watched)).map_err(|error| {
            shared.desk.writer_is_gone(false);
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
            shared.desk.writer_is_gone(false);
            OpenError::Threads(error)
        })?;
        Ok((Arc::new(Self { shared }), Recovery { died }))
    }

    /// Stores what waits, says in the file that the process stopped in order, and lets go of it.
    ///
    /// Waits for that, but not much longer than a write may take. What is appended later is told as
    /// lost.
    pub fn close(&self) {
        let desk = &self.shared.desk;
        if !desk.close(desk.stall_timeout() * 2 + Duration::from_secs(1)) {
            tracing::warn!(
                "{}: the ledger could not be closed in time; its connections will be found open",
                self.path().display()
            );
        }
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.shared.place.path
    }

    /// Returns how many endings could not be stored, those of attempts among them.
    pub fn unrecorded(&self) -> u64 {
        self.shared.book.unrecorded()
    }

    /// Returns how many connections have their endings only because a process died.
    pub fn recovered(&self) -> u64 {
        self.shared.recovered.load(Ordering::Relaxed)
    }

    /// Returns how many attempts were only counted.
    pub fn counted_attempts(&self) -> u64 {
        self.shared.book.counted()
    }

    fn ask<T>(
        &self,
        question: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T>,
    ) -> Result<T, QueryError> {
        match self.shared.generation.load(Ordering::Acquire) {
            0 => Err(QueryError(match self.shared.health() {
                Health::Failing { problem, .. } => problem,
                Health::Good => format!("{}: it is not open yet", self.path().display()),
            })),
            generation => self.shared.readers.ask(generation, question),
        }
    }
}

/// Where cores are short, messages go before records.
const NICE: i32 = 5;

/// How long a thread that panicked waits before it goes on.
const AFTER_PANIC: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 1000 });

/// Does work on a thread of its own, again after a panic.
fn spawn(name: &'static str, mut work: impl FnMut() + Send + 'static) -> std::io::Result<()> {
    let run = move || {
        // Of this thread alone, as Linux has it; refused, the ledger is as good, and less polite.
        let _ = rustix::process::setpriority_process(None, NICE);
        while catch_unwind(AssertUnwindSafe(&mut work)).is_err() {
            tracing::error!(
                thread = name,
                "a thread of the ledger panicked, and goes on: please report this"
            );
            std::thread::sleep(AFTER_PANIC);
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}

fn run(writer: Writer, shared: &Shared) {
    let panicked = catch_unwind(AssertUnwindSafe(|| writer.run())).is_err();
    if panicked {
        shared.fails(&trouble::Trouble::WriterGone);
    }
    shared.desk.writer_is_gone(panicked);
}

impl Ledger for Sqlite {
    fn append(&self, entry: Entry, committed: &Arc<dyn Committed>) {
        if let Err(late) = self.shared.desk.push(Waiting::new(entry, committed)) {
            let records = self.shared.book.refused(std::slice::from_ref(&late));
            late.tell(records.first().copied().unwrap_or(Record::Failed));
        }
    }

    fn health(&self) -> Health {
        self.shared.health()
    }

    fn refuses_new(&self) -> bool {
        self.shared.refuses_new()
    }

    fn lag(&self) -> Duration {
        self.shared.desk.lag()
    }
}

impl Archive for Sqlite {
    fn ending(&self, name: ConnectionName) -> Result<Option<Stored>, QueryError> {
        self.ask(|connection| queries::ending(connection, name))
    }

    fn endings(&self, filter: &EndingFilter) -> Result<EndingPage, QueryError> {
        self.ask(|connection| queries::endings(connection, filter))
    }

    fn summary(
        &self,
        since: Option<SystemTime>,
        until: Option<SystemTime>,
        by: Property,
    ) -> Result<Summary, QueryError> {
        self.ask(|connection| queries::summary(connection, since, until, by))
    }

    fn after(&self, sequence: u64, limit: usize) -> Result<Replay, QueryError> {
        self.ask(|connection| queries::after(connection, sequence, limit))
    }
}

impl Drop for Sqlite {
    /// Whoever forgot to close it finds what was stored until now.
    fn drop(&mut self) {
        self.shared.desk.close(Duration::ZERO);
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path()).finish_non_exhaustive()
    }
}
