//! One frame of an outbox, or one piece of what a relay passes on.

use std::mem::size_of;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::amounts::Left;
use crate::protocol::frame_encoder::{EncodedHeader, Opcode, apply_mask};
use crate::protocol::passage::MessageEnd;
use crate::vocabulary::{Message, Role};

/// What an allocation takes beside its content: what the allocator adds and rounds up, and the counter
/// that shares the payload. Bytes.
pub(super) const ALLOCATION: usize = 48;

#[derive(Debug)]
pub(super) struct Item {
    pub(super) header: EncodedHeader,
    pub(super) payload: Bytes,
    pub(super) carries: Carries,
}

#[derive(Debug)]
pub(super) enum Carries {
    Data {
        queued_at: Instant,
    },
    /// Frames of the other leg of a relay, as they came.
    Passed(Box<PassedRun>),
    Ping,
    Pong,
    Close,
}

impl Item {
    pub(super) fn message(role: Role, message: &Message, now: Instant) -> Self {
        let carries = Carries::Data { queued_at: now };
        // An empty slice may hold the buffer that it was read from.
        let payload = match message.is_empty() {
            true => Bytes::new(),
            false => message.payload().clone(),
        };
        Self::encode(role, Opcode::of(message), payload, carries)
    }

    /// Encodes a frame; a client masks what it sends with a key that cannot be predicted (RFC 6455
    /// section 5.3).
    pub(super) fn encode(role: Role, opcode: Opcode, payload: Bytes, carries: Carries) -> Self {
        match role {
            Role::Server => {
                let header = EncodedHeader::new(opcode, payload.len(), None);
                Self { header, payload, carries }
            }
            Role::Client => {
                let mask = rand::random();
                let header = EncodedHeader::new(opcode, payload.len(), Some(mask));
                let mut masked = BytesMut::from(payload);
                apply_mask(&mut masked, mask);
                Self { header, payload: masked.freeze(), carries }
            }
        }
    }

    pub(super) fn passed(payload: Bytes, passed: PassedRun) -> Self {
        Self { header: EncodedHeader::empty(), payload, carries: Carries::Passed(Box::new(passed)) }
    }

    /// Returns what it takes on the wire, in bytes.
    pub(super) fn size(&self) -> usize {
        self.header.as_bytes().len() + self.payload.len()
    }

    /// Returns what it takes in memory, its slot in the line included, in bytes.
    pub(super) fn memory(&self) -> usize {
        let more = match &self.carries {
            Carries::Passed(passed) => passed.memory(),
            Carries::Data { .. } | Carries::Ping | Carries::Pong | Carries::Close => 0,
        };
        Self::memory_of(self.payload.len()) + more
    }

    /// Returns what a message with a payload of `len` bytes takes in memory while it waits.
    pub(super) const fn memory_of(len: usize) -> usize {
        size_of::<Self>() + if len > 0 { len + ALLOCATION } else { 0 }
    }

    pub(super) fn is_pong(&self) -> bool {
        matches!(self.carries, Carries::Pong)
    }

    pub(super) fn is_close(&self) -> bool {
        matches!(self.carries, Carries::Close)
    }

    pub(super) fn is_data(&self) -> bool {
        matches!(self.carries, Carries::Data { .. })
    }

    /// Returns whether a frame of our own may stand behind it.
    pub(super) fn ends_frame(&self) -> bool {
        match &self.carries {
            Carries::Passed(passed) => passed.ends_frame,
            Carries::Data { .. } | Carries::Ping | Carries::Pong | Carries::Close => true,
        }
    }
}

/// A piece that waits.
#[derive(Debug)]
pub(super) struct PassedRun {
    pub(super) queued_at: Instant,
    pub(super) ends_frame: bool,
    pub(super) ends: Box<[MessageEnd]>,
    /// How many of these have left.
    pub(super) left: usize,
}

impl PassedRun {
    /// Returns what it takes in memory beside its bytes: where messages end takes more than the
    /// shortest of them do on the wire.
    pub(super) fn memory(&self) -> usize {
        let ends = match self.ends.len() {
            0 => 0,
            ends => ends * size_of::<MessageEnd>() + ALLOCATION,
        };
        size_of::<Self>() + ALLOCATION + ends
    }

    /// Counts the messages that end in the first `begun` bytes.
    pub(super) fn settle(&mut self, begun: usize, left: &mut Left) {
        while let Some(end) = self.ends.get(self.left)
            && end.at <= begun
        {
            self.left += 1;
            left.messages += 1;
            left.payload_bytes += end.payload;
        }
    }
}
