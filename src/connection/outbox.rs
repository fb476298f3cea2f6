//! What a connection has to send: one small queue, bounded by the memory it takes, with a gate at its
//! end.
//!
//! Under one lock a close appends our Close as the last item and shuts the gate, so that nothing
//! can follow it (RFC 6455 section 5.5.1); the whole argument is in `connection::closing`. Pings and
//! Pongs wait in places of their own, few of them, and go between messages: a peer that pings and
//! never reads cannot grow anything.

mod amounts;
mod item;
mod leg;
mod line;
mod passing;
mod prepared;
mod queue;

use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::budget::MemoryBudget;
use crate::vocabulary::{CloseFrame, Message, Role};
pub(crate) use amounts::{Left, Lost};
use item::Item;
pub(crate) use passing::Passable;
pub(crate) use prepared::Prepared;
use queue::{Gate, Queue};

#[cfg(test)]
mod tests;

/// The outbox of one connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    /// Told when there is room, and when the gate shuts.
    room: Notify,
    limit: usize,
    budget: Arc<MemoryBudget>,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A close was accepted before, or the connection is at its end.
    Closing,
    /// No room: the memory of what is queued, and the limit, in bytes.
    Full { queued: usize, limit: usize },
    /// It is a leg of a relay that takes only what the other leg passes on.
    Relayed,
    /// This outbox has room, the memory of all has not: what is queued here, and the limit of all.
    NoMemory { queued: usize, limit: usize },
}

