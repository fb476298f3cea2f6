//! Finds the frames in the bytes that one peer sends, and holds them to RFC 6455 section 5.
//!
//! The scanner never sees a whole message and copies no data: a data frame is announced by its
//! header, then its payload is pointed out piece by piece, masked as on the wire. Control frames
//! are taken out whole. It knows at any time where in a frame and a message the stream is.
//!
//! ```
//! use lastword::protocol::frame_scanner::{Found, FrameScanner, Place, ScanLimits};
//! use lastword::vocabulary::Role;
//!
//! let limits = ScanLimits { max_frame_size: 1024, max_message_size: 4096 };
//! let mut scanner = FrameScanner::new(Role::Client, limits);
//! let mut bytes: &[u8] = b"\x81\x05hel";
//! while !bytes.is_empty() {
//!     let scanned = scanner.scan(bytes);
//!     match scanned.found {
//!         Found::Header(header) => assert_eq!(header.raw(), b"\x81\x05"),
//!         Found::Payload { message_end, .. } => assert!(!message_end),
//!         Found::Nothing | Found::Control(_) | Found::Violation(_) => unreachable!(),
//!     }
//!     bytes = &bytes[scanned.consumed..];
//! }
//! assert_eq!(scanner.place(), Place::InPayload { read: 3, len: 5 });
//! ```

mod found;
mod rules;
mod wire;

pub use found::{
    ControlFrame, ControlOpcode, DataOpcode, Found, FrameHeader, Place, Scanned, Violation,
};

use crate::vocabulary::Role;
use rules::{Breach, Rules};
use wire::{Extent, MAX_CONTROL_PAYLOAD, MAX_HEADER, Opcode};

/// Bounds what a peer may send, in bytes of payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanLimits {
    /// The largest data frame.
    pub max_frame_size: u64,
    /// The largest message: the sum of its frames.
    pub max_message_size: u64,
}

/// Finds the frames in the bytes of one peer.
///
/// After the first violation, or [`seek_close`](Self::seek_close), it only looks for Close frames
/// and reports nothing else. The frame that broke a rule is followed by what its own header says,
/// so that the peer's Close behind it is found; only a length with its top bit set, which cannot
/// be followed, makes the rest of the stream unreadable.
///
/// What follows a Close is scanned like anything else; whether it matters is up to the caller.
#[derive(Debug)]
pub struct FrameScanner {
    rules: Rules,
    message: MessageProgress,
    position: Position,
    mode: Mode,
}

impl FrameScanner {
    /// Makes a scanner for the bytes that the peer of a `role` sends: a server's peer must mask
    /// its frames, a client's must not (RFC 6455 section 5.1).
    pub fn new(role: Role, limits: ScanLimits) -> Self {
        Self {
            rules: Rules { role, limits, allowed_rsv: 0 },
            message: MessageProgress::None,
            position: Position::Boundary,
            mode: Mode::Checking,
        }
    }

    /// Lets the first frame of a message carry these reserved bits, `0b100` being RSV1, because an
    /// extension was agreed on (RFC 6455 section 9, RFC 7692 section 6).
    #[must_use]
    pub fn allow_rsv(mut self, rsv: u8) -> Self {
        self.rules.allowed_rsv = rsv;
        self
    }

    /// Looks at the front of `bytes` and says what it is.
    ///
    /// Either all of `bytes` were consumed or something was found; nothing is ever found in no
    /// bytes. So it is enough to call this while bytes are left.
    #[inline]
    pub fn scan(&mut self, bytes: &[u8]) -> Scanned {
        let mut consumed = 0;
        while let Some(rest) = bytes.get(consumed..)
            && !rest.is_empty()
        {
            let scanned = self.scan_part(rest);
            consumed += scanned.consumed;
            match scanned.found {
                Found::Nothing => {}
                found @ (Found::Header(_)
                | Found::Payload { .. }
                | Found::Control(_)
                | Found::Violation(_)) => return Scanned { consumed, found },
            }
        }
        Scanned { consumed, found: Found::Nothing }
    }

