//! Where a body in chunks ends (RFC 9112 section 7.1).

use super::Malformed;

/// How far into a body in chunks its reader is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkedBody(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the size of a chunk, of which so many digits have come.
    Size {
        size: u64,
        digits: u8,
    },
    /// In the extensions behind it, of which so many bytes have come.
    Extension {
        size: u64,
        len: u16,
    },
    /// Before the LF that ends the line of a size.
    SizeLf {
        size: u64,
    },
    /// In a chunk with so many bytes left, above zero.
    Data {
        left: u64,
    },
    /// Before the CR LF behind a chunk.
    DataCr,
    DataLf,
    /// In a trailer line; it is empty so far, or not.
    Trailer {
        empty: bool,
    },
    TrailerLf {
        empty: bool,
    },
    Over,
}

/// A size of more digits does not fit into 64 bits.
const MAX_DIGITS: u8 = 16;

/// Nobody sends extensions that are longer.
const MAX_EXTENSION: u16 = 4096;

impl Default for ChunkedBody {
    /// Begins at the first chunk.
    fn default() -> Self {
        Self(State::Size { size: 0, digits: 0 })
    }
}

impl ChunkedBody {
    /// Goes over what comes next, and returns how much of it belongs to the body: all, unless the
    /// body ends within.
    ///
    /// # Errors
    /// It is not in chunks.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && self.0 != State::Over {
            let rest = (bytes.len() - at) as u64;
            if let State::Data { left } = self.0 {
                let taken = left.min(rest);
                self.0 = match left - taken {
                    0 => State::DataCr,
                    left => State::Data { left },
                };
                // It is at most what is left of a slice.
                at += taken as usize;
                continue;
            }
            self.0 = self.0.after(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    /// Tells whether it has ended.
    pub fn is_over(&self) -> bool {
        self.0 == State::Over
    }
}

impl State {
    fn after(self, byte: u8) -> Result<Self, Malformed> {
        Ok(match (self, byte) {
            (Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() && digits < MAX_DIGITS => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Self::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { size, digits: 1.. }, b'\r') => Self::SizeLf { size },
            (Self::Size { size, digits: 1.. }, b';' | b' ' | b'\t') => {
                Self::Extension { size, len: 0 }
            }
            (Self::Extension { size, .. }, b'\r') => Self::SizeLf { size },
            (Self::Extension { size, len: len @ ..MAX_EXTENSION }, _) if byte != b'\n' => {
                Self::Extension { size, len: len + 1 }
            }
            (Self::SizeLf { size: 0 }, b'\n') => Self::Trailer { empty: true },
            (Self::SizeLf { size }, b'\n') => Self::Data { left: size },
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size { size: 0, digits: 0 },
            (Self::Trailer { empty }, b'\r') => Self::TrailerLf { empty },
            (Self::Trailer { .. }, _) if byte != b'\n' => Self::Trailer { empty: false },
            (Self::TrailerLf { empty: true }, b'\n') => Self::Over,
            (Self::TrailerLf { empty: false }, b'\n') => Self::Trailer { empty: true },
            _ => return Err(Malformed::Chunk),
        })
    }
}
