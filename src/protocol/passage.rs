//! The frames that pass from one leg of a relay to the other: valid data frames, unchanged.
//!
//! A relay forwards frames, not messages. The scanner finds their boundaries, and their bytes are
//! forwarded unchanged, including header and masking key: a client masks its frames and an application
//! expects them masked (RFC 6455 section 5.1), and in the other direction neither is the case. (Between
//! two servers a [`Masker`] masks them.) Control frames are not forwarded: Close, Ping and Pong belong
//! to each hop.
//!
//! A frame of at most [`MAX_BUFFERED`] bytes is forwarded only when it is complete and valid, so that
//! most faults of a sender, such as dying half-way, leave no partial frame on the other leg. A larger
//! frame is streamed piece by piece, in bounded memory.

mod masking;
mod substring;
mod text_matcher;
mod utf8_check;

use std::ops::Range;

use super::classification::Breach;
use super::frame_scanner::{
    ControlFrame, DataOpcode, Found, FrameHeader, FrameScanner, Position, ScanLimits,
};
use crate::vocabulary::Role;
pub use masking::Masker;
pub use text_matcher::{MAX_TEXTS, Matches, TextMatcher};
use utf8_check::Utf8Check;

/// The largest payload of a frame that is buffered until it is complete, in bytes.
pub const MAX_BUFFERED: u64 = 16 * 1024;

/// The capacity for message ends that is kept from one run to the next.
const KEPT_ENDS: usize = 32;

/// The settings for the frames of one peer of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassagePolicy {
    /// How large frames and messages may be.
    pub limits: ScanLimits,
    /// The reserved bits of a negotiated extension (section 9); RSV1 is `0b100`.
    pub allowed_rsv: u8,
    /// Whether uncompressed text must be UTF-8 (section 8.1).
    pub check_utf8: bool,
}

/// Finds the bytes to forward among those that one peer sends.
#[derive(Debug)]
pub struct Passage {
    scanner: FrameScanner,
    check_utf8: bool,
    /// The UTF-8 check of the message in progress; `None` for binary and compressed ones.
    utf8: Option<Utf8Check>,
    /// The number of payload bytes read of the message in progress.
    message: Option<u64>,
    mask: Option<[u8; 4]>,
    /// Whether the frame in progress is forwarded in pieces.
    streams: bool,
    /// The beginning of the frame in progress, as far as it was read and not forwarded.
    held: Vec<u8>,
    /// Whether `held` was returned as a run, and is dropped by the next call.
    held_returned: bool,
    /// A piece found after a run, which the next call returns.
    pending: Option<PassagePiece>,
    ends: Vec<MessageEnd>,
    /// The number of frames without FIN that began in the last read.
    fragments: u32,
    matcher: Option<Box<TextMatcher>>,
}

/// The result of reading the front of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum PassagePiece {
    /// Part of a frame; more bytes are needed.
    Part,
    /// Bytes to forward unchanged.
    Run(Run),
    /// A control frame, which is not forwarded.
    Control(ControlFrame),
    /// The peer broke a rule; from now on only its Close is reported (section 7.1.7).
    Breach(Breach),
}

/// Bytes to forward unchanged; [`Passage::ends`] returns the messages that end in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Where they are.
    pub source: RunSource,
    /// Whether the last byte is the last of its frame.
    pub ends_frame: bool,
    /// The payload bytes read so far of the message in progress after the run; `None` between messages.
    pub unfinished: Option<u64>,
}

/// Where the bytes of a run are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunSource {
    /// In this range of the bytes that were read.
    Read(Range<usize>),
    /// In [`Passage::held`].
    Held,
}

/// A message that ends in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageEnd {
    /// The offset after its last byte, from the beginning of the run.
    pub at: usize,
    /// The length of its payload over all its frames.
    pub payload: u64,
}

/// The valid part of the bytes being read, which becomes a run.
#[derive(Debug, Default)]
struct RunBuilder {
    start: Option<usize>,
    end: usize,
    ends_frame: bool,
    unfinished: Option<u64>,
}

