//! Reads messages: our scanner finds the frames, and tungstenite unmasks and assembles them.
//!
//! tungstenite never sees a control frame, a framing violation, or the socket. It is fed from memory,
//! so it holds no read buffer while the connection is idle, and the closing handshake stays ours. It
//! only assembles fragments and checks text for UTF-8 while it arrives (RFC 6455 section 8.1). Each
//! piece of payload is passed to it as a separate fragment, because for a whole frame it would reserve
//! the announced length, and process nothing before the last byte. A message that arrives complete in
//! one frame bypasses it.

use std::io::{self, Read, Write};

use bytes::Bytes;
use tokio_tungstenite::tungstenite::{
    self, Error,
    protocol::{Role as TungsteniteRole, WebSocketConfig, WebSocketContext},
};

use crate::protocol::classification::Breach;
use crate::protocol::frame_encoder::{EncodedHeader, Opcode, apply_mask};
use crate::protocol::frame_scanner::{
    ControlOpcode, DataOpcode, Found, FrameHeader, FrameScanner, Position, ScanLimits,
};
use crate::vocabulary::{Message, Role, Text};

/// The smallest read buffer of tungstenite, in bytes.
const SMALLEST_BUFFER: usize = 256;
/// The largest piece of payload, in bytes; a multiple of the 4-byte masking key.
const PIECE: usize = 8 * 1024;

/// Reads the messages and control frames out of the bytes of one peer.
#[derive(Debug)]
pub struct MessageReader {
    scanner: FrameScanner,
    role: Role,
    limits: ScanLimits,
    /// The header of the current frame, until the first piece of its payload was read.
    header: Option<FrameHeader>,
    /// The masking key of the current frame.
    mask: Option<[u8; 4]>,
    /// Assembles the message in progress; `None` between messages.
    assembler: Option<Box<Assembler>>,
    /// If messages are discarded, the number of bytes read of the one in progress.
    discarded: Option<u64>,
}

/// tungstenite, and an estimate of its memory, which it does not report.
#[derive(Debug)]
struct Assembler {
    context: WebSocketContext,
    /// The largest piece in its read buffer so far.
    piece: usize,
    /// The number of bytes it has collected, and the capacity of the vector that holds them.
    collected: usize,
    capacity: usize,
}

/// The result of reading the front of some bytes.
#[derive(Debug)]
pub enum Piece {
    /// Part of a frame; more bytes are needed.
    Part,
    /// The beginning of a frame without FIN; more bytes are needed.
    Fragment,
    /// A complete message.
    Message(Message),
    /// The end of a discarded message of this many bytes; see [`MessageReader::discard`].
    Discarded(u64),
    /// A Ping with its payload.
    Ping(Box<[u8]>),
    /// A Pong with its payload.
    Pong(Box<[u8]>),
    /// A Close with its payload, as it was on the wire.
    Close(Box<[u8]>),
    /// The peer broke a rule; from now on only its Close is reported (section 7.1.7).
    Breach(Breach),
}

impl MessageReader {
    /// Makes a reader for the bytes that this end receives in `role`.
    pub fn new(role: Role, limits: ScanLimits) -> Self {
        let scanner = FrameScanner::new(role, limits);
        Self { scanner, role, limits, header: None, mask: None, assembler: None, discarded: None }
    }

    /// Reads one piece from the front of `bytes`, and returns how many bytes were consumed.
    #[inline]
    pub fn read(&mut self, bytes: &[u8]) -> (usize, Piece) {
        let scanned = self.scanner.scan(bytes);
        let piece = match scanned.found {
            Found::Nothing => Piece::Part,
            found @ (Found::Header(_) | Found::Payload { .. }) if self.discarded.is_some() => {
                self.count_discarded(&found, scanned.consumed)
            }
            Found::Header(header) => {
                let begun = if header.len == 0 {
                    self.assemble(Some(&header), &[], 0, header.fin)
                } else {
                    self.mask = header.mask;
                    self.header = Some(header);
                    Piece::Part
                };
                match begun {
                    Piece::Part if !header.fin => Piece::Fragment,
                    begun => begun,
                }
            }
            Found::Payload { message_end, offset, .. } => {
                let payload = &bytes[..scanned.consumed];
                match self.header.take() {
                    Some(header) if message_end && self.assembler.is_none() => {
                        self.read_whole(&header, payload)
                    }
                    header => self.assemble(header.as_ref(), payload, offset, message_end),
                }
            }
            Found::Control(frame) => {
                let opcode = frame.opcode;
                let payload = frame.into_payload();
                match opcode {
                    ControlOpcode::Ping => Piece::Ping(payload),
                    ControlOpcode::Pong => Piece::Pong(payload),
                    ControlOpcode::Close => Piece::Close(payload),
                }
            }
            Found::Violation(violation) => {
                self.stop_assembling();
                Piece::Breach(Breach::Framing(violation))
            }
        };
        (scanned.consumed, piece)
    }

