//! Events and endings as they come.

use std::sync::Arc;

use futures_util::Stream;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::node::endings::{EndingQueue, MissedEndings};
use crate::vocabulary::{Ending, Event, Published, Record};

/// The events of a supervisor, from the moment it was asked for.
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

    /// Returns the place in the order of commits of the last event before this stream: what was
    /// committed up to there is in the ledger, and what comes behind it is in here.
    ///
    /// `None` if this process has not told of any that has a place.
    pub fn begins_after(&self) -> Option<u64> {
        self.begins_after
    }

    /// Returns the next event with what became of its record, if it is here already.
    pub fn try_next_published(&mut self) -> Option<Published> {
        match self.events.try_recv() {
            Ok(published) => Some(published),
            Err(TryRecvError::Lagged(missed)) => Some(gap(missed)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }

    /// Returns the next event; `None` once the supervisor was shut down, or is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.next_published().await.map(|published| published.event)
    }

    /// Returns the next event with what became of its record; `None` once the supervisor was shut down,
    /// or is gone. Cancel safe.
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

/// The endings of a supervisor, failed attempts included, from the moment it was asked for.
///
/// A reader sees every ending, or how many it missed: one that falls further behind than
/// [`Builder::ending_backlog`] gets a [`MissedEndings`] in place of the oldest. Attempts beyond
/// `ledger.open_failed_per_second` are only counted, and count as missed.
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

    /// Returns the next ending, or how many were missed before it; `None` once the supervisor was shut
    /// down, or is gone, and everything was read. Cancel safe.
    ///
    /// # Errors
    /// [`MissedEndings`]; the next call goes on behind them.
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
