//! Our own messages on a leg of a relay, while a message that passes keeps them waiting.
//!
//! The fragments of a message stand together (RFC 6455 section 5.4): a message of our own that is
//! accepted between them waits for the last one, and goes before the message that follows. It counts
//! as queued from the beginning; only the other leg is not held up by it, or it would wait for what
//! waits for it.

use std::time::Instant;

use crate::connection::outbox::amounts::{Freed, Lost};
use crate::connection::outbox::item::{Carries, Item};
use crate::connection::outbox::queue::Queue;

impl Queue {
    /// Appends a message of our own, or lets it wait for the end of the one that passes.
    pub(in crate::connection::outbox) fn append_message(&mut self, item: Item) {
        match &mut self.passing {
            Some(passing) if passing.unfinished.is_some() => {
                passing.own.memory += item.memory();
                passing.own.items.push_back(item);
            }
            Some(_) | None => self.line.push(item),
        }
    }

    /// Returns whether a message of our own would have to wait for the end of another.
    pub(in crate::connection::outbox) fn is_mid_message(&self) -> bool {
        self.passing.as_ref().is_some_and(|passing| passing.unfinished.is_some())
    }

    /// Returns the memory of our own messages that wait for the end of another, in bytes.
    pub(in crate::connection::outbox) fn own_memory(&self) -> usize {
        self.passing.as_ref().map_or(0, |passing| passing.own.memory)
    }

    /// Returns since when the oldest of them waits.
    pub(in crate::connection::outbox) fn oldest_own(&self) -> Option<Instant> {
        match self.passing.as_ref()?.own.items.front()?.carries {
            Carries::Data { queued_at } => Some(queued_at),
            Carries::Passed(_) | Carries::Ping | Carries::Pong | Carries::Close => None,
        }
    }

    /// Appends what waited for the end of a message, which has come.
    pub(super) fn append_own(&mut self) {
        if let Some(passing) = &mut self.passing {
            self.line.append(&mut std::mem::take(&mut passing.own).items);
        }
    }

    /// Drops the oldest message that waits for the end of another; returns what that frees.
    pub(in crate::connection::outbox) fn shed_own(&mut self) -> Option<Freed> {
        let own = &mut self.passing.as_mut()?.own;
        let item = own.items.pop_front()?;
        own.memory -= item.memory();
        Some(self.shed(&item))
    }

    /// Adds those that wait.
    pub(super) fn add_own(&self, lost: &mut Lost) {
        if let Some(passing) = &self.passing {
            passing.own.items.iter().for_each(|item| lost.add(item.payload.len()));
        }
    }

    /// Waits no longer for the end of a message: what waited for it is dropped and counted, and a
    /// Close that stood behind it goes. Returns what that frees.
    pub(in crate::connection::outbox) fn give_up_message_end(&mut self) -> Freed {
        let mut freed = Freed::default();
        while let Some(shed) = self.shed_own() {
            freed.add(shed);
        }
        let held = self.passing.as_mut().filter(|passing| !passing.tail_cut);
        if let Some(close) = held.and_then(|passing| passing.close.take()) {
            self.line.push(close);
        }
        freed
    }
}

#[cfg(test)]
mod tests;
