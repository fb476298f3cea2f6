//! Finds the end of a chunked body (RFC 9112 section 7.1).

use super::Malformed;

/// The state of reading a chunked body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkedBody(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the size of a chunk, after this many digits.
    Size {
        size: u64,
        digits: u8,
    },
    /// In the chunk extensions, after this many bytes.
    Extension {
        size: u64,
        len: u16,
    },
    /// Before the LF that ends the line with the size.
    SizeLf {
        size: u64,
    },
    /// In the data of a chunk, with this many bytes left; never 0.
    Data {
        left: u64,
    },
    /// Before the CR LF after the data of a chunk.
    DataCr,
    DataLf,
    /// In a trailer line.
    Trailer {
        empty: bool,
    },
    TrailerLf {
        empty: bool,
    },
    End,
}

/// A size with more digits would not fit into 64 bits.
const MAX_DIGITS: u8 = 16;

/// Longer chunk extensions are refused; real ones are short or absent.
const MAX_EXTENSION: u16 = 4096;

impl Default for ChunkedBody {
    /// Starts at the first chunk.
    fn default() -> Self {
        Self(State::Size { size: 0, digits: 0 })
    }
}

impl ChunkedBody {
    /// Reads the next bytes, and returns how many of them belong to the body: all, unless it ends.
    ///
    /// # Errors
    /// The body is not validly chunked.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && self.0 != State::End {
            let rest = (bytes.len() - at) as u64;
            if let State::Data { left } = self.0 {
                let taken = left.min(rest);
                self.0 = match left - taken {
                    0 => State::DataCr,
                    left => State::Data { left },
                };
                at += taken as usize; // at most the length of a slice
                continue;
            }
            self.0 = self.0.after(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    /// Returns whether the body has ended.
    pub fn is_end(&self) -> bool {
        self.0 == State::End
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
            (Self::TrailerLf { empty: true }, b'\n') => Self::End,
            (Self::TrailerLf { empty: false }, b'\n') => Self::Trailer { empty: true },
            _ => return Err(Malformed::Chunk),
        })
    }
}
