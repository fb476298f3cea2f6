//! Runs queries on the ledger, which may block on the disk, on the blocking pool and a few at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::problem::{Problem, Word};
use crate::ledger::{Archive, QueryError};

/// The number of concurrent queries: each takes a thread, and all share one disk.
const AT_ONCE: usize = 8;

/// How long a query may take, including the wait for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs queries on an archive.
pub(super) struct Queries {
    archive: Arc<dyn Archive>,
    turns: Arc<Semaphore>,
}

impl Queries {
    pub(super) fn new(archive: Arc<dyn Archive>) -> Self {
        Self { archive, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Runs a query.
    ///
    /// # Cancel safety
    /// If the future is dropped, a query that has started still runs to its end, and keeps its
    /// permit until then.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&dyn Archive) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, Problem> {
        let unanswered = |why: &str| {
            Problem::new(Word::LedgerUnreadable, format!("the ledger did not answer: {why}"))
        };
        let asked = async {
            let turn = Arc::clone(&self.turns).acquire_owned().await;
            let archive = Arc::clone(&self.archive);
            let asked = tokio::task::spawn_blocking(move || {
                let answer = query(&*archive);
                drop(turn);
                answer
            });
            // The join fails only if the query panicked or the runtime is shutting down.
            asked.await.map_err(|error| unanswered(&error.to_string()))?.map_err(Problem::from)
        };
        let answer = timeout(PATIENCE, asked).await;
        answer.unwrap_or_else(|_| Err(unanswered("30 s have passed")))
    }
}
