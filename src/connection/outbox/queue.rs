//! The queue of an outbox: a line of frames, a gate at its end, and the two slots of the control
//! frames that answer and ask. It knows of no lock, no budget and no clock.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::amounts::{Freed, Left, Lost};
use super::item::{Carries, Item};
use super::leg::Passing;
use super::line::{Flight, Line};
use super::prepared::Prepared;
use crate::protocol::frame_encoder::Opcode;
use crate::vocabulary::{CloseFrame, Message, Role};

/// So many Pings in a row are each answered, as far as the peer reads its Pongs; of more, the newest
/// (section 5.5.3 lets us answer only the last).
const MAX_PONGS: usize = 16;

#[derive(Debug)]
pub(super) struct Queue {
    role: Role,
    pub(super) line: Line,
    /// Bytes of frames that hold data.
    bytes: usize,
    /// What they take in memory, in bytes. Pings, Pongs and our Close are few and small, by number
    /// and by RFC 6455 section 5.5, and count in neither.
    memory: usize,
    /// Of `memory`, how much the memory budget was not charged with.
    uncharged: usize,
    pub(super) ping: Option<[u8; 4]>,
    /// Pongs that wait for their place.
    pub(super) pongs: VecDeque<Box<[u8]>>,
    /// Pongs that have it.
    pongs_placed: usize,
    gate: Gate,
    shed: Lost,
    /// What a relay passes on, if this is a leg of one.
    pub(super) passing: Option<Box<Passing>>,
}

/// Who may still put something in: it only ever narrows. It is all that a message sees of the closing
/// handshake, so that sending takes no lock but the queue's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gate {
    Open,
    /// No more data is accepted; our Close is about to be.
    Refusing,
    /// Nothing is accepted any more.
    Shut,
    /// Nothing is accepted any more, and our Close is, or was, the last item.
    CloseQueued,
}

/// What leaves the queue, in bytes: on the wire and in memory.
#[derive(Debug, Default, Clone, Copy)]
struct Sizes {
    bytes: usize,
    memory: usize,
}

