//! The layout of a frame header (RFC 6455 section 5.2), without validation.

use super::opcode::{ControlOpcode, DataOpcode};

/// The longest header: 2 bytes, a length of 8, a masking key of 4.
pub(super) const MAX_HEADER: usize = 14;
/// The longest payload of a control frame (section 5.5), which is also the longest 7-bit length.
pub(super) const MAX_CONTROL_PAYLOAD: u8 = 125;
/// After how many bytes of a header the top bit of a 64-bit length is known.
pub(super) const LOST_AFTER: u8 = 3;

/// The opcode: the low 4 bits of the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Data(DataOpcode),
    Control(ControlOpcode),
    Reserved(u8),
}

impl Opcode {
    #[inline]
    pub(super) fn of(first: u8) -> Self {
        match first & 0x0f {
            0x0 => Self::Data(DataOpcode::Continuation),
            0x1 => Self::Data(DataOpcode::Text),
            0x2 => Self::Data(DataOpcode::Binary),
            0x8 => Self::Control(ControlOpcode::Close),
            0x9 => Self::Control(ControlOpcode::Ping),
            0xa => Self::Control(ControlOpcode::Pong),
            reserved => Self::Reserved(reserved),
        }
    }
}

#[inline]
pub(super) fn is_fin(first: u8) -> bool {
    first & 0x80 != 0
}

/// Returns the reserved bits; RSV1 is `0b100`.
#[inline]
pub(super) fn rsv(first: u8) -> u8 {
    first >> 4 & 0b111
}

#[inline]
pub(super) fn is_masked(second: u8) -> bool {
    second & 0x80 != 0
}

/// Returns the 7-bit length; 126 and 127 announce an extended length.
#[inline]
pub(super) fn short_len(second: u8) -> u8 {
    second & 0x7f
}

/// The extent of a header and its frame.
pub(super) enum Extent {
    /// The header is incomplete.
    Unknown,
    /// The header is `size` bytes long and announces a payload of `len`.
    Known { size: usize, mask: Option<[u8; 4]>, len: u64 },
    /// The length has its top bit set, so the end of the frame is unknown.
    Endless,
}

/// Measures the frame that begins with `header`, which may be incomplete or have payload after it.
#[inline]
pub(super) fn extent(header: &[u8]) -> Extent {
    let &[_, second, ref rest @ ..] = header else { return Extent::Unknown };
    let (len, rest) = match (short_len(second), rest) {
        (126, &[a, b, ref rest @ ..]) => (u64::from(u16::from_be_bytes([a, b])), rest),
        (127, &[a, ..]) if a & 0x80 != 0 => return Extent::Endless,
        (127, &[a, b, c, d, e, f, g, h, ref rest @ ..]) => {
            (u64::from_be_bytes([a, b, c, d, e, f, g, h]), rest)
        }
        (126 | 127, _) => return Extent::Unknown,
        (short, rest) => (u64::from(short), rest),
    };
    let (mask, rest) = match (is_masked(second), rest) {
        (false, rest) => (None, rest),
        (true, &[a, b, c, d, ref rest @ ..]) => (Some([a, b, c, d]), rest),
        (true, _) => return Extent::Unknown,
    };
    Extent::Known { size: header.len() - rest.len(), mask, len }
}
