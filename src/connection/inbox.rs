//! What came for a backend that takes in its own time: bounded in bytes, read by one consumer.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::budget::MemoryBudget;
use crate::vocabulary::{Message, ReceivedClose};

/// What an allocation takes beside its content: what the allocator adds and rounds up, and the counter
/// that shares the payload. Bytes.
const ALLOCATION: usize = 48;

/// A queue of more slots than this gives them back when less than an eighth is in use.
const MANY_SLOTS: usize = 128;

/// What a receiver receives.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// A whole message.
    Message(Message),
    /// The peer's Close; no message follows it.
    Close(ReceivedClose),
}

/// What was taken out of an inbox.
#[derive(Debug, PartialEq)]
pub(crate) struct Taken {
    pub(crate) incoming: Incoming,
    /// The inbox was full before: reading may have paused, and can go on.
    pub(crate) made_room: bool,
}

/// What was in an inbox when its consumer went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abandoned {
    pub(crate) messages: u64,
    /// The peer's Close was among it.
    pub(crate) close: bool,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    limit: usize,
    budget: Arc<MemoryBudget>,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Incoming>,
    bytes: usize,
    /// How many items the consumer has taken: what progress is.
    taken: u64,
    consumer: Option<Waker>,
    /// Nothing more will come.
    ended: bool,
    /// The consumer is gone: nothing more will be taken.
    abandoned: bool,
}

impl Inbox {
    pub(crate) fn new(limit: u64, budget: Arc<MemoryBudget>) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { queue: Mutex::default(), limit, budget }
    }

    /// Returns whether a message may be put in; an empty inbox always has room for one.
    pub(crate) fn has_room(&self) -> bool {
        let queue = self.queue.lock();
        queue.bytes < self.limit
    }

    /// Puts in what came; gives it back if no receiver is left.
    pub(crate) fn push(&self, incoming: Incoming) -> Result<(), Incoming> {
        let waker = {
            let mut queue = self.queue.lock();
            if queue.abandoned || queue.ended {
                return Err(incoming);
            }
            let size = incoming.size();
            queue.bytes += size;
            self.budget.charge(size as u64);
            queue.items.push_back(incoming);
            queue.consumer.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Says that nothing more will come.
    pub(crate) fn end(&self) {
        let waker = {
            let mut queue = self.queue.lock();
            queue.ended = true;
            queue.consumer.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the next item; `None` at the end. Messages that came before the end come first.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Taken>> {
        let mut queue = self.queue.lock();
        match queue.items.pop_front() {
            Some(incoming) => {
                queue.shrink();
                let size = incoming.size();
                let was_full = queue.bytes >= self.limit;
                queue.bytes -= size;
                queue.taken += 1;
                self.budget.release(size as u64);
                let made_room = was_full && queue.bytes < self.limit;
                Poll::Ready(Some(Taken { incoming, made_room }))
            }
            None if queue.ended => Poll::Ready(None),
            None => {
                match &mut queue.consumer {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    /// Returns how many items were taken so far.
    pub(crate) fn taken(&self) -> u64 {
        self.queue.lock().taken
    }

    /// Returns the memory of what was not taken, in bytes: what `limits.inbox_bytes` bounds.
    pub(crate) fn memory(&self) -> usize {
        self.queue.lock().bytes
    }

    /// Returns whether everything was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.lock().items.is_empty()
    }

    /// Says that nothing more will be taken; returns what that loses.
    pub(crate) fn abandon(&self) -> Abandoned {
        let mut queue = self.queue.lock();
        queue.abandoned = true;
        self.budget.release(queue.bytes as u64);
        queue.bytes = 0;
        let lost = std::mem::take(&mut queue.items);
        let messages =
            lost.iter().filter(|incoming| matches!(incoming, Incoming::Message(_))).count();
        Abandoned { messages: messages as u64, close: messages < lost.len() }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl Queue {
    /// Gives back the slots that a burst has needed.
    fn shrink(&mut self) {
        let (len, slots) = (self.items.len(), self.items.capacity());
        if slots > MANY_SLOTS && len < slots / 8 {
            self.items.shrink_to(4 * len);
        }
    }
}

impl Incoming {
    /// Returns what it takes in memory, its slot in the queue included, in bytes.
    fn size(&self) -> usize {
        let content = match self {
            Self::Message(message) => message.len(),
            Self::Close(close) => close.reason.len(),
        };
        size_of::<Self>() + if content > 0 { content + ALLOCATION } else { 0 }
    }
}

#[cfg(test)]
mod tests;
