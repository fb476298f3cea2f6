//! Masks the frames that a relay forwards from one server to another.
//!
//! Frames from a client to its application keep their masking key. Where both ends are servers, such
//! as a feed and its application, frames arrive unmasked and must be sent masked (RFC 6455 section
//! 5.1), so each gets a masking key, and nothing else changes.

use super::MessageEnd;
use crate::protocol::frame_encoder::apply_mask;

/// Masks the frames of one peer, run by run.
#[derive(Debug, Default)]
pub struct Masker {
    /// The frame in progress, if the last run did not end it.
    begun: Option<Begun>,
    masked: Vec<u8>,
    ends: Vec<MessageEnd>,
}

#[derive(Debug, Clone, Copy)]
struct Begun {
    /// Its masking key, rotated to the next byte.
    mask: [u8; 4],
    /// How many bytes of its payload are left.
    left: u64,
}

impl Masker {
    /// Masks the next run, and returns its bytes and the messages that end in them. `key` returns the
    /// masking key of each frame, which must be unpredictable (section 5.3).
    ///
    /// Runs must be those of a [`Passage`](super::Passage), in order and with headers never split.
    pub fn mask(
        &mut self,
        mut run: &[u8],
        ends: &[MessageEnd],
        mut key: impl FnMut() -> [u8; 4],
    ) -> (&[u8], &[MessageEnd]) {
        self.masked.clear();
        self.ends.clear();
        let (whole, mut ends) = (run.len(), ends.iter().peekable());
        while !run.is_empty() {
            let mut frame = match self.begun.take() {
                Some(begun) => begun,
                None => {
                    let (header, left) = header_of(run);
                    let mask = key();
                    self.masked.extend_from_slice(header);
                    let length = self.masked.len() - header.len() + 1;
                    self.masked[length] |= 0x80;
                    self.masked.extend_from_slice(&mask);
                    run = &run[header.len()..];
                    Begun { mask, left }
                }
            };
            let here = usize::try_from(frame.left).map_or(run.len(), |left| left.min(run.len()));
            let at = self.masked.len();
            self.masked.extend_from_slice(&run[..here]);
            apply_mask(&mut self.masked[at..], frame.mask);
            run = &run[here..];
            frame.left -= here as u64;
            if frame.left > 0 {
                frame.mask.rotate_left(here % 4);
                self.begun = Some(frame);
            }
            let behind = whole - run.len();
            while let Some(end) = ends.next_if(|end| end.at <= behind) {
                self.ends.push(MessageEnd { at: self.masked.len(), ..*end });
            }
        }
        (&self.masked, &self.ends)
    }

    /// Releases its buffers.
    pub fn release_buffers(&mut self) {
        self.masked = Vec::new();
        self.ends = Vec::new();
    }
}

/// Returns the header of the frame at the front, which is valid and unmasked, and the length of its
/// payload.
fn header_of(bytes: &[u8]) -> (&[u8], u64) {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let extended = match bytes.get(1) {
        Some(126) => 2,
        Some(127) => 8,
        Some(_) | None => 0,
    };
    let header = &bytes[..bytes.len().min(2 + extended)];
    match (extended, header) {
        (0, [_, length]) => (header, u64::from(*length)),
        (_, [_, _, length @ ..]) => (header, number(length)),
        (_, _) => (header, 0),
    }
}