impl Passage {
    /// Makes a passage for the bytes that this end receives in `role`.
    pub fn new(role: Role, policy: PassagePolicy) -> Self {
        Self {
            scanner: FrameScanner::new(role, policy.limits).allow_rsv(policy.allowed_rsv),
            check_utf8: policy.check_utf8,
            utf8: None,
            message: None,
            mask: None,
            streams: false,
            held: Vec::new(),
            held_returned: false,
            pending: None,
            ends: Vec::new(),
            fragments: 0,
            matcher: None,
        }
    }

    /// Sets what to match uncompressed messages against, from the next one on.
    pub fn set_matcher(&mut self, matcher: Option<TextMatcher>) {
        self.matcher = matcher.map(Box::new);
    }

    /// Takes the matches found so far, one entry for each message with any.
    pub fn take_matches(&mut self) -> Vec<Matches> {
        self.matcher.as_deref_mut().map(TextMatcher::take_matches).unwrap_or_default()
    }

    /// Reads one piece from the front of `bytes`, and returns how many bytes were consumed.
    ///
    /// Must be called while bytes are left or [`Passage::has_pending`] returns true.
    pub fn read(&mut self, bytes: &[u8]) -> (usize, PassagePiece) {
        let mut all = u32::MAX;
        self.read_frames(bytes, &mut all)
    }

    /// Like [`Passage::read`], but reads at most this many `frames`, which it counts down.
    pub fn read_frames(&mut self, bytes: &[u8], frames: &mut u32) -> (usize, PassagePiece) {
        self.ends.clear();
        self.fragments = 0;
        if std::mem::take(&mut self.held_returned) {
            // An idle connection holds no buffer.
            self.held = Vec::new();
        }
        if let Some(pending) = self.pending.take() {
            return (0, pending);
        }
        let mut run = RunBuilder::default();
        let mut at = 0;
        while at < bytes.len() && *frames > 0 {
            let scanned = self.scanner.scan(&bytes[at..]);
            at += scanned.consumed;
            // A header and its payload count as one frame, so that a header is not left over.
            if !matches!(&scanned.found, Found::Header(header) if header.len > 0) {
                *frames -= 1;
            }
            let found = match scanned.found {
                Found::Nothing => None,
                Found::Header(header) => {
                    self.fragments += u32::from(!header.fin);
                    self.begin_frame(&header, bytes.len(), at, &mut run)
                }
                Found::Payload { frame_end, message_end, offset } => {
                    let part = Part { bytes, at: at - scanned.consumed..at, offset };
                    self.take_payload(&part, frame_end, message_end, &mut run)
                }
                Found::Control(frame) => Some(PassagePiece::Control(frame)),
                Found::Violation(violation) => {
                    Some(PassagePiece::Breach(Breach::Framing(violation)))
                }
            };
            if let Some(piece) = found {
                return (at, self.finish_run(run, piece));
            }
        }
        (at, self.finish_run(run, PassagePiece::Part))
    }

    /// Returns whether the next read returns a piece without more bytes.
    pub fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Returns the messages that end in the last run.
    pub fn ends(&self) -> &[MessageEnd] {
        &self.ends
    }

    /// Returns the number of frames without FIN that began in the last read.
    pub fn fragments(&self) -> u32 {
        self.fragments
    }

    /// Returns the bytes of the last run, if its source is [`RunSource::Held`].
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Returns the memory that the frame in progress occupies, in bytes.
    pub fn held_capacity(&self) -> usize {
        self.held.capacity()
    }

    /// Releases buffers; called when all input was read and handled.
    pub fn release_buffers(&mut self) {
        if std::mem::take(&mut self.held_returned) {
            self.held = Vec::new();
        }
        if self.ends.capacity() > KEPT_ENDS {
            self.ends = Vec::new();
        }
    }

    /// Returns the position of the stream within a frame and a message.
    pub fn position(&self) -> Position {
        self.scanner.position()
    }

    /// Returns the run, if it is not empty, and keeps `piece` for the next call; otherwise `piece`.
    fn finish_run(&mut self, run: RunBuilder, piece: PassagePiece) -> PassagePiece {
        let Some(start) = run.start.filter(|start| run.end > *start) else { return piece };
        if piece != PassagePiece::Part {
            self.pending = Some(piece);
        }
        for end in &mut self.ends {
            end.at -= start;
        }
        let source = RunSource::Read(start..run.end);
        PassagePiece::Run(Run { source, ends_frame: run.ends_frame, unfinished: run.unfinished })
    }

