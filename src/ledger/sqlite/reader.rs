//! Connections that only read, so that a question never waits for the writer nor makes it wait.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::super::QueryError;

/// How long a question may take, its wait for a free connection included.
const DEADLINE: Duration = Duration::from_secs(5);

/// How many questions are answered at a time.
const MOST: usize = 4;

/// How many steps of SQLite's machine pass between two looks at the clock: some microseconds.
const STEPS: i32 = 1000;

pub(super) struct Readers {
    path: PathBuf,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    /// Connections without a question, and which opening of the file they see.
    idle: Vec<(u64, Connection)>,
    busy: usize,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::default(), freed: Condvar::new() }
    }

    /// Answers a question from one state of the file, the opening of which has this number.
    pub(super) fn ask<T>(
        &self,
        generation: u64,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, QueryError> {
        let deadline = Instant::now() + DEADLINE;
        let found = self.borrow(generation, deadline)?;
        let answer = found.map_or_else(|| self.connect(), Ok).and_then(|mut connection| {
            connection.progress_handler(STEPS, Some(move || Instant::now() >= deadline))?;
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
            let answer = question(&transaction)?;
            transaction.finish()?;
            Ok((answer, connection))
        });
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.busy -= 1;
        self.freed.notify_one();
        match answer {
            Ok((answer, connection)) => {
                state.idle.push((generation, connection));
                Ok(answer)
            }
            // The connection is dropped: whatever is wrong may be wrong with it.
            Err(error) => Err(self.explain(&error)),
        }
    }

    /// Lets go of all connections, which must not be asked meanwhile; `false` while some are busy.
    pub(super) fn let_go(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.idle.clear();
        state.busy == 0
    }

    fn borrow(&self, generation: u64, deadline: Instant) -> Result<Option<Connection>, QueryError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.busy >= MOST {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(QueryError(format!(
                    "{}: {MOST} other questions have taken longer than {}: ask again, for less",
                    self.path.display(),
                    humantime::format_duration(DEADLINE)
                )));
            }
            let waited = self.freed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
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
        Ok(connection)
    }

    fn explain(&self, error: &rusqlite::Error) -> QueryError {
        let path = self.path.display();
        QueryError(match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => format!(
                "{path}: the answer takes longer than {}: ask for a shorter time, or by id, peer \
                 or subject",
                humantime::format_duration(DEADLINE)
            ),
            _ => format!("{path}: {error}"),
        })
    }
}
