//! Encodes frames: the header (RFC 6455 section 5.2) and the masking (section 5.3).

use crate::vocabulary::Message;

/// The opcodes that this end sends (section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A text frame.
    Text = 0x1,
    /// A binary frame.
    Binary = 0x2,
    /// A Close frame.
    Close = 0x8,
    /// A Ping.
    Ping = 0x9,
    /// A Pong.
    Pong = 0xA,
}

impl Opcode {
    /// Returns the opcode of a message.
    pub const fn of(message: &Message) -> Self {
        match message {
            Message::Text(_) => Self::Text,
            Message::Binary(_) => Self::Binary,
        }
    }
}

/// An encoded frame header of 2 to 14 bytes.
#[derive(Debug, Clone, Copy)]
pub struct EncodedHeader {
    bytes: [u8; 14],
    len: u8,
}

impl EncodedHeader {
    /// Encodes the header of an unfragmented frame.
    #[inline]
    pub fn new(opcode: Opcode, payload_len: usize, mask: Option<[u8; 4]>) -> Self {
        let mut bytes = [0; 14];
        let masked = if mask.is_some() { 0x80 } else { 0 };
        bytes[0] = 0x80 | opcode as u8;
        // Section 5.2, "Payload length": the shortest form must be used.
        let mut len = match payload_len {
            0..=125 => {
                bytes[1] = masked | payload_len as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = masked | 126;
                bytes[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = masked | 127;
                bytes[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
                10
            }
        };
        if let Some(mask) = mask {
            bytes[len..len + 4].copy_from_slice(&mask);
            len += 4;
        }
        Self { bytes, len: len as u8 }
    }

    /// Encodes the header of a fragment (section 5.4): the first has an opcode, the others are
    /// continuation frames.
    pub fn fragment(opcode: Option<Opcode>, fin: bool, len: usize, mask: Option<[u8; 4]>) -> Self {
        let mut header = Self::new(opcode.unwrap_or(Opcode::Binary), len, mask);
        if opcode.is_none() {
            header.bytes[0] &= 0xf0;
        }
        if !fin {
            header.bytes[0] &= 0x7f;
        }
        header
    }

    /// Returns an empty header, for bytes that are already framed.
    pub const fn empty() -> Self {
        Self { bytes: [0; 14], len: 0 }
    }

    /// Returns the bytes of the header.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Masks or unmasks a payload; the operation is its own inverse (section 5.3).
#[inline]
pub fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    // Whole words first, which the compiler vectorises.
    let mut chunks = payload.chunks_exact_mut(4);
    for chunk in &mut chunks {
        for (byte, key) in chunk.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_in_their_shortest_form() {
        let head = |len| EncodedHeader::new(Opcode::Binary, len, None).as_bytes().to_vec();
        assert_eq!(head(0), [0x82, 0]);
        assert_eq!(head(125), [0x82, 125]);
        assert_eq!(head(126), [0x82, 126, 0, 126]);
        assert_eq!(head(65_535), [0x82, 126, 0xff, 0xff]);
        assert_eq!(head(65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        let masked = EncodedHeader::new(Opcode::Text, 1, Some([1, 2, 3, 4]));
        assert_eq!(masked.as_bytes(), [0x81, 0x81, 1, 2, 3, 4]);
    }

    #[test]
    fn fragments_have_an_opcode_only_in_the_first() {
        let head = |opcode, fin| EncodedHeader::fragment(opcode, fin, 3, None).as_bytes().to_vec();
        assert_eq!(head(Some(Opcode::Text), false), [0x01, 3]);
        assert_eq!(head(None, false), [0x00, 3]);
        assert_eq!(head(None, true), [0x80, 3]);
        assert_eq!(head(Some(Opcode::Binary), true), [0x82, 3]);
    }

    #[test]
    fn masking_twice_restores_the_payload() {
        for len in 0..40 {
            let plain: Vec<u8> = (0..len).collect();
            let mut payload = plain.clone();
            apply_mask(&mut payload, [0x12, 0x34, 0x56, 0x78]);
            for (i, byte) in payload.iter().enumerate() {
                assert_eq!(*byte, plain[i] ^ [0x12, 0x34, 0x56, 0x78][i % 4]);
            }
            apply_mask(&mut payload, [0x12, 0x34, 0x56, 0x78]);
            assert_eq!(payload, plain);
        }
    }
}
