//! Readers of endings. Each has a queue of its own; one that is too slow is told how many it missed.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::vocabulary::{Ending, Event, Published, Record};

/// How many endings a reader may be behind, unless something else is said.
pub(crate) const BACKLOG: usize = 65_536;

/// A gap: the reader of endings was too slow, or attempts were only counted.
///
/// What the ledger keeps is complete but for the attempts that it only counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{count} endings were missed: read them faster, or look them up in the ledger")]
pub struct MissedEndings {
    /// How many.
    pub count: u64,
}

/// All readers of a supervisor's endings.
pub(crate) struct EndingReaders {
    backlog: usize,
    readers: Mutex<Readers>,
}

#[derive(Default)]
struct Readers {
    queues: Vec<Weak<EndingQueue>>,
    /// Nothing more will come.
    closed: bool,
}

/// What one reader has yet to read.
#[derive(Debug)]
pub(crate) struct EndingQueue {
    backlog: usize,
    unread: Mutex<Unread>,
    /// Its one reader waits for this.
    told: Notify,
}

#[derive(Debug, Default)]
struct Unread {
    endings: VecDeque<Arc<Ending>>,
    /// Endings that were to come before those.
    missed: u64,
    closed: bool,
}

impl EndingReaders {
    pub(crate) fn new(backlog: usize) -> Self {
        Self { backlog, readers: Mutex::default() }
    }

    /// Makes a reader of what comes from now on.
    pub(crate) fn subscribe(&self) -> Arc<EndingQueue> {
        let mut readers = self.readers.lock();
        let unread = Unread { closed: readers.closed, ..Unread::default() };
        let queue = Arc::new(EndingQueue {
            backlog: self.backlog,
            unread: Mutex::new(unread),
            told: Notify::new(),
        });
        readers.queues.push(Arc::downgrade(&queue));
        queue
    }

    /// Tells all readers of an event that is an ending.
    pub(crate) fn push(&self, published: &Published) {
        let (Event::Ended(ending) | Event::OpenFailed(ending)) = &published.event else { return };
        // One of a flood of attempts, which must not push endings out of slow readers' queues.
        let ending = (published.record != Record::Counted).then_some(ending);
        self.readers.lock().queues.retain(|queue| match queue.upgrade() {
            Some(queue) => {
                queue.push(ending.map(Arc::clone));
                true
            }
            None => false,
        });
    }

    /// Says that nothing more will come.
    pub(crate) fn close(&self) {
        let mut readers = self.readers.lock();
        readers.closed = true;
        for queue in readers.queues.drain(..).filter_map(|queue| queue.upgrade()) {
            queue.unread.lock().closed = true;
            queue.told.notify_one();
        }
    }
}

/// The source of endings is gone.
impl Drop for EndingReaders {
    fn drop(&mut self) {
        self.close();
    }
}

impl EndingQueue {
    fn push(&self, ending: Option<Arc<Ending>>) {
        let mut unread = self.unread.lock();
        match ending {
            Some(ending) => unread.endings.push_back(ending),
            None => unread.missed += 1,
        }
        if unread.endings.len() > self.backlog {
            unread.endings.pop_front();
            unread.missed += 1;
        }
        drop(unread);
        self.told.notify_one();
    }

    /// Returns the next ending, or how many were missed; `None` when nothing more will come. Cancel
    /// safe.
    pub(crate) async fn next(&self) -> Option<Result<Arc<Ending>, MissedEndings>> {
        loop {
            {
                let mut unread = self.unread.lock();
                if unread.missed > 0 {
                    return Some(Err(MissedEndings { count: std::mem::take(&mut unread.missed) }));
                }
                if let Some(ending) = unread.endings.pop_front() {
                    if unread.endings.is_empty() {
                        // A backlog once does not take memory for ever.
                        unread.endings.shrink_to(64);
                    }
                    return Some(Ok(ending));
                }
                if unread.closed {
                    return None;
                }
            }
            self.told.notified().await;
        }
    }
}