    /// Enters a frame whose header ends at `end` of the `len` bytes at hand.
    fn begin_frame(
        &mut self,
        header: &FrameHeader,
        len: usize,
        end: usize,
        run: &mut RunBuilder,
    ) -> Option<PassagePiece> {
        match header.opcode {
            DataOpcode::Text | DataOpcode::Binary => {
                // Section 8.1; compressed text (RFC 7692) cannot be checked here.
                let checked =
                    self.check_utf8 && header.opcode == DataOpcode::Text && header.rsv == 0;
                self.utf8 = checked.then(Utf8Check::default);
                self.message = Some(0);
                if let Some(matcher) = &mut self.matcher {
                    matcher.begin(header.opcode == DataOpcode::Text, header.rsv != 0);
                }
            }
            DataOpcode::Continuation => {}
        }
        self.mask = header.mask;
        self.streams = header.len > MAX_BUFFERED;
        let raw = header.raw();
        let at_hand = (len - end) as u64;
        let start = end.checked_sub(raw.len());
        let passes_now = header.len <= at_hand || self.streams && at_hand > 0;
        match start.filter(|_| passes_now) {
            // The header is forwarded together with its payload.
            Some(start) => {
                run.start.get_or_insert(start);
            }
            None => self.held.extend_from_slice(raw),
        }
        if header.len > 0 {
            return None;
        }
        if header.fin && !self.is_text_complete() {
            return Some(self.invalid_text());
        }
        self.forward(end, header.fin, run)
    }

    /// Takes payload of the frame in progress.
    fn take_payload(
        &mut self,
        part: &Part<'_>,
        frame_end: bool,
        message_end: bool,
        run: &mut RunBuilder,
    ) -> Option<PassagePiece> {
        let payload = &part.bytes[part.at.clone()];
        let mask = self.mask;
        let valid = self.utf8.as_mut().is_none_or(|utf8| utf8.feed(payload, mask, part.offset));
        if !valid || message_end && !self.is_text_complete() {
            return Some(self.invalid_text());
        }
        if let Some(matcher) = &mut self.matcher {
            matcher.feed(payload, mask, part.offset);
        }
        self.message = self.message.map(|bytes| bytes.saturating_add(payload.len() as u64));
        if self.held.is_empty() {
            run.start.get_or_insert(part.at.start);
        } else {
            self.held.extend_from_slice(payload);
            if !(frame_end || self.streams) {
                return None;
            }
        }
        self.forward(part.at.end, message_end, run)
    }

    /// Forwards the frame in progress as far as it was read: up to `end`, or what is held of it.
    fn forward(
        &mut self,
        end: usize,
        message_end: bool,
        run: &mut RunBuilder,
    ) -> Option<PassagePiece> {
        let held = !self.held.is_empty();
        if message_end {
            if let Some(matcher) = &mut self.matcher {
                matcher.end();
            }
            self.utf8 = None;
            let payload = self.message.take().unwrap_or(0);
            let at = if held { self.held.len() } else { end };
            self.ends.push(MessageEnd { at, payload });
        }
        let ends_frame = !matches!(self.scanner.position(), Position::InPayload { .. });
        if !held {
            (run.end, run.ends_frame, run.unfinished) = (end, ends_frame, self.message);
            return None;
        }
        self.held_returned = true;
        Some(PassagePiece::Run(Run {
            source: RunSource::Held,
            ends_frame,
            unfinished: self.message,
        }))
    }

    fn is_text_complete(&self) -> bool {
        self.utf8.as_ref().is_none_or(Utf8Check::is_complete)
    }

    fn invalid_text(&mut self) -> PassagePiece {
        self.scanner.seek_close();
        self.utf8 = None;
        PassagePiece::Breach(Breach::InvalidText)
    }
}

/// A part of a frame's payload.
struct Part<'a> {
    bytes: &'a [u8],
    at: Range<usize>,
    /// Its offset within the payload of the frame.
    offset: u64,
}

#[cfg(test)]
mod tests;
