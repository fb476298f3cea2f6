//! The durable ledger, from its file outwards.

mod attempts;
mod failing;
mod opening;
mod queries;
mod recovery;
mod replaced;
mod reporting;
mod retention;
mod revocations;
mod schema;
mod shares;
mod speed;

use std::fmt;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::Connection;

use super::store_error::StoreError;
use super::*;
use crate::settings;
use crate::vocabulary::{
    Cause, CloseState, ConnectionId, ConnectionOpened, Direction, Ending, Fault, FirstClose, Kind,
    OpenFailure, Origin, Outcome, ReceivedClose, Retry, Traffic, TransportEnd,
};

/// When a fault may strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Nothing is written yet.
    Before,
    /// Everything is written, but success is not reported yet.
    After,
}

type Script = Box<dyn FnMut(Moment) -> Result<(), StoreError> + Send>;

/// Faults that a test injects into the disk.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Option<Script>>>);

impl Faults {
    pub(super) fn before(&self) -> Result<(), StoreError> {
        self.strike(Moment::Before)
    }

    pub(super) fn after(&self) -> Result<(), StoreError> {
        self.strike(Moment::After)
    }

    fn strike(&self, moment: Moment) -> Result<(), StoreError> {
        // The lock is not held during the script: a script that hangs must not block `heal`.
        let Some(mut script) = self.0.lock().unwrap().take() else { return Ok(()) };
        let struck = script(moment);
        self.0.lock().unwrap().get_or_insert(script);
        struck
    }

    fn script(&self, script: impl FnMut(Moment) -> Result<(), StoreError> + Send + 'static) {
        *self.0.lock().unwrap() = Some(Box::new(script));
    }

    fn heal(&self) {
        self.script(|_| Ok(()));
    }

    fn fail_all(&self) {
        self.script(|moment| match moment {
            Moment::Before => Err(broken()),
            Moment::After => Ok(()),
        });
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}

fn broken() -> StoreError {
    StoreError::Io("the test broke it", std::io::Error::other("broken"))
}

/// A ledger in a directory of its own.
struct Bench {
    folder: tempfile::TempDir,
    options: SqliteOptions,
    recorder: Arc<Recorder>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let options = SqliteOptions::new(path, &settings::Ledger::default());
        Self { folder, options, recorder: Recorder::new() }
    }

    fn open(&self) -> Arc<Sqlite> {
        self.recover().0
    }

    fn recover(&self) -> (Arc<Sqlite>, u64) {
        let (ledger, Recovery { died }) = Sqlite::open(self.options.clone()).unwrap();
        (ledger, died)
    }

    fn path(&self) -> &Path {
        &self.options.path
    }

    fn append(&self, ledger: &Sqlite, entry: Entry) {
        let recorder: Arc<dyn Committed> = Arc::clone(&self.recorder) as Arc<dyn Committed>;
        ledger.append(entry, &recorder);
    }

    /// Appends entries, waits until all are reported, and returns their outcomes.
    fn store(&self, ledger: &Sqlite, entries: Vec<Entry>) -> Vec<Record> {
        let before = self.recorder.count();
        let count = before + entries.len();
        for entry in entries {
            self.append(ledger, entry);
        }
        self.recorder.wait_for(count);
        self.recorder.all()[before..].iter().map(|(_, record)| *record).collect()
    }

