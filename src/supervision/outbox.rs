//! What a connection has to send: one small queue, bounded in bytes, with a gate at its end.
//!
//! Under one lock a close appends our Close as the last item and shuts the gate, so that nothing
//! can follow it (RFC 6455 section 5.5.1). Pings and Pongs wait in slots of their own, one each,
//! and go between messages: a peer that pings and never reads cannot grow anything.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::memory::MemoryBudget;
use crate::protocol::closing_handshake::CloseRequest;
use crate::protocol::frame_encoder::{EncodedHeader, Opcode, apply_mask};
use crate::vocabulary::{CloseFrame, Message, Role};

/// Payloads up to this size are copied beside each other and written at once; larger ones are
/// written from where they are. Bytes.
const COPY_UP_TO: usize = 16 * 1024;

/// The outbox of one connection.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    /// Told when there is room, and when the gate shuts.
    room: Notify,
    role: Role,
    limit: usize,
    budget: Arc<MemoryBudget>,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    /// Bytes of the first item that the kernel has.
    begun: usize,
    /// Bytes of frames that hold data.
    bytes: usize,
    ping: Option<[u8; 4]>,
    pong: Option<Box<[u8]>>,
    gate: Gate,
    /// A close that was accepted and that the decider has not heard of.
    request: Option<CloseRequest>,
    shed: Lost,
}

/// Who may still put something in: it only ever narrows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gate {
    #[default]
    Open,
    /// No more data is accepted; our Close is about to be.
    Refusing,
    /// Nothing is accepted any more.
    Shut,
    /// Nothing is accepted any more, and our Close is, or was, the last item.
    CloseQueued,
}

#[derive(Debug)]
struct Item {
    header: EncodedHeader,
    payload: Bytes,
    carries: Carries,
}

#[derive(Debug, Clone, Copy)]
enum Carries {
    Data { queued_at: Instant },
    Ping,
    Pong,
    Close,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// A close was accepted before, or the connection is at its end.
    Closing,
    /// No room: bytes queued, and the limit.
    Full { queued: usize, limit: usize },
}

/// Messages that were accepted and did not leave whole.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// What is to be written next.
#[derive(Debug)]
pub(super) enum Batch {
    /// Nothing.
    Empty,
    /// So many bytes of the scratch buffer.
    Scratch(usize),
    /// These bytes.
    Direct(Bytes),
}

/// What left whole with a write.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) messages: u64,
    pub(super) payload_bytes: u64,
    /// The size of a Ping's frame.
    pub(super) ping: Option<u64>,
    pub(super) close: bool,
}