    /// Returns the position of the stream within a frame and a message.
    pub fn position(&self) -> Position {
        self.scanner.position()
    }

    /// Returns the memory that the message in progress occupies: the capacity of its buffers, in bytes.
    pub fn held(&self) -> u64 {
        if self.scanner.position() == Position::BetweenMessages {
            return 0; // the buffers are released once all input was read
        }
        self.assembler.as_ref().map_or(0, |assembler| assembler.held() as u64)
    }

    /// Discards the message in progress and all later ones; control frames are still reported.
    pub fn discard(&mut self) {
        if self.discarded.is_none() {
            self.discarded = Some(self.scanner.message_bytes());
            self.stop_assembling();
        }
    }

    /// Counts `consumed` bytes of a discarded data frame.
    fn count_discarded(&mut self, found: &Found, consumed: usize) -> Piece {
        let bytes = self.discarded.get_or_insert_default();
        if let Found::Payload { .. } = found {
            *bytes += consumed as u64;
        }
        match found {
            found if found.ends_message() => Piece::Discarded(std::mem::take(bytes)),
            Found::Header(header) if !header.fin => Piece::Fragment,
            _ => Piece::Part,
        }
    }

    /// Releases buffers if no message is in progress; called when all input was read.
    #[inline]
    pub fn release_buffers(&mut self) {
        if self.assembler.is_some() && self.scanner.position() == Position::BetweenMessages {
            self.assembler = None;
        }
    }

    /// Reads a message that arrived complete in one frame.
    fn read_whole(&mut self, header: &FrameHeader, payload: &[u8]) -> Piece {
        let unmasked = || {
            let mut payload = payload.to_vec();
            if let Some(mask) = header.mask {
                apply_mask(&mut payload, mask);
            }
            payload
        };
        match header.opcode {
            DataOpcode::Binary => Piece::Message(Message::binary(unmasked())),
            DataOpcode::Text => match String::from_utf8(unmasked()) {
                Ok(text) => Piece::Message(Message::text(text)),
                Err(_) => self.broken(Breach::InvalidText),
            },
            // A continuation ends a message in progress, so there is an assembler.
            DataOpcode::Continuation => self.assemble(Some(header), payload, 0, true),
        }
    }

    /// Passes payload at `offset` of its frame to the assembler, with the header if it is the first.
    fn assemble(
        &mut self,
        header: Option<&FrameHeader>,
        payload: &[u8],
        offset: u64,
        message_end: bool,
    ) -> Piece {
        let mut opcode = match header.map(|header| header.opcode) {
            Some(DataOpcode::Text) => Some(Opcode::Text),
            Some(DataOpcode::Binary) => Some(Opcode::Binary),
            Some(DataOpcode::Continuation) | None => None,
        };
        // The key is rotated to the first of these bytes; pieces are multiples of 4 bytes.
        let turn = (offset % 4) as usize;
        let mask = match (self.mask, self.role) {
            (Some(mask), _) => Some([0, 1, 2, 3].map(|i| mask[(turn + i) % 4])),
            // tungstenite insists on a mask from clients, even for an empty payload.
            (None, Role::Server) => Some([0; 4]),
            (None, Role::Client) => None,
        };
        let (role, limits) = (self.role, self.limits);
        let assembler = self.assembler.get_or_insert_with(|| {
            Box::new(Assembler::new(role, limits, payload.len().min(PIECE)))
        });
        let mut rest = payload;
        loop {
            let (piece, behind) = rest.split_at(rest.len().min(PIECE));
            rest = behind;
            let fin = message_end && rest.is_empty();
            let header = EncodedHeader::fragment(opcode.take(), fin, piece.len(), mask);
            let result = assembler.read(header.as_bytes(), piece);
            match result {
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return self.settle(result),
            }
            if rest.is_empty() {
                return Piece::Part;
            }
        }
    }

