//! Asks the ledger, which may block on a disk: off the threads that serve, and few at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::problem::{Problem, Word};
use crate::ledger::{Archive, QueryError};

/// How many queries run at once: each takes a thread, and they share one disk.
const AT_ONCE: usize = 8;

/// How long a query may take, with the wait for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks an archive.
pub(super) struct Queries {
    archive: Arc<dyn Archive>,
    turns: Arc<Semaphore>,
}

impl Queries {
    pub(super) fn new(archive: Arc<dyn Archive>) -> Self {
        Self { archive, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Asks the archive.
    ///
    /// # Cancel safety
    /// Dropped, a query that has begun runs to its end, and keeps its turn until then.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        query: impl FnOnce(&dyn Archive) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, Problem> {
        let unanswered = |why: &str| {
            Problem::new(Word::LedgerUnreadable, format!("the ledger gives no answer: {why}"))
        };
        let asked = async {
            let turn = Arc::clone(&self.turns).acquire_owned().await;
            let archive = Arc::clone(&self.archive);
            let asked = tokio::task::spawn_blocking(move || {
                let answer = query(&*archive);
                drop(turn);
                answer
            });
            // It fails only if the query panicked, or the runtime ends.
            asked.await.map_err(|error| unanswered(&error.to_string()))?.map_err(Problem::from)
        };
        let answer = timeout(PATIENCE, asked).await;
        answer.unwrap_or_else(|_| Err(unanswered("30 s have passed")))
    }
}
