//! What the scanner reports: headers, payload, control frames, violations, and the position.

use std::fmt;

use super::opcode::{ControlOpcode, DataOpcode};
use super::wire;
use crate::vocabulary::Limit;

/// The result of scanning the front of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Scanned {
    /// How many bytes were consumed; the next call begins after them.
    pub consumed: usize,
    /// What was found in them.
    pub found: Found,
}

/// What was found in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing to report: all bytes were swallowed, as part of a header or a control frame, or
    /// skipped in search of a Close.
    Nothing,
    /// A data frame begins; its header is whole and valid.
    ///
    /// A frame without a payload ends right here: no [`Payload`](Self::Payload) follows, and
    /// [`Found::ends_message`] is true of the header.
    Header(FrameHeader),
    /// The consumed bytes, at least one, are payload of the data frame, masked as on the wire.
    Payload {
        /// They are the last of their frame.
        frame_end: bool,
        /// They are the last of their message.
        message_end: bool,
        /// Where in the frame's payload they begin: the byte there was masked with
        /// `mask[offset % 4]`.
        offset: u64,
    },
    /// A control frame; the consumed bytes end with its last one.
    Control(ControlFrame),
    /// The next byte, which is not consumed, breaks a rule. From now on only Close frames are
    /// found.
    Violation(FramingViolation),
}

impl Found {
    /// Returns whether a message ends here: with its last payload, or with a header if the last
    /// frame has no payload.
    #[inline]
    pub fn ends_message(&self) -> bool {
        match self {
            Self::Header(header) => header.fin && header.len == 0,
            Self::Payload { message_end, .. } => *message_end,
            Self::Nothing | Self::Control(_) | Self::Violation(_) => false,
        }
    }
}

/// The header of a data frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// The frame is the last of its message.
    pub fin: bool,
    /// The reserved bits; RSV1 is `0b100`.
    pub rsv: u8,
    /// What the frame is.
    pub opcode: DataOpcode,
    /// What the payload is masked with.
    pub mask: Option<[u8; 4]>,
    /// The length of the payload in bytes, less than 2^63.
    pub len: u64,
    raw: [u8; 16],
    raw_len: u8,
}

impl FrameHeader {
    /// Makes the header from the first `size` of `bytes`.
    #[inline]
    pub(super) fn new(
        bytes: &[u8],
        size: usize,
        opcode: DataOpcode,
        mask: Option<[u8; 4]>,
        len: u64,
    ) -> Self {
        // The header is usually followed by payload. One wide load with the payload masked out then
        // costs a fifth less per frame than a copy of `size` bytes.
        let raw = match bytes.first_chunk() {
            Some(chunk) => u128::from_le_bytes(*chunk) & !u128::MAX.unbounded_shl(8 * size as u32),
            None => {
                let mut chunk = [0; 16];
                chunk[..size].copy_from_slice(&bytes[..size]);
                u128::from_le_bytes(chunk)
            }
        };
        let raw = raw.to_le_bytes();
        let first = raw[0];
        Self {
            fin: wire::is_fin(first),
            rsv: wire::rsv(first),
            opcode,
            mask,
            len,
            raw,
            raw_len: size as u8,
        }
    }

    /// Returns the header as it was on the wire: 2 to 14 bytes.
    #[inline]
    pub fn raw(&self) -> &[u8] {
        &self.raw[..usize::from(self.raw_len)]
    }
}

/// A control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFrame {
    /// Its opcode.
    pub opcode: ControlOpcode,
    payload: Box<[u8]>,
}

impl ControlFrame {
    pub(super) fn new(opcode: ControlOpcode, payload: Box<[u8]>) -> Self {
        Self { opcode, payload }
    }

    /// Returns the payload, unmasked: at most 125 bytes.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Returns the payload, consuming the frame.
    pub fn into_payload(self) -> Box<[u8]> {
        self.payload
    }
}

/// A rule of RFC 6455 section 5, or a limit, that a frame violates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FramingViolation {
    /// A reserved bit is set without an extension that defines it (section 5.2).
    #[error("reserved bit set")]
    ReservedBit {
        /// All three bits; RSV1 is `0b100`.
        rsv: u8,
    },
    /// The opcode is reserved (section 5.2).
    #[error("unknown opcode {0:#x}")]
    UnknownOpcode(u8),
    /// A control frame lacks FIN (section 5.5).
    #[error("fragmented control frame")]
    FragmentedControl,
    /// A continuation frame without a message in progress (section 5.4).
    #[error("continuation without a message")]
    ContinuationOfNothing,
    /// A message begins inside a fragmented one (section 5.4).
    #[error("new message inside a fragmented one")]
    MessageInsideMessage,
    /// A client sent an unmasked frame (section 5.1).
    #[error("unmasked frame from a client")]
    UnmaskedFrame,
    /// A server sent a masked frame (section 5.1).
    #[error("masked frame from a server")]
    MaskedFrame,
    /// A control frame is longer than 125 bytes (section 5.5).
    #[error("control frame of more than 125 bytes")]
    ControlTooLong,
    /// The length is not in its shortest form (section 5.2).
    #[error("length not in its shortest form")]
    LengthNotShortest,
    /// The most significant bit of a 64-bit length is set (section 5.2).
    #[error("length with its top bit set")]
    LengthTopBit,
    /// A frame, or the message it belongs to, is over a limit (section 10.4). `observed` is the size
    /// announced by the headers so far.
    #[error("{} bytes announced, over {} of {} bytes", .0.observed, .0.name, .0.limit)]
    MessageTooBig(Limit),
}

impl FramingViolation {
    /// Returns whether it is a matter of size (1009) and not of protocol (1002).
    pub fn is_too_big(&self) -> bool {
        match self {
            Self::MessageTooBig(_) => true,
            Self::ReservedBit { .. }
            | Self::UnknownOpcode(_)
            | Self::FragmentedControl
            | Self::ContinuationOfNothing
            | Self::MessageInsideMessage
            | Self::UnmaskedFrame
            | Self::MaskedFrame
            | Self::ControlTooLong
            | Self::LengthNotShortest
            | Self::LengthTopBit => false,
        }
    }
}

/// The position of a stream within a frame and a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// At the beginning of the stream, or after a message.
    BetweenMessages,
    /// Between two frames of a message.
    BetweenFragments,
    /// In a header.
    InHeader {
        /// How many of its bytes were read.
        have: u8,
    },
    /// In the payload of a frame of any kind.
    InPayload {
        /// How many of its bytes were read.
        read: u64,
        /// Its length in bytes.
        len: u64,
    },
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BetweenMessages => f.write_str("between messages"),
            Self::BetweenFragments => f.write_str("between fragments"),
            Self::InHeader { .. } => f.write_str("inside a header"),
            Self::InPayload { read, len } => write!(f, "inside a payload ({read} of {len} bytes)"),
        }
    }
}
