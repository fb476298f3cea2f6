//! Attempts that never became a connection, and how they are recorded.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::commits::Publisher;
use crate::protocol::classification;
use crate::vocabulary::{
    ConnectionId, Ending, Kind, Limit, OpenFailure, Origin, Outcome, TransportEnd,
};

/// An attempt that never became a connection.
pub(crate) struct Attempt {
    pub(crate) origin: Origin,
    pub(crate) began: SystemTime,
    pub(crate) failure: OpenFailure,
    pub(crate) transport_end: Option<TransportEnd>,
    pub(crate) limit: Option<Limit>,
    /// How long the other side asked to wait (`Retry-After`).
    pub(crate) wait: Option<Duration>,
    pub(crate) detail: String,
}

/// Records attempts that failed.
pub(crate) struct Recorder {
    pub(crate) node: Arc<str>,
    pub(crate) publisher: Arc<Publisher>,
}

/// The duty to take over a connection whose 101 has been sent. Dropped before somebody claims it, it
/// records that the attempt failed: a stop may come in between.
pub(crate) struct Unclaimed {
    recorder: Arc<Recorder>,
    offered: Option<(Arc<Origin>, SystemTime)>,
}

impl Recorder {
    pub(crate) fn record(&self, attempt: Attempt) {
        self.publisher.open_failed(Arc::new(self.draw_up(attempt)));
    }

    /// Likewise, and returns the record once it is durable or cannot be.
    pub(crate) async fn record_durably(&self, attempt: Attempt) -> Arc<Ending> {
        let ending = Arc::new(self.draw_up(attempt));
        self.publisher.open_failed_durably(Arc::clone(&ending)).await;
        ending
    }

    fn draw_up(&self, attempt: Attempt) -> Ending {
        let Attempt { origin, began, failure, transport_end, limit, wait, detail } = attempt;
        let ended_at = SystemTime::now();
        let mut outcome =
            Outcome { transport_end, limit, detail, ..Outcome::of(Kind::OpenFailed(failure)) };
        classification::judge(&mut outcome, origin.direction);
        if let (OpenFailure::BackendRefused, Some(status)) = (failure, origin.refused_with()) {
            classification::judge_refusal(&mut outcome, status);
        }
        if let Some(wait) = wait {
            outcome.retry = classification::with_retry_after(outcome.retry, wait);
        }
        Ending {
            id: ConnectionId::new(),
            node: Arc::clone(&self.node),
            origin: Arc::new(origin),
            relay_peer: None,
            opened_at: began,
            ended_at,
            open_for: Duration::ZERO,
            outcome,
            traffic: None,
            tcp: None,
        }
    }
}

impl Unclaimed {
    /// Offers a connection of this origin.
    pub(crate) fn new(recorder: &Arc<Recorder>, origin: &Arc<Origin>) -> Self {
        let offered = Some((Arc::clone(origin), SystemTime::now()));
        Self { recorder: Arc::clone(recorder), offered }
    }

    /// Takes the duty over: the connection is entered into the registry.
    pub(crate) fn claim(mut self) {
        self.offered = None;
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        let Some((origin, began)) = self.offered.take() else { return };
        let detail = "this end stopped when the opening handshake was complete".to_owned();
        self.recorder.record(Attempt {
            origin: Origin::clone(&origin),
            began,
            failure: OpenFailure::RefusedDraining,
            transport_end: Some(TransportEnd::Local),
            limit: None,
            wait: None,
            detail,
        });
    }
}
