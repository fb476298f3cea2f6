//! A message to many connections, encoded once.

use crate::protocol::frame_encoder::{EncodedHeader, Opcode};
use crate::vocabulary::Message;

/// Frames up to this size are written by the broadcasting thread; larger ones would keep it, and the
/// outbox locked, for too long. Bytes.
const WRITE_UP_TO: usize = 64 * 1024;

/// A message and, if it is small enough to be written under a lock, its frame as a server sends it.
#[derive(Debug)]
pub(crate) struct Prepared {
    message: Message,
    frame: Option<Box<[u8]>>,
}

impl Prepared {
    pub(crate) fn new(message: Message) -> Self {
        let header = EncodedHeader::new(Opcode::of(&message), message.len(), None);
        let small = header.as_bytes().len() + message.len() <= WRITE_UP_TO;
        let frame = small.then(|| [header.as_bytes(), message.payload()].concat().into());
        Self { message, frame }
    }

    pub(crate) fn message(&self) -> &Message {
        &self.message
    }

    pub(super) fn frame(&self) -> Option<&[u8]> {
        self.frame.as_deref()
    }
}