    fn settle(&mut self, result: tungstenite::Result<tungstenite::Message>) -> Piece {
        match result {
            Ok(tungstenite::Message::Text(text)) => {
                Piece::Message(Message::Text(Text::from_checked(fitting(text.into()))))
            }
            Ok(tungstenite::Message::Binary(payload)) => {
                Piece::Message(Message::Binary(fitting(payload)))
            }
            Err(Error::Utf8(_)) => self.broken(Breach::InvalidText),
            // The scanner has checked every frame, so neither of these happens.
            Ok(other) => self.broken(Breach::Other(format!("unexpected {other:?}"))),
            Err(error) => self.broken(Breach::Other(error.to_string())),
        }
    }

    fn broken(&mut self, breach: Breach) -> Piece {
        self.scanner.seek_close();
        self.stop_assembling();
        Piece::Breach(breach)
    }

    fn stop_assembling(&mut self) {
        self.header = None;
        self.assembler = None;
    }
}

impl Assembler {
    fn new(role: Role, limits: ScanLimits, first_piece: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size((first_piece + 16).max(SMALLEST_BUFFER))
            .write_buffer_size(0)
            .max_frame_size(usize::try_from(limits.max_frame_size).ok())
            .max_message_size(usize::try_from(limits.max_message_size).ok());
        let role = match role {
            Role::Server => TungsteniteRole::Server,
            Role::Client => TungsteniteRole::Client,
        };
        let context = WebSocketContext::new(role, Some(config));
        Self { context, piece: 0, collected: 0, capacity: 0 }
    }

    fn read(&mut self, header: &[u8], piece: &[u8]) -> tungstenite::Result<tungstenite::Message> {
        self.piece = self.piece.max(piece.len());
        self.collected += piece.len();
        if self.collected > self.capacity {
            // The growth of a vector.
            self.capacity = self.collected.max(2 * self.capacity);
        }
        let result = self.context.read(&mut Input { first: header, then: piece });
        if result.is_ok() {
            (self.collected, self.capacity) = (0, 0);
        }
        result
    }

    fn held(&self) -> usize {
        // Its read buffer doubles for a piece that is larger than all before it.
        size_of::<Self>() + 2 * (self.piece + 16).max(SMALLEST_BUFFER) + self.capacity
    }
}

/// Releases the excess capacity of an assembled message.
fn fitting(payload: Bytes) -> Bytes {
    let mut payload = Vec::from(payload);
    payload.shrink_to_fit();
    payload.into()
}

/// Bytes in memory, which tungstenite reads like a socket that then blocks.
struct Input<'a> {
    first: &'a [u8],
    then: &'a [u8],
}