impl Outbox {
    pub(crate) fn new(role: Role, limit: u64, budget: Arc<MemoryBudget>) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { queue: Mutex::new(Queue::new(role)), room: Notify::new(), limit, budget }
    }

    /// Takes a message if there is room; an empty outbox always has room for one.
    pub(crate) fn try_push(&self, message: &Message, now: Instant) -> Result<(), Refused> {
        let queue = self.lock_open()?;
        self.push_if_it_fits(queue, message, now)
    }

    fn push_if_it_fits(
        &self,
        mut queue: MutexGuard<'_, Queue>,
        message: &Message,
        now: Instant,
    ) -> Result<(), Refused> {
        let size = Item::memory_of(message.len());
        if !self.fits(queue.memory(), size) {
            return Err(Refused::Full { queued: queue.memory(), limit: self.limit });
        }
        if !self.budget.try_charge(size as u64) {
            return Err(self.no_memory(&queue));
        }
        queue.push(message, now);
        Ok(())
    }

    /// Like [`Outbox::try_push`], but where nothing waits, `write` may take the message right away;
    /// tells whether it took all of it.
    ///
    /// It writes under the lock: no other task writes while nothing waits, so frames stay in order.
    pub(crate) fn try_push_writing(
        &self,
        prepared: &Prepared,
        now: Instant,
        write: impl FnOnce(&[u8]) -> usize,
    ) -> Result<bool, Refused> {
        let mut queue = self.lock_open()?;
        let size = Item::memory_of(prepared.message().len());
        if !self.fits(queue.memory(), size) {
            return Err(Refused::Full { queued: queue.memory(), limit: self.limit });
        }
        if self.budget.is_exhausted() {
            return Err(self.no_memory(&queue));
        }
        let left = queue.push_writing(prepared, now, write);
        if !left {
            // Part of it may have gone: what is left cannot be refused any more.
            self.budget.charge(size as u64);
        }
        Ok(left)
    }

    /// Takes a message that is in memory already; the caller has seen [`Outbox::has_room`], and is
    /// about to write.
    ///
    /// It is charged only once a write of it finds no room: the budget is a piece of memory that all
    /// threads share, and most echoes leave at once.
    pub(crate) fn push_moved(&self, message: &Message, now: Instant) -> Result<(), Refused> {
        let mut queue = self.lock_open()?;
        queue.push_uncharged(message, now);
        Ok(())
    }

    /// Drops the oldest messages that wait until `message` fits, and takes it; drops none if that
    /// would not be enough.
    ///
    /// What is being written at this moment cannot be dropped, and takes no room: it is with the
    /// kernel, or can be dropped, as soon as that write returns.
    pub(crate) fn push_over_oldest(&self, message: &Message, now: Instant) -> Result<(), Refused> {
        let mut queue = self.lock_open()?;
        let size = Item::memory_of(message.len());
        let airborne = queue.airborne();
        let stays = queue.memory() - queue.sheddable() - airborne;
        if stays > 0 && stays + size > self.limit {
            return Err(Refused::Full { queued: queue.memory(), limit: self.limit });
        }
        let full = |queue: &Queue| !self.fits(queue.memory() - airborne, size);
        while full(&queue) && self.shed_oldest(&mut queue) > 0 {}
        if !self.budget.try_charge(size as u64) {
            if queue.sheddable() < size {
                return Err(self.no_memory(&queue));
            }
            let mut freed = 0;
            while freed < size {
                freed += self.shed_oldest(&mut queue);
            }
            self.budget.charge(size as u64);
        }
        queue.push(message, now);
        Ok(())
    }

    /// Takes a message and drops it at once, as `on_full` says; it is counted.
    pub(crate) fn shed_newest(&self, message: &Message) -> Result<(), Refused> {
        self.lock_open()?.shed_newest(message);
        Ok(())
    }

    /// Appends our Close behind what is queued and accepts nothing more, in one step. `report` runs
    /// before the lock is released, so every later report about this Close comes behind it.
    ///
    /// Returns `false`, and changes nothing, if that was done before.
    pub(crate) fn close(&self, frame: &CloseFrame, report: impl FnOnce()) -> bool {
        let accepted = {
            let mut queue = self.queue.lock();
            let accepted = queue.append_close(frame);
            if accepted {
                report();
            }
            accepted
        };
        self.room.notify_waiters();
        accepted
    }

    /// Like [`Outbox::close`], for the decider, which needs no report; with `shed`, what waits is
    /// dropped and counted. It does not wait for the end of a message that passes.
    pub(crate) fn close_decided(&self, frame: &CloseFrame, shed: bool) -> bool {
        let accepted = {
            let mut queue = self.queue.lock();
            if shed {
                self.budget.release(queue.shed_all().charged as u64);
            }
            let freed = queue.give_up_message_end();
            self.budget.release(freed.charged as u64);
            queue.append_close(frame)
        };
        self.room.notify_waiters();
        accepted
    }

    /// Accepts no more data; our Close may still be appended.
    pub(crate) fn refuse(&self) {
        self.narrow(Gate::Refusing, || ());
    }

    /// Accepts nothing more; what is queued may still leave.
    pub(crate) fn shut(&self) {
        self.shut_reporting(|| ());
    }

    /// Like [`Outbox::shut`]; `report` runs before the lock is released, as in [`Outbox::close`].
    pub(crate) fn shut_reporting(&self, report: impl FnOnce()) {
        self.narrow(Gate::Shut, report);
    }

    fn narrow(&self, to: Gate, report: impl FnOnce()) {
        {
            let mut queue = self.queue.lock();
            queue.narrow(to);
            report();
        }
        self.room.notify_waiters();
    }

    /// Returns whether messages are accepted.
    #[cfg(test)]
    pub(crate) fn is_open(&self) -> bool {
        self.queue.lock().gate() == Gate::Open
    }

    /// Returns whether a close was accepted, or is about to be.
    pub(crate) fn has_close(&self) -> bool {
        match self.queue.lock().gate() {
            Gate::Refusing | Gate::CloseQueued => true,
            Gate::Open | Gate::Shut => false,
        }
    }

    /// Returns whether a message need not wait: it would find room, or be refused at once.
    pub(crate) fn has_room(&self) -> bool {
        let queue = self.queue.lock();
        queue.gate() != Gate::Open || queue.memory() < self.limit
    }

    /// Returns the bytes of data that are queued, and since when the oldest waits.
    pub(crate) fn backlog(&self) -> (usize, Option<Instant>) {
        let queue = self.queue.lock();
        (queue.bytes(), queue.oldest())
    }

    /// Returns the memory of the data that is queued, in bytes: what `limits.outbox_bytes` bounds.
    pub(crate) fn memory(&self) -> usize {
        self.queue.lock().memory()
    }

    /// Returns the messages that wait, and since when the oldest of them does.
    pub(crate) fn waiting(&self) -> (Lost, Option<Instant>) {
        let queue = self.queue.lock();
        (queue.waiting(), queue.oldest())
    }

    /// Waits until there may be room, or the gate has shut. Cancel safe.
    pub(crate) fn room(&self) -> tokio::sync::futures::Notified<'_> {
        self.room.notified()
    }

    /// Answers a Ping; of many answers that have not left, the oldest give way.
    pub(crate) fn pong(&self, payload: &[u8]) {
        self.queue.lock().pong(payload.into());
    }

    /// Sends a Ping.
    pub(crate) fn ping(&self, payload: [u8; 4]) {
        self.queue.lock().ping(payload);
    }

    /// Writes what is to be written next: gathers it, small items beside each other in `scratch`,
    /// calls `write` with it once, without the lock, and takes note of what that took. `None` if
    /// nothing waits.
    ///
    /// Until `write` returns, what was gathered stays as it is, whatever others do meanwhile. If it
    /// fails, or is pending, what had not begun to leave can be dropped again; unless the transport
    /// `holds_pending` bytes, see [`Transport::holds_pending`]: then it stays until they have left.
    ///
    /// Only the owner of the transport may call it, with a `scratch` of always the same size.
    ///
    /// [`Transport::holds_pending`]: crate::transport::socket::Transport::holds_pending
    pub(crate) fn write(
        &self,
        scratch: &mut [u8],
        holds_pending: bool,
        write: impl FnOnce(&[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<Option<io::Result<Left>>> {
        let Some(flight) = self.queue.lock().gather(scratch) else { return Poll::Ready(None) };
        let bytes = flight.bytes(scratch);
        let written = write(bytes);
        let taken = match &written {
            Poll::Ready(Ok(taken)) => (*taken).min(bytes.len()),
            Poll::Ready(Err(_)) => 0,
            Poll::Pending => {
                let mut queue = self.queue.lock();
                if holds_pending {
                    queue.hold(flight);
                } else {
                    queue.land(flight, 0);
                }
                // What the kernel does not take now is seen to stay.
                self.budget.charge(queue.take_uncharged() as u64);
                return Poll::Pending;
            }
        };
        let (left, freed) = {
            let mut queue = self.queue.lock();
            let (mut left, freed) = queue.land(flight, taken);
            left.room = taken > 0 && queue.makes_room(self.limit);
            (left, freed)
        };
        self.budget.release(freed.charged as u64);
        if freed.memory > 0 {
            self.room.notify_waiters();
        }
        written.map(|written| Some(written.map(|_| left)))
    }

    /// Returns whether nothing waits to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.lock().is_empty()
    }

    /// Ends the queue: drops what is left and says what that was, with all that was shed before.
    pub(crate) fn end(&self) -> (Lost, Option<Instant>) {
        let (lost, oldest, freed) = self.queue.lock().end();
        self.budget.release(freed.charged as u64);
        self.room.notify_waiters();
        (lost, oldest)
    }

    fn fits(&self, queued: usize, size: usize) -> bool {
        queued == 0 || queued + size <= self.limit
    }

    fn no_memory(&self, queue: &Queue) -> Refused {
        let limit = usize::try_from(self.budget.limit()).unwrap_or(usize::MAX);
        Refused::NoMemory { queued: queue.memory(), limit }
    }

    /// Drops the oldest message that can be; returns the memory that frees.
    fn shed_oldest(&self, queue: &mut Queue) -> usize {
        let freed = queue.shed_oldest().unwrap_or_default();
        self.budget.release(freed.charged as u64);
        freed.memory
    }

    fn lock_open(&self) -> Result<MutexGuard<'_, Queue>, Refused> {
        let queue = self.queue.lock();
        match refusal(&queue) {
            None => Ok(queue),
            Some(refused) => Err(refused),
        }
    }
}

/// Returns why no message is taken, if none is.
fn refusal(queue: &Queue) -> Option<Refused> {
    match queue.gate() {
        Gate::Open => queue.refuses_own(),
        Gate::Refusing | Gate::CloseQueued | Gate::Shut => Some(Refused::Closing),
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.end();
    }
}
