//! Read-only connections, so that queries and the writer never wait for each other.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::super::QueryError;

/// How long a query may take, including the wait for a free connection.
const DEADLINE: Duration = Duration::from_secs(5);

/// The number of queries that run at a time.
const MOST: usize = 4;

/// The number of SQLite VM instructions between two checks of the deadline: a few microseconds.
const STEPS: i32 = 1000;

pub(super) struct Readers {
    path: PathBuf,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    /// Idle connections, each with the generation of the file that it has open.
    idle: Vec<(u64, Connection)>,
    busy: usize,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::default(), freed: Condvar::new() }
    }

    /// Runs a query on one snapshot of the file's given generation.
    pub(super) fn query<T>(
        &self,
        generation: u64,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, QueryError> {
        let deadline = Instant::now() + DEADLINE;
        let found = self.borrow(generation, deadline)?;
        let answer = found.map_or_else(|| self.connect(), Ok).and_then(|mut connection| {
            connection.progress_handler(STEPS, Some(move || Instant::now() >= deadline))?;
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
            let answer = query(&transaction)?;
            transaction.finish()?;
            Ok((answer, connection))
        });
        let mut state = self.state.lock();
        state.busy -= 1;
        self.freed.notify_one();
        match answer {
            Ok((answer, connection)) => {
                state.idle.push((generation, connection));
                Ok(answer)
            }
            // The connection is dropped, since it may be the cause.
            Err(error) => Err(self.explain(&error)),
        }
    }

    /// Closes all idle connections; `false` while others are busy. No query may start meanwhile.
    pub(super) fn disconnect(&self) -> bool {
        let mut state = self.state.lock();
        state.idle.clear();
        state.busy == 0
    }

    fn borrow(&self, generation: u64, deadline: Instant) -> Result<Option<Connection>, QueryError> {
        let mut state = self.state.lock();
        while state.busy >= MOST {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(QueryError(format!(
                    "{}: {MOST} other queries have taken longer than {}: try again with a narrower \
                     query",
                    self.path.display(),
                    humantime::format_duration(DEADLINE)
                )));
            }
            self.freed.wait_for(&mut state, left);
        }
        state.busy += 1;
        state.idle.retain(|(opening, _)| *opening == generation);
        Ok(state.idle.pop().map(|(_, connection)| connection))
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(Duration::from_secs(1))?;
        connection.pragma_update(None, "cache_size", -2048)?;
        // What is sorted is small, and a container may have no directory for temporary files.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        Ok(connection)
    }

    fn explain(&self, error: &rusqlite::Error) -> QueryError {
        let path = self.path.display();
        QueryError(match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => format!(
                "{path}: the query takes longer than {}: narrow it to a shorter period, or to an \
                 id, peer or subject",
                humantime::format_duration(DEADLINE)
            ),
            _ => format!("{path}: {error}"),
        })
    }
}
