//! Finds the frames in the bytes that one peer sends, and checks them against RFC 6455 section 5.
//!
//! The scanner does not assemble messages and copies no data: it reports the header of each data
//! frame, then its payload piece by piece, masked as on the wire. Control frames are reported whole.
//! The position of the stream within a frame and a message is known at any time.
//!
//! ```
//! use lastword::protocol::frame_scanner::{Found, FrameScanner, Position, ScanLimits};
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
//! assert_eq!(scanner.position(), Position::InPayload { read: 3, len: 5 });
//! ```

mod found;
mod opcode;
mod rules;
mod wire;

pub use found::{ControlFrame, Found, FrameHeader, FramingViolation, Position, Scanned};
pub use opcode::{ControlOpcode, DataOpcode};
pub use rules::ScanLimits;

use crate::vocabulary::Role;
use rules::{Located, MessageProgress, Rules};
use wire::{Extent, MAX_CONTROL_PAYLOAD, MAX_HEADER, Opcode};

/// Finds the frames in the bytes of one peer.
///
/// After the first violation, or [`seek_close`](Self::seek_close), only Close frames are reported
/// (section 7.1.7: no more data is processed). The offending frame is skipped by the length in its
/// header, so that the peer's Close after it is found; only a length with its top bit set cannot be
/// skipped, and makes the rest of the stream unreadable.
///
/// Bytes after a Close are scanned like any others; the caller decides whether they matter.
#[derive(Debug)]
pub struct FrameScanner {
    rules: Rules,
    message: MessageProgress,
    state: State,
    mode: Mode,
}

impl FrameScanner {
    /// Makes a scanner for the bytes that this end receives in `role`. Frames to a server must be
    /// masked, frames to a client must not be (section 5.1).
    pub fn new(role: Role, limits: ScanLimits) -> Self {
        Self {
            rules: Rules { role, limits, allowed_rsv: 0 },
            message: MessageProgress::None,
            state: State::Boundary,
            mode: Mode::Checking,
        }
    }

    /// Allows these reserved bits (RSV1 is `0b100`) in the first frame of a message, for a negotiated
    /// extension (section 9, RFC 7692 section 6).
    #[must_use]
    pub fn allow_rsv(mut self, rsv: u8) -> Self {
        self.rules.allowed_rsv = rsv;
        self
    }

    /// Scans the front of `bytes`.
    ///
    /// Either something was found or all of `bytes` were consumed, and an empty slice never yields
    /// anything, so it is enough to call this while bytes are left.
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

    /// Returns the position of the stream within a frame and a message.
    pub fn position(&self) -> Position {
        match &self.state {
            State::Boundary => match self.message {
                MessageProgress::None => Position::BetweenMessages,
                MessageProgress::Begun { .. } => Position::BetweenFragments,
            },
            State::Header { have, .. } => Position::InHeader { have: *have },
            State::Data { read, len, .. } | State::Skipped { read, len } => {
                Position::InPayload { read: *read, len: *len }
            }
            State::Control { payload, have, .. } => {
                Position::InPayload { read: u64::from(*have), len: payload.len() as u64 }
            }
            State::Lost => Position::InHeader { have: wire::LOST_AFTER },
        }
    }

    /// Returns how many payload bytes of the message in progress were scanned; 0 between messages.
    pub fn message_bytes(&self) -> u64 {
        self.message.bytes()
    }

    /// Reports only Close frames from now on.
    ///
    /// The caller has found a violation of its own, such as text that is not UTF-8 (section 8.1). A
    /// Ping or Pong that is not complete yet is dropped.
    pub fn seek_close(&mut self) {
        self.mode = Mode::Seeking;
        if let State::Control { opcode: ControlOpcode::Ping | ControlOpcode::Pong, .. } = self.state
            && let Position::InPayload { read, len } = self.position()
        {
            self.state = State::Skipped { read, len };
        }
    }