impl Read for Input<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let first = take(&mut self.first, buf);
        let then = take(&mut self.then, &mut buf[first..]);
        match first + then {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

/// tungstenite would answer Pings and Closes, but it never sees any, so nothing is written.
impl Write for Input<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn take(from: &mut &[u8], to: &mut [u8]) -> usize {
    let len = from.len().min(to.len());
    let (taken, rest) = from.split_at(len);
    to[..len].copy_from_slice(taken);
    *from = rest;
    len
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: ScanLimits = ScanLimits { max_frame_size: 1 << 20, max_message_size: 1 << 20 };

    /// Reads bytes that come in pieces of this size, as far as the first breach.
    fn read(bytes: &[u8], size: usize) -> Vec<String> {
        let mut reader = MessageReader::new(Role::Server, LIMITS);
        let mut seen = Vec::new();
        for mut bytes in bytes.chunks(size) {
            while !bytes.is_empty() {
                let (consumed, piece) = reader.read(bytes);
                bytes = &bytes[consumed..];
                match piece {
                    Piece::Part | Piece::Fragment => {}
                    breach @ Piece::Breach(_) => {
                        seen.push(format!("{breach:?}"));
                        return seen;
                    }
                    piece => seen.push(format!("{piece:?}")),
                }
            }
            reader.release_buffers();
        }
        seen
    }

    /// A masked frame; `first` begins a message and `last` ends it.
    fn frame(text: bool, first: bool, last: bool, payload: &[u8]) -> Vec<u8> {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let opcode = if text { Opcode::Text } else { Opcode::Binary };
        let header = EncodedHeader::new(opcode, payload.len(), Some(mask));
        let mut masked = payload.to_vec();
        apply_mask(&mut masked, mask);
        let mut frame = [header.as_bytes(), &masked].concat();
        frame[0] &= if first { 0xff } else { 0xf0 };
        frame[0] &= if last { 0xff } else { 0x7f };
        frame
    }

    fn reader(limits: ScanLimits) -> MessageReader {
        MessageReader::new(Role::Server, limits)
    }

    /// Feeds bytes in pieces of this size; returns the most that was held.
    fn feed(reader: &mut MessageReader, bytes: &[u8], size: usize) -> u64 {
        let mut most = 0;
        for mut bytes in bytes.chunks(size) {
            while !bytes.is_empty() {
                bytes = &bytes[reader.read(bytes).0..];
            }
            most = most.max(reader.held());
        }
        most
    }

    #[test]
    fn a_message_in_progress_holds_no_less_than_has_come_of_it() {
        let mut reader = reader(LIMITS);
        let whole = frame(false, true, true, &vec![1; 1 << 20]);
        let held = feed(&mut reader, &whole[..whole.len() - 1], 64 * 1024);
        assert!((1 << 20..(1 << 20) + (20 << 10)).contains(&held), "{held}");
        feed(&mut reader, &whole[whole.len() - 1..], 1);
        reader.release_buffers();
        assert_eq!(reader.held(), 0);
    }

    #[test]
    fn fragments_are_counted_as_the_vector_that_doubles() {
        let mut reader = reader(LIMITS);
        let mut bytes = frame(false, true, false, &[1; 10_000]);
        bytes.extend(frame(false, false, false, &[1; 1]));
        let held = feed(&mut reader, &bytes, usize::MAX);
        assert!((20_000..=20_000 + (20 << 10)).contains(&held), "{held}");
    }

    #[test]
    fn an_announced_frame_holds_only_what_has_come_of_it() {
        let mut reader = reader(LIMITS);
        let whole = frame(false, true, true, &vec![1; 1 << 20]);
        let held = feed(&mut reader, &whole[..20], 20);
        assert!(held <= 2048, "{held}");
    }

    #[test]
    fn what_is_discarded_takes_no_memory_and_is_counted_and_control_frames_are_read() {
        let mut reader = reader(LIMITS);
        let message = frame(true, true, true, &[b'a'; 5000]);
        feed(&mut reader, &message[..1000], 100);
        assert!(reader.held() > 0);
        reader.discard();
        assert_eq!(reader.held(), 0);
        let mut rest = message[1000..].to_vec();
        rest.extend(frame(true, true, false, b"ab"));
        rest.extend(frame(true, false, true, b""));
        let ping = EncodedHeader::new(Opcode::Ping, 0, Some([0; 4]));
        rest.extend(ping.as_bytes());
        let (mut bytes, mut seen) = (&*rest, Vec::new());
        while !bytes.is_empty() {
            let (consumed, piece) = reader.read(bytes);
            bytes = &bytes[consumed..];
            match piece {
                Piece::Part => {}
                Piece::Discarded(bytes) => seen.push(bytes.to_string()),
                other => seen.push(format!("{other:?}")),
            }
            assert_eq!(reader.held(), 0);
        }
        assert_eq!(seen, ["5000", "Fragment", "2", "Ping([])"]);
    }

    proptest! {
        #[test]
        fn what_comes_whole_is_read_as_what_comes_in_pieces(
            messages in proptest::collection::vec(
                (any::<bool>(), any::<bool>(), prop_oneof![
                    "\\PC{0,80}".prop_map(String::into_bytes),
                    proptest::collection::vec(any::<u8>(), 0..300),
                ]),
                1..6,
            ),
            size in 1_usize..200,
        ) {
            let mut bytes = Vec::new();
            for (text, fragmented, payload) in &messages {
                if *fragmented {
                    let (begin, end) = payload.split_at(payload.len() / 2);
                    bytes.extend(frame(*text, true, false, begin));
                    bytes.extend(frame(*text, false, true, end));
                } else {
                    bytes.extend(frame(*text, true, true, payload));
                }
            }
            prop_assert_eq!(read(&bytes, usize::MAX), read(&bytes, size));
        }
    }
}