    /// Returns where in a frame and a message the stream is.
    pub fn place(&self) -> Place {
        match &self.position {
            Position::Boundary => match self.message {
                MessageProgress::None => Place::BetweenMessages,
                MessageProgress::Begun { .. } => Place::BetweenFragments,
            },
            Position::Header { have, .. } => Place::InHeader { have: *have },
            Position::Data { read, len, .. } | Position::Skipped { read, len } => {
                Place::InPayload { read: *read, len: *len }
            }
            Position::Control { payload, have, .. } => {
                Place::InPayload { read: u64::from(*have), len: payload.len() as u64 }
            }
            Position::Lost => Place::InHeader { have: wire::LOST_AFTER },
        }
    }

    /// Returns how many payload bytes of the message in progress have passed; 0 between messages.
    pub fn message_bytes(&self) -> u64 {
        self.message.bytes()
    }

    /// Reports nothing but Close frames from now on.
    ///
    /// For a violation that somebody else found, such as text that is not UTF-8. A Ping or Pong of
    /// which the rest is still to come is dropped.
    pub fn seek_close(&mut self) {
        self.mode = Mode::Seeking;
        if let Position::Control { opcode: ControlOpcode::Ping | ControlOpcode::Pong, .. } =
            self.position
            && let Place::InPayload { read, len } = self.place()
        {
            self.position = Position::Skipped { read, len };
        }
    }

    /// Consumes at least one byte of `bytes`, which are not empty, or finds a violation.
    #[inline]
    fn scan_part(&mut self, bytes: &[u8]) -> Scanned {
        match &mut self.position {
            Position::Boundary => self.scan_header(0, bytes),
            Position::Header { bytes: held, have } => {
                let (mut header, have) = (*held, usize::from(*have));
                let fresh = bytes.len().min(MAX_HEADER - have);
                header[have..have + fresh].copy_from_slice(&bytes[..fresh]);
                self.scan_header(have, &header[..have + fresh])
            }
            Position::Data { read, len, fin } => {
                let (offset, fin) = (*read, *fin);
                let consumed = part_of(bytes, *len - *read);
                *read += consumed as u64;
                let frame_end = *read == *len;
                if let MessageProgress::Begun { bytes } = &mut self.message {
                    *bytes = bytes.saturating_add(consumed as u64);
                }
                if frame_end {
                    self.end_data_frame(fin);
                }
                let found = match self.mode {
                    Mode::Checking => {
                        Found::Payload { frame_end, message_end: frame_end && fin, offset }
                    }
                    Mode::Seeking => Found::Nothing,
                };
                Scanned { consumed, found }
            }
            Position::Control { opcode, mask, payload, have } => {
                let start = usize::from(*have);
                let consumed = bytes.len().min(payload.len() - start);
                for (i, (to, from)) in payload[start..].iter_mut().zip(bytes).enumerate() {
                    *to = from ^ mask[(start + i) % mask.len()];
                }
                *have += consumed as u8;
                if usize::from(*have) < payload.len() {
                    return Scanned { consumed, found: Found::Nothing };
                }
                let frame = ControlFrame::new(*opcode, std::mem::take(payload));
                self.position = Position::Boundary;
                Scanned { consumed, found: Found::Control(frame) }
            }
            Position::Skipped { read, len } => {
                let consumed = part_of(bytes, *len - *read);
                *read += consumed as u64;
                if *read == *len {
                    self.position = Position::Boundary;
                }
                Scanned { consumed, found: Found::Nothing }
            }
            Position::Lost => Scanned { consumed: bytes.len(), found: Found::Nothing },
        }
    }

    /// Takes a header apart of which `held` bytes were consumed by earlier calls.
    #[inline]
    fn scan_header(&mut self, held: usize, header: &[u8]) -> Scanned {
        if self.mode == Mode::Checking
            && let Err(Breach { at, violation }) = self.rules.check(self.message, header)
        {
            self.seek_close();
            self.hold(&header[..at]);
            // The offending byte is left to the next call, which no longer minds: if it is the
            // last byte of a Close, that Close is found without waiting for more.
            return Scanned { consumed: at - held, found: Found::Violation(violation) };
        }
        match wire::extent(header) {
            Extent::Unknown => {
                self.hold(header);
                Scanned { consumed: header.len() - held, found: Found::Nothing }
            }
            Extent::Endless => {
                self.position = Position::Lost;
                Scanned { consumed: header.len() - held, found: Found::Nothing }
            }
            Extent::Known { size, mask, len } => {
                let found = self.begin_frame(header, size, mask, len);
                Scanned { consumed: size - held, found }
            }
        }
    }

