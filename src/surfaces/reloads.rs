//! Requests to reload the configuration, and what became of them.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::vocabulary::Requester;

/// How many requests may wait; each gets its own reload, one after the other.
const QUEUE: usize = 16;

/// What a reload has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reloaded {
    /// What is different now: keys, and `routes.NAME`, `listeners.NAME` and `dialers.NAME`.
    pub changed: Vec<String>,
    /// What is different in the configuration and needs a restart.
    pub needs_restart: Vec<String>,
    /// The listeners that accept now.
    pub added: Vec<String>,
    /// The listeners that have stopped accepting.
    pub removed: Vec<String>,
}

/// Why nothing was changed: everything wrong, a sentence for each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct NotReloaded(pub Vec<String>);

/// The result of a reload.
pub type Outcome = Result<Reloaded, NotReloaded>;

/// A reload that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastReload {
    /// When it ended.
    pub at: SystemTime,
    /// Who requested it.
    pub by: Requester,
    /// Why nothing was changed, if nothing was.
    pub error: Option<NotReloaded>,
}

/// The reloads of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadFacts {
    /// Those after which the new configuration was in use.
    pub succeeded: u64,
    /// Those that changed nothing because something was wrong.
    pub failed: u64,
    /// When the configuration in use was read.
    pub read_at: SystemTime,
    /// The last one.
    pub last: Option<LastReload>,
}

/// A request for a reload.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Who sent it.
    pub by: Requester,
    answer: Option<oneshot::Sender<Outcome>>,
}

/// Takes requests for reloads, and counts them. Clones share both.
#[derive(Debug, Clone)]
pub struct Reloads {
    requests: mpsc::Sender<ReloadRequest>,
    facts: Arc<Mutex<ReloadFacts>>,
}

/// A request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Too many wait.
    #[error("too many reloads are waiting: try again when they are done")]
    TooMany,
    /// The process is stopping.
    #[error("the daemon is stopping, and reads no configuration any more")]
    Stopping,
}

impl Reloads {
    /// Makes a way to request reloads, and the requests to carry out.
    pub fn new() -> (Self, mpsc::Receiver<ReloadRequest>) {
        let (requests, receiver) = mpsc::channel(QUEUE);
        let facts = ReloadFacts { succeeded: 0, failed: 0, read_at: SystemTime::now(), last: None };
        (Self { requests, facts: Arc::new(Mutex::new(facts)) }, receiver)
    }

    /// Requests a reload without waiting for it. If as many wait as may, the last of them will read
    /// what is there now.
    pub fn request(&self, by: Requester) {
        let _ = self.requests.try_send(ReloadRequest { by, answer: None });
    }

    /// Requests a reload and waits for it. It continues if the future is dropped.
    ///
    /// # Errors
    /// Too many requests wait, or the process is stopping.
    pub async fn reload(&self, by: Requester) -> Result<Outcome, NotTaken> {
        let (answer, outcome) = oneshot::channel();
        let request = ReloadRequest { by, answer: Some(answer) };
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotTaken::TooMany,
            mpsc::error::TrySendError::Closed(_) => NotTaken::Stopping,
        })?;
        outcome.await.map_err(|_| NotTaken::Stopping)
    }

    /// Notes what became of a request, and answers it.
    pub fn conclude(&self, request: ReloadRequest, outcome: Outcome) {
        let ReloadRequest { by, answer } = request;
        let at = SystemTime::now();
        {
            let mut facts = self.facts.lock();
            match &outcome {
                Ok(_) => (facts.succeeded, facts.read_at) = (facts.succeeded + 1, at),
                Err(_) => facts.failed += 1,
            }
            facts.last = Some(LastReload { at, by, error: outcome.as_ref().err().cloned() });
        }
        // The requester may have left.
        let _ = answer.map(|answer| answer.send(outcome));
    }

    /// Returns what became of the reloads so far.
    pub fn facts(&self) -> ReloadFacts {
        self.facts.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_request_is_answered_and_counted() {
        let (reloads, mut requests) = Reloads::new();
        let asking = reloads.clone();
        let asked = tokio::spawn(async move { asking.reload(Requester::Signal("HUP")).await });
        let request = requests.recv().await.unwrap();
        let wrong = NotReloaded(vec!["a is wrong".to_owned(), "b is, too".to_owned()]);
        reloads.conclude(request, Err(wrong.clone()));
        assert_eq!(asked.await.unwrap(), Ok(Err(wrong.clone())));
        assert_eq!(wrong.to_string(), "a is wrong\nb is, too");
        let ReloadFacts { succeeded, failed, read_at, last } = reloads.facts();
        assert_eq!((succeeded, failed, last.unwrap().error), (0, 1, Some(wrong)));
        reloads.request(Requester::Signal("HUP"));
        reloads.conclude(requests.recv().await.unwrap(), Ok(Reloaded::default()));
        let facts = reloads.facts();
        assert_eq!((facts.succeeded, facts.last.unwrap().error), (1, None));
        assert!(facts.read_at >= read_at);
    }

    #[tokio::test]
    async fn not_more_wait_than_may() {
        let (reloads, requests) = Reloads::new();
        for _ in 0..2 * QUEUE {
            reloads.request(Requester::Signal("HUP"));
        }
        assert_eq!(reloads.reload(Requester::Signal("HUP")).await, Err(NotTaken::TooMany));
        drop(requests);
        assert_eq!(reloads.reload(Requester::Signal("HUP")).await, Err(NotTaken::Stopping));
    }
}