    /// Opens the file from outside, as an operator would.
    fn look(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn number(&self, sql: &str) -> i64 {
        self.look().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn number_of_wal_pages(&self) -> i64 {
        let pages = "PRAGMA wal_checkpoint(NOOP)";
        self.look().query_row(pages, [], |row| row.get(1)).unwrap()
    }

    fn texts(&self, sql: &str) -> Vec<String> {
        let connection = self.look();
        let mut query = connection.prepare(sql).unwrap();
        let rows = query.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Copies the file as a process that dies now would leave it.
    fn after_death(&self) -> Self {
        let after = Self::new();
        for suffix in ["", "-wal", ".ended"] {
            let name = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
            if name(self.path()).exists() {
                std::fs::copy(name(self.path()), name(after.path())).unwrap();
            }
        }
        after
    }
}

/// Records the outcome of every entry.
struct Recorder {
    reported: Mutex<Vec<(Entry, Record)>>,
    grown: Condvar,
    /// Queried on every report, as an observer might do.
    archive: Mutex<Weak<Sqlite>>,
}

impl Recorder {
    fn new() -> Arc<Self> {
        let archive = Mutex::new(Weak::new());
        Arc::new(Self { reported: Mutex::default(), grown: Condvar::new(), archive })
    }

    fn count(&self) -> usize {
        self.reported.lock().unwrap().len()
    }

    fn all(&self) -> Vec<(Entry, Record)> {
        self.reported.lock().unwrap().clone()
    }

    fn wait_for(&self, count: usize) {
        let records = self.reported.lock().unwrap();
        let waited =
            self.grown.wait_timeout_while(records, SOON, |records| records.len() < count).unwrap();
        assert!(!waited.1.timed_out(), "{} of {count} reported", waited.0.len());
    }
}

impl Committed for Recorder {
    fn committed(&self, entry: Entry, record: Record) {
        let archive = self.archive.lock().unwrap().upgrade();
        if let (Some(archive), Record::Durable(_), Some(id)) = (archive, record, ended(&entry)) {
            let stored = archive.ending(ConnectionName::Id(id)).unwrap();
            assert!(stored.is_some(), "{id} is durable before it is reported");
        }
        self.reported.lock().unwrap().push((entry, record));
        self.grown.notify_all();
    }
}

const SOON: Duration = Duration::from_secs(20);

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "awaited in vain that {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn origin(peer: &str) -> Origin {
    Origin {
        listener: Some("public".into()),
        route: Some("chat".into()),
        backend: Some("echo".into()),
        peer: Some(peer.into()),
        local_addr: Some("10.0.0.5:8080".into()),
        host: Some("example.org".into()),
        path: Some("/chat?room=7&token=***".into()),
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0".into()),
        ..Origin::new(Direction::Inbound)
    }
}

fn opened(id: ConnectionId) -> Entry {
    let origin = Arc::new(origin("203.0.113.9:51342"));
    let opened_at = SystemTime::now();
    let relay_peer = None;
    Entry::Opened(Arc::new(ConnectionOpened {
        id,
        node: "a1".into(),
        origin,
        relay_peer,
        opened_at,
    }))
}

fn outcome(kind: Kind) -> Outcome {
    let closed = kind == Kind::Clean;
    Outcome {
        kind,
        fault: if closed { Fault::None } else { Fault::Peer },
        cause: if closed { Cause::Peer } else { Cause::None },
        first_close: if closed { FirstClose::Peer } else { FirstClose::None },
        state: kind.open_failure().is_none().then_some(CloseState::Closed),
        close_sent: None,
        close_received: closed.then(|| ReceivedClose { code: Some(1000), reason: "bye".into() }),
        transport_end: Some(TransportEnd::Fin),
        handshake: Some(Duration::from_millis(3)),
        retry: Retry::Never,
        limit: None,
        by: None,
        detail: "the peer closed first, with 1000 \"bye\"".into(),
    }
}

fn ending(id: ConnectionId, kind: Kind, origin: Origin) -> Ending {
    let now = SystemTime::now();
    Ending {
        id,
        node: "a1".into(),
        origin: Arc::new(origin),
        relay_peer: None,
        opened_at: now,
        ended_at: now,
        open_for: Duration::from_millis(5),
        outcome: outcome(kind),
        traffic: kind.open_failure().is_none().then(Traffic::default),
        tcp: None,
    }
}

fn clean(id: ConnectionId) -> Entry {
    Entry::Ended(Arc::new(ending(id, Kind::Clean, origin("203.0.113.9:51342"))))
}

fn attempt(peer: &str) -> Entry {
    let kind = Kind::OpenFailed(OpenFailure::NoRoute);
    Entry::OpenFailed(Arc::new(ending(ConnectionId::new(), kind, origin(peer))))
}

fn ended(entry: &Entry) -> Option<ConnectionId> {
    match entry {
        Entry::Ended(ending) => Some(ending.id),
        Entry::Opened(_) | Entry::Closing(_) | Entry::OpenFailed(_) | Entry::Revocation(_) => None,
    }
}

fn peer(number: u32) -> String {
    let [_, a, b, c] = number.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 50_000)).to_string()
}