    fn hold(&mut self, header: &[u8]) {
        self.position = match header.len() {
            0 => Position::Boundary,
            have => {
                let mut bytes = [0; MAX_HEADER];
                bytes[..have].copy_from_slice(header);
                Position::Header { bytes, have: have as u8 }
            }
        };
    }

    /// Enters a frame whose header is whole.
    #[inline]
    fn begin_frame(
        &mut self,
        header: &[u8],
        size: usize,
        mask: Option<[u8; 4]>,
        len: u64,
    ) -> Found {
        let fin = wire::is_fin(header[0]);
        match Opcode::of(header[0]) {
            Opcode::Data(opcode) => {
                // That an opcode and the message in progress do not fit happens only while seeking.
                let bytes = match opcode {
                    DataOpcode::Continuation => self.message.bytes(),
                    DataOpcode::Text | DataOpcode::Binary => 0,
                };
                self.message = MessageProgress::Begun { bytes };
                if len == 0 {
                    self.end_data_frame(fin);
                } else {
                    self.position = Position::Data { read: 0, len, fin };
                }
                match self.mode {
                    Mode::Checking => {
                        Found::Header(FrameHeader::new(header, size, opcode, mask, len))
                    }
                    Mode::Seeking => Found::Nothing,
                }
            }
            Opcode::Control(opcode) if self.wants(opcode, header) => {
                if len == 0 {
                    self.position = Position::Boundary;
                    return Found::Control(ControlFrame::new(opcode, Box::default()));
                }
                self.position = Position::Control {
                    opcode,
                    mask: mask.unwrap_or_default(),
                    // At most 125 bytes: the length fitted into 7 bits.
                    payload: vec![0; len as usize].into_boxed_slice(),
                    have: 0,
                };
                Found::Nothing
            }
            Opcode::Control(_) | Opcode::Reserved(_) => {
                self.position = match len {
                    0 => Position::Boundary,
                    len => Position::Skipped { read: 0, len },
                };
                Found::Nothing
            }
        }
    }

    /// Tells whether to take a control frame out. One that was checked, yes; while seeking, a Close
    /// that can be read as one, even with a reserved bit or the wrong masking: its sender has
    /// closed, and sends no better one.
    fn wants(&self, opcode: ControlOpcode, header: &[u8]) -> bool {
        match self.mode {
            Mode::Checking => true,
            Mode::Seeking => match opcode {
                ControlOpcode::Close => {
                    wire::is_fin(header[0]) && wire::short_len(header[1]) <= MAX_CONTROL_PAYLOAD
                }
                ControlOpcode::Ping | ControlOpcode::Pong => false,
            },
        }
    }

    #[inline]
    fn end_data_frame(&mut self, fin: bool) {
        self.position = Position::Boundary;
        if fin {
            self.message = MessageProgress::None;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Everything is checked and reported.
    Checking,
    /// Nothing is checked, and only Close frames are reported.
    Seeking,
}

#[derive(Debug, Clone, Copy)]
enum MessageProgress {
    None,
    Begun { bytes: u64 },
}

impl MessageProgress {
    fn bytes(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Begun { bytes } => bytes,
        }
    }
}

#[derive(Debug)]
enum Position {
    /// Between frames.
    Boundary,
    /// In a header, which is not whole: `have` is 1 to 13.
    Header { bytes: [u8; MAX_HEADER], have: u8 },
    /// In the payload of a data frame.
    Data { read: u64, len: u64, fin: bool },
    /// In the payload of a control frame that will be reported; the first `have` bytes are here.
    Control { opcode: ControlOpcode, mask: [u8; 4], payload: Box<[u8]>, have: u8 },
    /// In the payload of a frame that nobody wants to see.
    Skipped { read: u64, len: u64 },
    /// Behind a length that cannot be followed.
    Lost,
}

/// Returns how many of `bytes` belong to the `left` bytes that a frame still has.
#[inline]
fn part_of(bytes: &[u8], left: u64) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

#[cfg(test)]
mod tests;
