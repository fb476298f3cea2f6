//! Frames to send as data, legal or not (RFC 6455 section 5.2).

use crate::protocol::frame_encoder::{EncodedHeader, Opcode, apply_mask};
use crate::vocabulary::Role;

/// A frame; its payload is masked when it is encoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) fin: bool,
    /// The reserved bits; RSV1 is `0b100`.
    rsv: u8,
    pub(super) opcode: u8,
    payload: Payload,
    masking: Masking,
    length: Length,
}

#[derive(Debug, Clone, Copy)]
enum Payload {
    Bytes(&'static [u8]),
    Repeated(u8, usize),
    Close(u16, &'static [u8]),
}

#[derive(Debug, Clone, Copy)]
enum Masking {
    /// As section 5.1 requires of the role.
    AsDue,
    /// As section 5.1 forbids.
    Wrong,
}

#[derive(Debug, Clone, Copy)]
enum Length {
    Shortest,
    /// In 64 bits, whatever it is.
    Long,
    /// This one, and no payload follows.
    Claimed(u64),
}

pub(super) const CONTINUATION: u8 = 0x0;
pub(super) const TEXT: u8 = 0x1;
pub(super) const BINARY: u8 = 0x2;
pub(super) const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

impl Frame {
    pub(super) const fn new(opcode: u8, payload: &'static [u8]) -> Self {
        Self {
            fin: true,
            rsv: 0,
            opcode,
            payload: Payload::Bytes(payload),
            masking: Masking::AsDue,
            length: Length::Shortest,
        }
    }

    pub(super) const fn text(text: &'static str) -> Self {
        Self::new(TEXT, text.as_bytes())
    }

    /// `len` times the byte `x`, as text.
    pub(super) const fn long_text(len: usize) -> Self {
        Self { payload: Payload::Repeated(b'x', len), ..Self::new(TEXT, b"") }
    }

    /// `len` bytes that are not UTF-8.
    pub(super) const fn binary(len: usize) -> Self {
        Self { payload: Payload::Repeated(0xfe, len), ..Self::new(BINARY, b"") }
    }

    pub(super) const fn continuation(payload: &'static [u8]) -> Self {
        Self::new(CONTINUATION, payload)
    }

    pub(super) const fn ping(payload: &'static [u8]) -> Self {
        Self::new(PING, payload)
    }

    /// A Ping whose payload has `len` bytes.
    pub(super) const fn long_ping(len: usize) -> Self {
        Self { payload: Payload::Repeated(b'p', len), ..Self::new(PING, b"") }
    }

    pub(super) const fn pong(payload: &'static [u8]) -> Self {
        Self::new(PONG, payload)
    }

    pub(super) const fn close(code: u16, reason: &'static str) -> Self {
        Self::close_with(code, reason.as_bytes())
    }

    /// A Close whose reason may be no UTF-8, or too long.
    pub(super) const fn close_with(code: u16, reason: &'static [u8]) -> Self {
        Self { payload: Payload::Close(code, reason), ..Self::new(CLOSE, b"") }
    }

    /// A Close with this payload, which may be no code and reason.
    pub(super) const fn close_raw(payload: &'static [u8]) -> Self {
        Self::new(CLOSE, payload)
    }

    /// The same as a fragment that others follow (section 5.4).
    pub(super) const fn unfinished(self) -> Self {
        Self { fin: false, ..self }
    }

    pub(super) const fn with_rsv(self, rsv: u8) -> Self {
        Self { rsv, ..self }
    }

    /// The same masked by a server, or not masked by a client.
    pub(super) const fn wrongly_masked(self) -> Self {
        Self { masking: Masking::Wrong, ..self }
    }

    pub(super) const fn with_long_length(self) -> Self {
        Self { length: Length::Long, ..self }
    }

    /// Only the header, which announces this length.
    pub(super) const fn claiming(self, len: u64) -> Self {
        Self { length: Length::Claimed(len), ..self }
    }

    /// Returns whether a payload follows the header.
    pub(super) const fn is_whole(&self) -> bool {
        !matches!(self.length, Length::Claimed(_))
    }

    pub(super) fn payload(&self) -> Vec<u8> {
        match self.payload {
            Payload::Bytes(bytes) => bytes.to_vec(),
            Payload::Repeated(byte, len) => vec![byte; len],
            Payload::Close(code, reason) => [&code.to_be_bytes()[..], reason].concat(),
        }
    }

    /// Encodes the frame as the peer in `role` sends it.
    pub(super) fn encode(&self, role: Role, key: [u8; 4]) -> Vec<u8> {
        let masked = match (role, self.masking) {
            (Role::Client, Masking::AsDue) | (Role::Server, Masking::Wrong) => Some(key),
            (Role::Server, Masking::AsDue) | (Role::Client, Masking::Wrong) => None,
        };
        let mut payload = self.payload();
        let header = |len: usize| EncodedHeader::new(Opcode::Binary, len, masked);
        let mut bytes = match self.length {
            Length::Shortest => header(payload.len()).as_bytes().to_vec(),
            Length::Claimed(len) => {
                header(usize::try_from(len).unwrap_or(usize::MAX)).as_bytes().to_vec()
            }
            // The header of a length that needs 64 bits, with another length in it.
            Length::Long => {
                let mut bytes = header(0x1_0000).as_bytes().to_vec();
                bytes[2..10].copy_from_slice(&(payload.len() as u64).to_be_bytes());
                bytes
            }
        };
        bytes[0] = (u8::from(self.fin) << 7) | (self.rsv << 4) | self.opcode;
        if let Some(key) = masked {
            apply_mask(&mut payload, key);
        }
        if self.is_whole() {
            bytes.extend(payload);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_bent_as_asked() {
        let server = |frame: Frame| frame.encode(Role::Server, [1, 2, 3, 4]);
        assert_eq!(server(Frame::text("a")), [0x81, 1, b'a']);
        assert_eq!(server(Frame::text("a").with_rsv(0b100).unfinished()), [0x41, 1, b'a']);
        assert_eq!(server(Frame::text("a").wrongly_masked()), [0x81, 0x81, 1, 2, 3, 4, b'a' ^ 1]);
        assert_eq!(server(Frame::close(1000, "x")), [0x88, 3, 3, 0xe8, b'x']);
        assert_eq!(
            server(Frame::ping(b"a").with_long_length()),
            [0x89, 127, 0, 0, 0, 0, 0, 0, 0, 1, b'a']
        );
        let top = Frame::binary(0).claiming(1 << 63);
        assert_eq!(server(top), [0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]);
        let client = Frame::text("a").encode(Role::Client, [1, 2, 3, 4]);
        assert_eq!(client, [0x81, 0x81, 1, 2, 3, 4, b'a' ^ 1]);
    }
}