    /// Consumes at least one byte of `bytes`, which are not empty, or finds a violation.
    #[inline]
    fn scan_part(&mut self, bytes: &[u8]) -> Scanned {
        match &mut self.state {
            State::Boundary => self.scan_header(0, bytes),
            State::Header { bytes: held, have } => {
                let (mut header, have) = (*held, usize::from(*have));
                let fresh = bytes.len().min(MAX_HEADER - have);
                header[have..have + fresh].copy_from_slice(&bytes[..fresh]);
                self.scan_header(have, &header[..have + fresh])
            }
            State::Data { read, len, fin } => {
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
            State::Control { opcode, mask, payload, have } => {
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
                self.state = State::Boundary;
                Scanned { consumed, found: Found::Control(frame) }
            }
            State::Skipped { read, len } => {
                let consumed = part_of(bytes, *len - *read);
                *read += consumed as u64;
                if *read == *len {
                    self.state = State::Boundary;
                }
                Scanned { consumed, found: Found::Nothing }
            }
            State::Lost => Scanned { consumed: bytes.len(), found: Found::Nothing },
        }
    }

    /// Parses a header, of which `held` bytes were consumed by earlier calls.
    #[inline]
    fn scan_header(&mut self, held: usize, header: &[u8]) -> Scanned {
        if self.mode == Mode::Checking
            && let Err(Located { at, violation }) = self.rules.check(self.message, header)
        {
            self.seek_close();
            self.hold(&header[..at]);
            // The offending byte is left to the next call, which does not check it again. If it is
            // the last byte of a Close, that Close is found without waiting for more.
            return Scanned { consumed: at - held, found: Found::Violation(violation) };
        }
        match wire::extent(header) {
            Extent::Unknown => {
                self.hold(header);
                Scanned { consumed: header.len() - held, found: Found::Nothing }
            }
            Extent::Endless => {
                self.state = State::Lost;
                Scanned { consumed: header.len() - held, found: Found::Nothing }
            }
            Extent::Known { size, mask, len } => {
                let found = self.begin_frame(header, size, mask, len);
                Scanned { consumed: size - held, found }
            }
        }
    }

    fn hold(&mut self, header: &[u8]) {
        self.state = match header.len() {
            0 => State::Boundary,
            have => {
                let mut bytes = [0; MAX_HEADER];
                bytes[..have].copy_from_slice(header);
                State::Header { bytes, have: have as u8 }
            }
        };
    }

    /// Enters a frame whose header is complete.
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
            // Section 5.4: a message is a frame with an opcode and any number of continuations.
            Opcode::Data(opcode) => {
                // While seeking, the opcode may not fit the message in progress.
                let bytes = match opcode {
                    DataOpcode::Continuation => self.message.bytes(),
                    DataOpcode::Text | DataOpcode::Binary => 0,
                };
                self.message = MessageProgress::Begun { bytes };
                if len == 0 {
                    self.end_data_frame(fin);
                } else {
                    self.state = State::Data { read: 0, len, fin };
                }
                match self.mode {
                    Mode::Checking => {
                        Found::Header(FrameHeader::new(header, size, opcode, mask, len))
                    }
                    Mode::Seeking => Found::Nothing,
                }
            }
            // Section 5.5: control frames may come between fragments.
            Opcode::Control(opcode) if self.wants(opcode, header) => {
                if len == 0 {
                    self.state = State::Boundary;
                    return Found::Control(ControlFrame::new(opcode, Box::default()));
                }
                self.state = State::Control {
                    opcode,
                    mask: mask.unwrap_or_default(),
                    // At most 125 bytes, which `wants` or the rules have checked.
                    payload: vec![0; len as usize].into_boxed_slice(),
                    have: 0,
                };
                Found::Nothing
            }
            Opcode::Control(_) | Opcode::Reserved(_) => {
                self.state = match len {
                    0 => State::Boundary,
                    len => State::Skipped { read: 0, len },
                };
                Found::Nothing
            }
        }
    }

    /// Returns whether to report a control frame: every one that was checked, and while seeking any
    /// readable Close, even with a reserved bit or the wrong masking, because no better one follows
    /// (section 5.5.1).
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
        self.state = State::Boundary;
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

#[derive(Debug)]
enum State {
    /// Between frames.
    Boundary,
    /// In an incomplete header; `have` is 1 to 13.
    Header { bytes: [u8; MAX_HEADER], have: u8 },
    /// In the payload of a data frame.
    Data { read: u64, len: u64, fin: bool },
    /// In the payload of a control frame that will be reported, of which `have` bytes were read.
    Control { opcode: ControlOpcode, mask: [u8; 4], payload: Box<[u8]>, have: u8 },
    /// In the payload of a frame that is not reported.
    Skipped { read: u64, len: u64 },
    /// After a length with its top bit set: the end of the frame is unknown.
    Lost,
}

/// Returns how many of `bytes` belong to a frame with `left` bytes to go.
#[inline]
fn part_of(bytes: &[u8], left: u64) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

#[cfg(test)]
mod tests;