impl Queue {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            line: Line::default(),
            bytes: 0,
            memory: 0,
            uncharged: 0,
            ping: None,
            pongs: VecDeque::new(),
            pongs_placed: 0,
            gate: Gate::Open,
            shed: Lost::default(),
            passing: None,
        }
    }

    pub(super) fn gate(&self) -> Gate {
        self.gate
    }

    pub(super) fn narrow(&mut self, to: Gate) {
        self.gate = self.gate.max(to);
    }

    /// Returns the bytes of data that are queued.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the memory of what is queued, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Returns how much of it is still free to be dropped.
    pub(super) fn sheddable(&self) -> usize {
        match self.passing {
            None => self.memory - data_of(self.line.committed()),
            // What passes is never dropped, or the other leg's message would have a hole.
            Some(_) => data_of(self.line.waiting()) + self.own_memory(),
        }
    }

    /// Returns how much of it is in flight and would be free to be dropped if it were not.
    pub(super) fn airborne(&self) -> usize {
        data_of(self.line.airborne())
    }

    /// Returns since when the oldest message waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let oldest = self.line.iter().find_map(|item| match &item.carries {
            Carries::Data { queued_at } => Some(*queued_at),
            Carries::Passed(passed) => Some(passed.queued_at),
            Carries::Ping | Carries::Pong | Carries::Close => None,
        });
        oldest.into_iter().chain(self.oldest_own()).min()
    }

    /// Appends a message; the caller has seen that the gate is open.
    pub(super) fn push(&mut self, message: &Message, now: Instant) {
        let item = Item::message(self.role, message, now);
        self.count(&item);
        self.append_message(item);
    }

    /// Counts an item of data that is about to be queued.
    pub(super) fn count(&mut self, item: &Item) {
        self.bytes += item.size();
        self.memory += item.memory();
    }

    /// Appends a message that the memory budget was not charged with.
    pub(super) fn push_uncharged(&mut self, message: &Message, now: Instant) {
        let before = self.memory;
        self.push(message, now);
        self.uncharged += self.memory - before;
    }

    /// Returns what the memory budget was not charged with; from now on it was.
    pub(super) fn take_uncharged(&mut self) -> usize {
        std::mem::take(&mut self.uncharged)
    }

    fn free(&mut self, Sizes { bytes, memory }: Sizes) -> Freed {
        self.bytes -= bytes;
        self.memory -= memory;
        let uncharged = self.uncharged.min(memory);
        self.uncharged -= uncharged;
        Freed { memory, charged: memory - uncharged }
    }

    /// Writes a message right away if nothing waits before it and it is small enough; what `write`
    /// did not take is queued. Returns whether all of it left.
    pub(super) fn push_writing(
        &mut self,
        prepared: &Prepared,
        now: Instant,
        write: impl FnOnce(&[u8]) -> usize,
    ) -> bool {
        let idle = self.line.is_empty() && self.ping.is_none() && self.pongs.is_empty();
        let idle = idle && !self.is_mid_message();
        let message = |queue: &Self| Item::message(queue.role, prepared.message(), now);
        let (item, written) = match (self.role, prepared.frame().filter(|_| idle)) {
            (Role::Server, Some(frame)) => match write(frame) {
                all if all == frame.len() => return true,
                part => (message(self), part),
            },
            (Role::Client, Some(_unmasked)) => {
                let item = message(self);
                match write(&[item.header.as_bytes(), &item.payload].concat()) {
                    all if all == item.size() => return true,
                    part => (item, part),
                }
            }
            (Role::Server | Role::Client, None) => (message(self), 0),
        };
        self.count(&item);
        if written > 0 {
            // It was written because nothing waits, so there is nothing that it would wait for.
            self.line.push_begun(item, written);
        } else {
            self.append_message(item);
        }
        false
    }

    /// Appends our Close and shuts the gate; `false` if that is not possible any more.
    pub(super) fn append_close(&mut self, frame: &CloseFrame) -> bool {
        match self.gate {
            Gate::Open | Gate::Refusing => {}
            Gate::CloseQueued | Gate::Shut => return false,
        }
        self.gate = Gate::CloseQueued;
        let payload = frame.payload().into();
        let close = Item::encode(self.role, Opcode::Close, payload, Carries::Close);
        if let Some(close) = self.hold_close(close) {
            self.line.push(close);
        }
        true
    }

    /// Keeps a Ping until it can go; one that has not gone is replaced.
    pub(super) fn ping(&mut self, payload: [u8; 4]) {
        self.ping = Some(payload);
    }

    /// Keeps a Pong until it can go; of too many that have not gone, the oldest gives way.
    pub(super) fn pong(&mut self, payload: Box<[u8]>) {
        if self.pongs.len() >= MAX_PONGS {
            self.pongs.pop_front();
        }
        self.pongs.push_back(payload);
    }

    /// Drops the oldest message that waits; returns what that frees.
    pub(super) fn shed_oldest(&mut self) -> Option<Freed> {
        match self.line.remove_first(Item::is_data) {
            Some(item) => Some(self.shed(&item)),
            None => self.shed_own(),
        }
    }

    /// Drops all messages that wait in the line; returns what that frees.
    pub(super) fn shed_all(&mut self) -> Freed {
        let (mut lost, mut freed) = (Lost::default(), Sizes::default());
        self.line.remove_all(Item::is_data, |item| {
            lost.add(item.payload.len());
            freed.add(item);
        });
        self.shed.messages += lost.messages;
        self.shed.bytes += lost.bytes;
        self.free(freed)
    }

    /// Counts a message that was dropped; returns what that frees.
    pub(super) fn shed(&mut self, item: &Item) -> Freed {
        self.shed.add(item.payload.len());
        let mut freed = Sizes::default();
        freed.add(item);
        self.free(freed)
    }

    /// Counts a message that was accepted and dropped at once.
    pub(super) fn shed_newest(&mut self, message: &Message) {
        self.shed.add(message.len());
    }

    /// Gathers what is to be written next; what is small is copied into `scratch`.
    pub(super) fn gather(&mut self, scratch: &mut [u8]) -> Option<Flight> {
        self.place_controls();
        self.line.gather(scratch)
    }

    /// Records that a flight is over and that the transport may have its bytes all the same.
    pub(super) fn hold(&mut self, flight: Flight) {
        self.line.hold(flight);
    }

    /// Records that the transport took `taken` bytes of a flight; returns what left whole, and
    /// what that frees.
    pub(super) fn land(&mut self, flight: Flight, taken: usize) -> (Left, Freed) {
        let mut left = Left { bytes: taken, ..Left::default() };
        let mut freed = Sizes::default();
        self.line.land(flight, taken);
        while let Some(mut item) = self.line.pop_left() {
            let size = item.size();
            match item.carries {
                Carries::Data { .. } => {
                    freed.add(&item);
                    left.messages += 1;
                    left.payload_bytes += item.payload.len() as u64;
                }
                Carries::Passed(ref mut passed) => {
                    passed.settle(size, &mut left);
                    self.settle_passed(passed);
                    freed.add(&item);
                }
                Carries::Ping => left.ping = Some(size as u64),
                Carries::Pong => self.pongs_placed -= 1,
                Carries::Close => left.close = true,
            }
        }
        if let Some((Item { carries: Carries::Passed(passed), .. }, begun)) = self.line.begun() {
            passed.settle(begun, &mut left);
        }
        left.more = !self.is_empty();
        self.line.shrink();
        (left, self.free(freed))
    }

    /// Returns whether nothing waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        let silent = self.ping.is_none() && self.pongs.is_empty();
        self.line.is_empty() && (silent || self.close_has_begun() || self.is_mid_frame())
    }

    /// Returns the messages that wait.
    pub(super) fn waiting(&self) -> Lost {
        let mut waiting = Lost::default();
        for item in self.line.iter().filter(|item| item.is_data()) {
            waiting.add(item.payload.len());
        }
        self.add_passed(&mut waiting);
        waiting
    }

    /// Drops what is left and says what that was, with all that was shed before, since when the
    /// oldest of it waited, and what that frees.
    pub(super) fn end(&mut self) -> (Lost, Option<Instant>, Freed) {
        self.narrow(Gate::Shut);
        let oldest = self.oldest();
        let mut lost = std::mem::take(&mut self.shed);
        self.add_passed(&mut lost);
        self.end_passing(&mut lost);
        for item in self.line.end().iter().filter(|item| item.is_data()) {
            lost.add(item.payload.len());
        }
        self.pongs_placed = 0;
        self.pongs.clear();
        self.ping = None;
        (lost, oldest, self.free(Sizes { bytes: self.bytes, memory: self.memory }))
    }

    /// Puts a waiting Ping and Pongs between messages, as near to the front as can be: behind what
    /// has begun to leave, never inside a frame (RFC 6455 section 5.4) and never behind our Close
    /// (section 5.5.1).
    fn place_controls(&mut self) {
        if self.ping.is_none() && self.pongs.is_empty() || self.close_has_begun() {
            return;
        }
        let Some(gap) = self.line.first_gap(self.is_mid_frame()) else { return };
        if let Some(payload) = self.ping.take() {
            let payload = Bytes::copy_from_slice(&payload);
            self.line.insert(gap, Item::encode(self.role, Opcode::Ping, payload, Carries::Ping));
        }
        // Placed Pongs keep their order, and their number: a peer that pings and does not read
        // makes nothing grow.
        while self.pongs_placed < MAX_PONGS
            && let Some(payload) = self.pongs.pop_front()
        {
            let pong = Item::encode(self.role, Opcode::Pong, payload.into(), Carries::Pong);
            self.line.insert(gap, pong);
            self.pongs_placed += 1;
        }
        if self.pongs.is_empty() {
            self.pongs = VecDeque::new();
        }
    }

    /// A Ping or Pong that still waits never goes.
    fn close_has_begun(&self) -> bool {
        self.gate == Gate::CloseQueued
            && match self.line.is_empty() {
                true => !self.holds_close(),
                false => self.line.has_committed_close(),
            }
    }
}

/// Sums up the memory of the messages among `items`.
fn data_of<'a>(items: impl Iterator<Item = &'a Item>) -> usize {
    items.filter(|item| item.is_data()).map(Item::memory).sum()
}

impl Sizes {
    fn add(&mut self, item: &Item) {
        self.bytes += item.size();
        self.memory += item.memory();
    }
}