impl Outbox {
    pub(super) fn new(role: Role, limit: u64, budget: Arc<MemoryBudget>) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { queue: Mutex::default(), room: Notify::new(), role, limit, budget }
    }

    /// Takes a message if there is room; an empty outbox always has room for one.
    pub(super) fn try_push(&self, message: &Message, now: Instant) -> Result<(), Refused> {
        let mut queue = self.lock();
        if queue.gate != Gate::Open {
            return Err(Refused::Closing);
        }
        let item = self.encode_message(message, now);
        let size = item.size();
        if queue.bytes > 0 && queue.bytes + size > self.limit {
            return Err(Refused::Full { queued: queue.bytes, limit: self.limit });
        }
        if !self.budget.try_charge(size as u64) {
            let limit = usize::try_from(self.budget.limit()).unwrap_or(usize::MAX);
            return Err(Refused::Full { queued: queue.bytes, limit });
        }
        queue.bytes += size;
        queue.items.push_back(item);
        Ok(())
    }

    /// Takes a message that is in memory already and moves from inbox to outbox; the caller has
    /// seen [`Outbox::has_room`].
    pub(super) fn push_moved(&self, message: &Message, now: Instant) -> Result<(), Refused> {
        let mut queue = self.lock();
        if queue.gate != Gate::Open {
            return Err(Refused::Closing);
        }
        let item = self.encode_message(message, now);
        let size = item.size();
        self.budget.charge(size as u64);
        queue.bytes += size;
        queue.items.push_back(item);
        Ok(())
    }

    /// Drops the oldest messages that have not begun to leave until `message` fits, and takes it.
    pub(super) fn push_over_oldest(&self, message: &Message, now: Instant) -> Result<(), Refused> {
        loop {
            match self.try_push(message, now) {
                Err(full @ Refused::Full { .. }) => {
                    if !self.shed_oldest() {
                        return Err(full);
                    }
                }
                settled @ (Ok(()) | Err(Refused::Closing)) => return settled,
            }
        }
    }

    /// Counts a message that was accepted and dropped at once, as `on_full` says.
    pub(super) fn shed_newest(&self, message: &Message) {
        let mut queue = self.lock();
        queue.shed.messages += 1;
        queue.shed.bytes += message.len() as u64;
    }

    /// Appends our Close behind what is queued and accepts nothing more, in one step.
    ///
    /// Returns `false`, and changes nothing, if that was done before.
    pub(super) fn close(&self, request: CloseRequest) -> bool {
        let accepted = {
            let mut queue = self.lock();
            let accepted = self.append_close(&mut queue, &request.frame);
            if accepted {
                queue.request = Some(request);
            }
            accepted
        };
        self.room.notify_waiters();
        accepted
    }

    /// Like [`Outbox::close`], for the decider, which needs not be told; with `shed`, what has not
    /// begun to leave is dropped and counted.
    pub(super) fn close_decided(&self, frame: &CloseFrame, shed: bool) -> bool {
        let accepted = {
            let mut queue = self.lock();
            if shed {
                while self.shed_oldest_of(&mut queue) {}
            }
            self.append_close(&mut queue, frame)
        };
        self.room.notify_waiters();
        accepted
    }

    /// Takes the close that was accepted and that the decider has not heard of.
    pub(super) fn take_request(&self) -> Option<CloseRequest> {
        self.lock().request.take()
    }

    /// Accepts no more data; our Close may still be appended.
    pub(super) fn refuse(&self) {
        self.narrow(Gate::Refusing);
    }

    /// Accepts nothing more; what is queued may still leave.
    pub(super) fn shut(&self) {
        self.narrow(Gate::Shut);
    }

    fn narrow(&self, to: Gate) {
        {
            let mut queue = self.lock();
            queue.gate = queue.gate.max(to);
        }
        self.room.notify_waiters();
    }

    /// Tells whether messages are accepted.
    pub(super) fn is_open(&self) -> bool {
        self.lock().gate == Gate::Open
    }

    /// Tells whether a close was accepted.
    pub(super) fn has_close(&self) -> bool {
        self.lock().gate == Gate::CloseQueued
    }

    /// Tells whether a message would find room.
    pub(super) fn has_room(&self) -> bool {
        let queue = self.lock();
        queue.bytes < self.limit
    }

    /// Returns the bytes of data that are queued, and since when the oldest waits.
    pub(super) fn backlog(&self) -> (usize, Option<Instant>) {
        let queue = self.lock();
        (queue.bytes, queue.oldest())
    }

    /// Waits until there may be room, or the gate has shut. Cancel safe.
    pub(super) fn room(&self) -> tokio::sync::futures::Notified<'_> {
        self.room.notified()
    }

    /// Answers a Ping; an answer that has not left is replaced (section 5.5.3 allows it).
    pub(super) fn pong(&self, payload: &[u8]) {
        self.lock().pong = Some(payload.into());
    }

    /// Sends a Ping.
    pub(super) fn ping(&self, payload: [u8; 4]) {
        self.lock().ping = Some(payload);
    }

    /// Gathers what is to be written next; what fits is copied into `scratch`.
    pub(super) fn gather(&self, scratch: &mut [u8]) -> Batch {
        let mut queue = self.lock();
        self.place_controls(&mut queue);
        let mut skip = queue.begun;
        let mut filled = 0;
        for item in &queue.items {
            let head = item.header.as_bytes();
            let head = &head[skip.min(head.len())..];
            let body = &item.payload[skip.saturating_sub(item.header.as_bytes().len())..];
            if filled == 0 && head.is_empty() && body.len() > COPY_UP_TO {
                let from = item.payload.len() - body.len();
                return Batch::Direct(item.payload.slice(from..));
            }
            skip = 0;
            if scratch.len() - filled < head.len() {
                break;
            }
            scratch[filled..filled + head.len()].copy_from_slice(head);
            filled += head.len();
            if body.len() > COPY_UP_TO || scratch.len() - filled < body.len() {
                // Its header leaves with this batch, its payload with the next.
                break;
            }
            scratch[filled..filled + body.len()].copy_from_slice(body);
            filled += body.len();
        }
        if filled == 0 { Batch::Empty } else { Batch::Scratch(filled) }
    }

    /// Takes note that the kernel has `written` bytes more; returns what left whole.
    pub(super) fn advance(&self, written: usize) -> Left {
        let mut left = Left::default();
        let had_room;
        let has_room;
        {
            let mut queue = self.lock();
            had_room = queue.bytes < self.limit;
            queue.begun += written;
            while let Some(size) = queue.items.front().map(Item::size)
                && size <= queue.begun
            {
                queue.begun -= size;
                let Some(item) = queue.items.pop_front() else { break };
                match item.carries {
                    Carries::Data { .. } => {
                        left.messages += 1;
                        left.payload_bytes += item.payload.len() as u64;
                        queue.bytes -= size;
                        self.budget.release(size as u64);
                    }
                    Carries::Ping => left.ping = Some(size as u64),
                    Carries::Pong => {}
                    Carries::Close => left.close = true,
                }
            }
            if queue.items.is_empty() && queue.items.capacity() > 8 {
                // A burst is over: an idle connection holds no empty slots.
                queue.items = VecDeque::new();
            }
            has_room = queue.bytes < self.limit;
        }
        if left.messages > 0 && (has_room || !had_room) {
            self.room.notify_waiters();
        }
        left
    }

    /// Tells whether nothing waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        let queue = self.lock();
        queue.items.is_empty()
            && (queue.ping.is_none() && queue.pong.is_none() || queue.close_has_left())
    }

    /// Ends the queue: drops what is left and says what that was, with all that was shed before.
    pub(super) fn end(&self) -> (Lost, Option<Instant>) {
        let ended = {
            let mut queue = self.lock();
            queue.gate = queue.gate.max(Gate::Shut);
            let oldest = queue.oldest();
            let mut lost = queue.shed;
            for item in std::mem::take(&mut queue.items) {
                if let Carries::Data { .. } = item.carries {
                    lost.messages += 1;
                    lost.bytes += item.payload.len() as u64;
                }
            }
            self.budget.release(queue.bytes as u64);
            queue.bytes = 0;
            queue.begun = 0;
            queue.shed = Lost::default();
            (lost, oldest)
        };
        self.room.notify_waiters();
        ended
    }

    fn append_close(&self, queue: &mut Queue, frame: &CloseFrame) -> bool {
        match queue.gate {
            Gate::Open | Gate::Refusing => {}
            Gate::CloseQueued | Gate::Shut => return false,
        }
        queue.gate = Gate::CloseQueued;
        queue.items.push_back(self.encode(Opcode::Close, frame.payload().into(), Carries::Close));
        true
    }

    /// Puts a waiting Ping and Pong in front, if the first item has not begun and is not our Close:
    /// between messages, and never after our Close.
    fn place_controls(&self, queue: &mut Queue) {
        if queue.begun > 0 || queue.close_has_left() {
            return;
        }
        if let Some(payload) = queue.ping.take() {
            let payload = Bytes::copy_from_slice(&payload);
            queue.items.push_front(self.encode(Opcode::Ping, payload, Carries::Ping));
        }
        if let Some(payload) = queue.pong.take() {
            queue.items.push_front(self.encode(Opcode::Pong, payload.into(), Carries::Pong));
        }
    }

    fn shed_oldest(&self) -> bool {
        self.shed_oldest_of(&mut self.lock())
    }

    fn shed_oldest_of(&self, queue: &mut Queue) -> bool {
        let first = usize::from(queue.begun > 0);
        let found = queue.items.iter().skip(first).position(Item::is_data);
        let Some(item) = found.and_then(|at| queue.items.remove(first + at)) else { return false };
        queue.bytes -= item.size();
        queue.shed.messages += 1;
        queue.shed.bytes += item.payload.len() as u64;
        self.budget.release(item.size() as u64);
        true
    }

    fn encode_message(&self, message: &Message, now: Instant) -> Item {
        let opcode = match message {
            Message::Text(_) => Opcode::Text,
            Message::Binary(_) => Opcode::Binary,
        };
        self.encode(opcode, message.payload().clone(), Carries::Data { queued_at: now })
    }

    /// A client masks what it sends (section 5.3), with a mask nobody can foretell.
    fn encode(&self, opcode: Opcode, payload: Bytes, carries: Carries) -> Item {
        match self.role {
            Role::Server => {
                let header = EncodedHeader::new(opcode, payload.len(), None);
                Item { header, payload, carries }
            }
            Role::Client => {
                let mask = rand::random();
                let header = EncodedHeader::new(opcode, payload.len(), Some(mask));
                let mut masked = BytesMut::from(payload);
                apply_mask(&mut masked, mask);
                Item { header, payload: masked.freeze(), carries }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing in here panics half-way through a change; a poisoned lock is as good as new.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn oldest(&self) -> Option<Instant> {
        self.items.iter().find_map(|item| match item.carries {
            Carries::Data { queued_at } => Some(queued_at),
            Carries::Ping | Carries::Pong | Carries::Close => None,
        })
    }

    /// Our Close has left: a Ping or Pong that still waits never goes.
    fn close_has_left(&self) -> bool {
        self.gate == Gate::CloseQueued && self.items.is_empty()
    }
}

impl Item {
    fn size(&self) -> usize {
        self.header.as_bytes().len() + self.payload.len()
    }

    fn is_data(&self) -> bool {
        matches!(self.carries, Carries::Data { .. })
    }
}
