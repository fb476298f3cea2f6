//! Streams of events and of endings.

use std::sync::Arc;

use futures_util::Stream;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::node::endings::{EndingQueue, MissedEndings};
use crate::vocabulary::{Ending, Event, Published, Record};

/// A subscription to the events of a supervisor.
///
/// A reader that falls more than 4,096 events behind gets [`Event::Gap`] in place of the oldest.
#[derive(Debug)]
pub struct EventStream {
    events: broadcast::Receiver<Published>,
    begins_after: Option<u64>,
}

impl EventStream {
    pub(super) fn new(
        (events, begins_after): (broadcast::Receiver<Published>, Option<u64>),
    ) -> Self {
        Self { events, begins_after }
    }

    /// Returns the position in the ledger of the last event before this stream: everything up to it
    /// is in the ledger, and everything after it is in this stream.
    ///
    /// `None` if this process has published no event with a position.
    pub fn begins_after(&self) -> Option<u64> {
        self.begins_after
    }

    /// Returns the next event and the state of its record, if one is queued.
    pub fn try_next_published(&mut self) -> Option<Published> {
        match self.events.try_recv() {
            Ok(published) => Some(published),
            Err(TryRecvError::Lagged(missed)) => Some(gap(missed)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }

    /// Returns the next event, or `None` once the supervisor has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.next_published().await.map(|published| published.event)
    }

    /// Returns the next event and the state of its record, or `None` once the supervisor has ended.
    /// Cancel safe.
    pub async fn next_published(&mut self) -> Option<Published> {
        match self.events.recv().await {
            Ok(published) => Some(published),
            Err(RecvError::Lagged(missed)) => Some(gap(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    /// Turns it into a [`Stream`].
    pub fn into_stream(self) -> impl Stream<Item = Event> + Send {
        futures_util::stream::unfold(self, async |mut events| Some((events.next().await?, events)))
    }
}

fn gap(missed: u64) -> Published {
    Published { event: Event::Gap(missed), record: Record::None }
}

/// A subscription to the endings of a supervisor, including failed attempts.
///
/// A reader that falls further behind than [`Builder::ending_backlog`] gets a [`MissedEndings`]
/// with their number in place of the oldest. Failed attempts beyond `ledger.open_failed_per_second`
/// count as missed.
///
/// [`Builder::ending_backlog`]: super::Builder::ending_backlog
#[derive(Debug)]
pub struct EndingStream {
    queue: Arc<EndingQueue>,
}

impl EndingStream {
    pub(super) fn new(queue: Arc<EndingQueue>) -> Self {
        Self { queue }
    }

    /// Returns the next ending, or `None` once the supervisor has ended and all were read. Cancel
    /// safe.
    ///
    /// # Errors
    /// Endings were missed; the next call continues after them.
    pub async fn next(&mut self) -> Option<Result<Arc<Ending>, MissedEndings>> {
        self.queue.next().await
    }

    /// Turns it into a [`Stream`].
    pub fn into_stream(self) -> impl Stream<Item = Result<Arc<Ending>, MissedEndings>> + Send {
        futures_util::stream::unfold(self, async |mut endings| {
            Some((endings.next().await?, endings))
        })
    }
}
