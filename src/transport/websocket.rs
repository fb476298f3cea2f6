//! Reads messages: our scanner finds the frames, tungstenite unmasks and puts them together.
//!
//! tungstenite never sees a control frame, a violation of framing, or the socket: whole data frames
//! are handed to it from memory, so it holds no read buffer while the connection is idle, and the
//! closing handshake stays ours. What is left to it is what it does best: assembling fragments, and
//! holding text to UTF-8 while it comes. A message that is there whole, in one frame, goes past it.

use std::io::{self, Read, Write};

use tokio_tungstenite::tungstenite::{
    self, Error,
    protocol::{Role as TungsteniteRole, WebSocketConfig, WebSocketContext},
};

use crate::protocol::classification::Breach;
use crate::protocol::frame_encoder::apply_mask;
use crate::protocol::frame_scanner::{
    ControlOpcode, DataOpcode, Found, FrameHeader, FrameScanner, Place, ScanLimits,
};
use crate::vocabulary::{Message, Role, Text};

/// The buffer that tungstenite starts a message with: at least this much. Bytes.
const SMALLEST_BUFFER: usize = 256;
/// At most this much; a larger message grows it as it comes. Bytes.
const LARGEST_BUFFER: usize = 64 * 1024;

/// Reads the messages and control frames out of the bytes of one peer.
#[derive(Debug)]
pub struct MessageReader {
    scanner: FrameScanner,
    role: Role,
    limits: ScanLimits,
    /// The header of the frame whose payload is coming.
    header: Option<FrameHeader>,
    /// Puts the message in progress together; nothing while the connection is between messages.
    assembler: Option<Box<WebSocketContext>>,
}

/// What the front of some bytes was.
#[derive(Debug)]
pub enum Piece {
    /// A part of something; more is needed.
    Part,
    /// The beginning of a frame that others of its message follow; likewise.
    Fragment,
    /// A whole message.
    Message(Message),
    /// A Ping with its payload.
    Ping(Box<[u8]>),
    /// A Pong with its payload.
    Pong(Box<[u8]>),
    /// A Close with its payload, as it was on the wire.
    Close(Box<[u8]>),
    /// The peer broke a rule; from now on only its Close is looked for.
    Breach(Breach),
}

impl MessageReader {
    /// Makes a reader for the peer of a `role`.
    pub fn new(role: Role, limits: ScanLimits) -> Self {
        let scanner = FrameScanner::new(role, limits);
        Self { scanner, role, limits, header: None, assembler: None }
    }

    /// Reads one piece off the front of `bytes`; returns how many bytes that took.
    #[inline]
    pub fn read(&mut self, bytes: &[u8]) -> (usize, Piece) {
        let scanned = self.scanner.scan(bytes);
        let piece = match scanned.found {
            Found::Nothing => Piece::Part,
            Found::Header(header) => {
                let begun = if header.len == 0 {
                    self.assemble(&header, &[])
                } else {
                    self.header = Some(header);
                    Piece::Part
                };
                match begun {
                    Piece::Part if !header.fin => Piece::Fragment,
                    begun => begun,
                }
            }
            Found::Payload { message_end, .. } => {
                let payload = &bytes[..scanned.consumed];
                match self.header.take() {
                    Some(header) if message_end && self.assembler.is_none() => {
                        self.take_whole(&header, payload)
                    }
                    Some(header) => self.assemble(&header, payload),
                    None => self.assemble_more(payload),
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

    /// Returns where in a frame and a message the stream stands.
    pub fn place(&self) -> Place {
        self.scanner.place()
    }

    /// Returns the bytes that a message in progress holds.
    pub fn held(&self) -> u64 {
        match self.assembler {
            Some(_) => self.scanner.message_bytes(),
            None => 0,
        }
    }

    /// Gives buffers back if no message is in progress; call it when the input has run dry.
    #[inline]
    pub fn rest(&mut self) {
        if self.assembler.is_some() && self.scanner.place() == Place::BetweenMessages {
            self.assembler = None;
        }
    }

    /// Takes a message that one frame is, all of it.
    fn take_whole(&mut self, header: &FrameHeader, payload: &[u8]) -> Piece {
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
            // It ends a message in progress, of which there is none without an assembler.
            DataOpcode::Continuation => self.assemble(header, payload),
        }
    }

    fn assemble(&mut self, header: &FrameHeader, payload: &[u8]) -> Piece {
        let (role, limits) = (self.role, self.limits);
        let assembler =
            self.assembler.get_or_insert_with(|| Box::new(assembler(role, limits, header.len)));
        let mut input = Input { first: header.raw(), then: payload };
        let result = assembler.read(&mut input);
        self.settle(result)
    }

    fn assemble_more(&mut self, payload: &[u8]) -> Piece {
        let Some(assembler) = &mut self.assembler else { return Piece::Part };
        let mut input = Input { first: payload, then: &[] };
        let result = assembler.read(&mut input);
        self.settle(result)
    }

    fn settle(&mut self, result: tungstenite::Result<tungstenite::Message>) -> Piece {
        match result {
            Ok(tungstenite::Message::Text(text)) => {
                Piece::Message(Message::Text(Text::from_checked(text.into())))
            }
            Ok(tungstenite::Message::Binary(payload)) => Piece::Message(Message::Binary(payload)),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Piece::Part,
            Err(Error::Utf8(_)) => self.broken(Breach::InvalidText),
            // The scanner has held every frame to the rules: neither of these is reached.
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

fn assembler(role: Role, limits: ScanLimits, first_frame: u64) -> WebSocketContext {
    let whole = usize::try_from(first_frame).unwrap_or(usize::MAX).saturating_add(16);
    let config = WebSocketConfig::default()
        .read_buffer_size(whole.clamp(SMALLEST_BUFFER, LARGEST_BUFFER))
        .write_buffer_size(0)
        .max_frame_size(usize::try_from(limits.max_frame_size).ok())
        .max_message_size(usize::try_from(limits.max_message_size).ok());
    let role = match role {
        Role::Server => TungsteniteRole::Server,
        Role::Client => TungsteniteRole::Client,
    };
    WebSocketContext::new(role, Some(config))
}

/// Bytes in memory that tungstenite reads like a socket which has nothing more for now.
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

/// tungstenite answers Pings and Closes when it sees them. It sees none, so nothing is written.
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
    use crate::protocol::frame_encoder::{EncodedHeader, Opcode};

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
            reader.rest();
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
