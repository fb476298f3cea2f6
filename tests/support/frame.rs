//! Frames as bytes, the illegal ones too (RFC 6455 section 5.2).

use std::fmt;

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

/// The end of the connection that speaks: it decides whether a frame has to be masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// How a frame is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masking {
    /// As RFC 6455 section 5.1 requires of the side that sends it.
    AsDue,
    /// Not masked, from either side.
    Plain,
    /// Masked with this key, from either side.
    Key([u8; 4]),
}

/// How the length is written; all but [`LengthForm::Minimal`] can be illegal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LengthForm {
    Minimal,
    /// 16 bits, also where 7 would do.
    Sixteen,
    /// 64 bits, also where fewer would do.
    SixtyFour,
    /// 64 bits with the most significant one set.
    TopBit,
}

/// One frame; `payload` is never masked in here.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    /// The three reserved bits, RSV1 being 4.
    pub rsv: u8,
    pub opcode: u8,
    pub masking: Masking,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { fin: true, rsv: 0, opcode, masking: Masking::AsDue, payload: payload.into() }
    }

    pub fn text(text: &str) -> Self {
        Self::new(TEXT, text)
    }

    pub fn binary(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(BINARY, payload)
    }

    pub fn continuation(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(CONTINUATION, payload)
    }

    pub fn ping(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(PING, payload)
    }

    pub fn pong(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(PONG, payload)
    }

    /// A Close with any code and any reason, legal or not.
    pub fn close(code: u16, reason: impl AsRef<[u8]>) -> Self {
        Self::new(CLOSE, [&code.to_be_bytes(), reason.as_ref()].concat())
    }

    pub fn close_empty() -> Self {
        Self::new(CLOSE, [])
    }

    /// Clears FIN: more fragments follow.
    pub fn unfinished(self) -> Self {
        Self { fin: false, ..self }
    }

    pub fn rsv(self, rsv: u8) -> Self {
        Self { rsv, ..self }
    }

    pub fn masking(self, masking: Masking) -> Self {
        Self { masking, ..self }
    }

    pub fn encode(&self, side: Side) -> Vec<u8> {
        self.encode_with_length(side, LengthForm::Minimal)
    }

    pub fn encode_with_length(&self, side: Side, form: LengthForm) -> Vec<u8> {
        let mut bytes = self.header(side, self.payload.len() as u64, form);
        let key = self.key(side).unwrap_or_default();
        bytes.extend(self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }

    /// The header alone, claiming `length` whatever the payload is.
    pub fn header(&self, side: Side, length: u64, form: LengthForm) -> Vec<u8> {
        let key = self.key(side);
        let mask_bit = if key.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![(u8::from(self.fin) << 7) | (self.rsv << 4) | self.opcode];
        match (form, length) {
            (LengthForm::Minimal, 0..=125) => bytes.push(mask_bit | length as u8),
            (LengthForm::Minimal, 126..=0xFFFF) | (LengthForm::Sixteen, _) => {
                bytes.push(mask_bit | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            (LengthForm::Minimal | LengthForm::SixtyFour, _) => {
                bytes.push(mask_bit | 127);
                bytes.extend(length.to_be_bytes());
            }
            (LengthForm::TopBit, _) => {
                bytes.push(mask_bit | 127);
                bytes.extend((length | 1 << 63).to_be_bytes());
            }
        }
        bytes.extend(key.iter().flatten());
        bytes
    }

    /// Takes a Close apart; `None` for an empty one.
    ///
    /// # Panics
    /// If this is no Close, or one with a payload of 1 byte.
    pub fn close_code_and_reason(&self) -> (Option<u16>, String) {
        assert_eq!(self.opcode, CLOSE, "awaited a Close, got {self:?}");
        match self.payload.as_slice() {
            [] => (None, String::new()),
            [high, low, reason @ ..] => (
                Some(u16::from_be_bytes([*high, *low])),
                String::from_utf8(reason.to_vec()).expect("the close reason is not UTF-8"),
            ),
            [_] => panic!("a Close with a payload of 1 byte"),
        }
    }

    fn key(&self, side: Side) -> Option<[u8; 4]> {
        match (self.masking, side) {
            (Masking::Key(key), _) => Some(key),
            (Masking::AsDue, Side::Client) => Some([0x37, 0xFA, 0x21, 0x3D]),
            (Masking::AsDue, Side::Server) | (Masking::Plain, _) => None,
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.opcode {
            CONTINUATION => "continuation",
            TEXT => "text",
            BINARY => "binary",
            CLOSE => "close",
            PING => "ping",
            PONG => "pong",
            _ => "reserved",
        };
        let more = if self.fin { "" } else { ", more follow" };
        let shown = &self.payload[..self.payload.len().min(64)];
        write!(f, "{name} frame (opcode {:#x}, rsv {:03b}{more}), ", self.opcode, self.rsv)?;
        write!(f, "{} bytes: \"{}\"", self.payload.len(), shown.escape_ascii())
    }
}

/// Takes the first frame off `bytes` once it is there whole.
///
/// # Panics
/// If the length is not written in the least number of bytes: no peer may do that.
pub fn take_frame(bytes: &mut Vec<u8>) -> Option<Frame> {
    let (length, length_end) = length(bytes)?;
    let minimal_end = match length {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    };
    assert_eq!(length_end, minimal_end, "a length of {length} is not written minimally");
    take_any_frame(bytes)
}

/// Does the same, however the length is written; a frame that is too long for memory never becomes whole.
pub fn take_any_frame(bytes: &mut Vec<u8>) -> Option<Frame> {
    let (length, length_end) = length(bytes)?;
    let (first, second) = (bytes[0], bytes[1]);
    let (masking, start) = if second & 0x80 == 0 {
        (Masking::Plain, length_end)
    } else {
        (Masking::Key(*bytes[length_end..].first_chunk()?), length_end + 4)
    };
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    let mut payload = bytes.get(start..end)?.to_vec();
    if let Masking::Key(key) = masking {
        payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    }
    bytes.drain(..end);
    Some(Frame {
        fin: first & 0x80 != 0,
        rsv: (first >> 4) & 7,
        opcode: first & 0xF,
        masking,
        payload,
    })
}

/// Returns the length of the first frame's payload, and where its length ends.
fn length(bytes: &[u8]) -> Option<(u64, usize)> {
    match bytes.get(1)? & 0x7F {
        126 => Some((u64::from(u16::from_be_bytes(*bytes[2..].first_chunk()?)), 4)),
        127 => Some((u64::from_be_bytes(*bytes[2..].first_chunk()?), 10)),
        short => Some((u64::from(short), 2)),
    }
}
