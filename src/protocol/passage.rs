//! What may pass from one leg of a relay to the other: whole frames as they are, nothing that breaks
//! a rule.
//!
//! A relay moves frames, not messages. The scanner finds where they begin and end; their bytes pass
//! on as they came, header and mask included, because what a client sends arrives masked and an
//! application expects it masked, and the other way round neither does. (Between two servers a
//! [`Masker`] masks them.) Control frames are taken out: Close, Ping and Pong are each hop's own.
//!
//! A frame of at most [`HELD_WHOLE`] bytes passes only when all of it has come and was found good, so
//! that most of what a sender can do wrong, dying half-way included, leaves nothing half-sent on the
//! other leg. A larger one is streamed: its pieces pass as they come, in bounded memory.

mod lookout;
mod masking;
mod search;
mod text;

use std::ops::Range;

use super::classification::Breach;
use super::frame_scanner::{
    ControlFrame, DataOpcode, Found, FrameHeader, FrameScanner, Place, ScanLimits,
};
use crate::vocabulary::Role;
pub use lookout::{Lookout, MOST_TEXTS, Sighted};
pub use masking::Masker;
use text::TextCheck;

/// The largest payload of a frame that passes only when it is whole, in bytes.
pub const HELD_WHOLE: u64 = 16 * 1024;

/// Room for so many messages that end in one run is kept for the next.
const MANY_ENDS: usize = 32;

/// What holds for the frames of one peer of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassagePolicy {
    /// How large frames and messages may be.
    pub limits: ScanLimits,
    /// The reserved bits that an extension was agreed on for; RSV1 is `0b100`.
    pub allowed_rsv: u8,
    /// Uncompressed text must be UTF-8.
    pub check_utf8: bool,
}

/// Finds what may pass in the bytes of one peer.
#[derive(Debug)]
pub struct Passage {
    scanner: FrameScanner,
    check_utf8: bool,
    /// The check of the text message in progress; none for binary and compressed ones.
    text: Option<TextCheck>,
    /// The payload that has come of the message in progress.
    message: Option<u64>,
    mask: Option<[u8; 4]>,
    /// The frame in progress passes in pieces.
    streams: bool,
    /// The beginning of the frame in progress, as far as it has come and not passed.
    held: Vec<u8>,
    /// What is held was told of, and is taken by the next call.
    told: bool,
    /// Found behind a run, and told after it.
    pending: Option<Piece>,
    ends: Vec<MessageEnd>,
    /// Frames of the last read that others of their message follow.
    fragments: u32,
    lookout: Option<Box<Lookout>>,
}

/// What the front of some bytes was.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A part of something; more is needed.
    Part,
    /// Bytes that pass on as they are.
    Run(Run),
    /// A control frame, which does not pass.
    Control(ControlFrame),
    /// The peer broke a rule; from now on only its Close is looked for.
    Breach(Breach),
}

/// Bytes that pass on as they are; [`Passage::ends`] says which messages end in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Where they are.
    pub source: RunSource,
    /// The last of them is the last of its frame.
    pub ends_frame: bool,
    /// The payload that has come of the message in progress behind them; `None` between messages.
    pub unfinished: Option<u64>,
}

/// Where the bytes of a run are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunSource {
    /// Among those that were read, in this range.
    Read(Range<usize>),
    /// In [`Passage::held`].
    Held,
}

/// A message that ends in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageEnd {
    /// Behind its last byte, counted from the beginning of the run.
    pub at: usize,
    /// Its payload in bytes, over all its frames.
    pub payload: u64,
}

/// A run among the bytes at hand, as far as it was found good.
#[derive(Debug, Default)]
struct Building {
    start: Option<usize>,
    end: usize,
    ends_frame: bool,
    unfinished: Option<u64>,
}

impl Passage {
    /// Makes a passage for what the peer of a `role` sends.
    pub fn new(role: Role, policy: PassagePolicy) -> Self {
        Self {
            scanner: FrameScanner::new(role, policy.limits).allow_rsv(policy.allowed_rsv),
            check_utf8: policy.check_utf8,
            text: None,
            message: None,
            mask: None,
            streams: false,
            held: Vec::new(),
            told: false,
            pending: None,
            ends: Vec::new(),
            fragments: 0,
            lookout: None,
        }
    }

    /// Looks for texts in the messages that pass, uncompressed, from the next one on; `None` for
    /// nothing any more.
    pub fn look_for(&mut self, lookout: Option<Lookout>) {
        self.lookout = lookout.map(Box::new);
    }

    /// Returns, once, what of the texts was in each message in which there was any.
    pub fn take_sighted(&mut self) -> Vec<Sighted> {
        self.lookout.as_deref_mut().map(Lookout::take_sighted).unwrap_or_default()
    }

    /// Reads one piece off the front of `bytes`; returns how many bytes that took.
    ///
    /// Call it while bytes are left or [`Passage::has_pending`].
    pub fn read(&mut self, bytes: &[u8]) -> (usize, Piece) {
        let mut all = u32::MAX;
        self.read_frames(bytes, &mut all)
    }

    /// Likewise, but reads no more than that many `frames`, which it counts down.
    pub fn read_frames(&mut self, bytes: &[u8], frames: &mut u32) -> (usize, Piece) {
        self.ends.clear();
        self.fragments = 0;
        if std::mem::take(&mut self.told) {
            // An idle connection holds no buffer.
            self.held = Vec::new();
        }
        if let Some(pending) = self.pending.take() {
            return (0, pending);
        }
        let mut run = Building::default();
        let mut at = 0;
        while at < bytes.len() && *frames > 0 {
            let scanned = self.scanner.scan(&bytes[at..]);
            at += scanned.consumed;
            // A header is never left behind its payload: both are one frame, counted at its end.
            if !matches!(&scanned.found, Found::Header(header) if header.len > 0) {
                *frames -= 1;
            }
            let found = match scanned.found {
                Found::Nothing => None,
                Found::Header(header) => {
                    self.fragments += u32::from(!header.fin);
                    self.begin(&header, bytes.len(), at, &mut run)
                }
                Found::Payload { frame_end, message_end, offset } => {
                    let part = Part { bytes, at: at - scanned.consumed..at, offset };
                    self.take(&part, frame_end, message_end, &mut run)
                }
                Found::Control(frame) => Some(Piece::Control(frame)),
                Found::Violation(violation) => Some(Piece::Breach(Breach::Framing(violation))),
            };
            if let Some(piece) = found {
                return (at, self.after(run, piece));
            }
        }
        (at, self.after(run, Piece::Part))
    }

    /// Tells whether there is something to read that needs no more bytes.
    pub fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Returns the messages that end in the run that was read last.
    pub fn ends(&self) -> &[MessageEnd] {
        &self.ends
    }

    /// Returns how many frames began, in what was read last, that others of their message follow.
    pub fn fragments(&self) -> u32 {
        self.fragments
    }

    /// Returns the bytes of the run that was read last, if they are not among those at hand.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Returns how many bytes of memory the frame in progress takes.
    pub fn held_capacity(&self) -> usize {
        self.held.capacity()
    }

    /// Gives memory back; call it when the input has run dry, and what was read was dealt with.
    pub fn rest(&mut self) {
        if std::mem::take(&mut self.told) {
            self.held = Vec::new();
        }
        if self.ends.capacity() > MANY_ENDS {
            self.ends = Vec::new();
        }
    }

    /// Returns where in a frame and a message the stream stands.
    pub fn place(&self) -> Place {
        self.scanner.place()
    }

    /// Tells of a run first, if there is one, and of `piece` after it.
    fn after(&mut self, run: Building, piece: Piece) -> Piece {
        let Some(start) = run.start.filter(|start| run.end > *start) else { return piece };
        if piece != Piece::Part {
            self.pending = Some(piece);
        }
        for end in &mut self.ends {
            end.at -= start;
        }
        let source = RunSource::Read(start..run.end);
        Piece::Run(Run { source, ends_frame: run.ends_frame, unfinished: run.unfinished })
    }

    /// Enters a frame whose header ends at `end` of the `len` bytes at hand.
    fn begin(
        &mut self,
        header: &FrameHeader,
        len: usize,
        end: usize,
        run: &mut Building,
    ) -> Option<Piece> {
        match header.opcode {
            DataOpcode::Text | DataOpcode::Binary => {
                let checked =
                    self.check_utf8 && header.opcode == DataOpcode::Text && header.rsv == 0;
                self.text = checked.then(TextCheck::default);
                self.message = Some(0);
                if let Some(lookout) = &mut self.lookout {
                    lookout.begin(header.opcode == DataOpcode::Text, header.rsv != 0);
                }
            }
            DataOpcode::Continuation => {}
        }
        self.mask = header.mask;
        self.streams = header.len > HELD_WHOLE;
        let raw = header.raw();
        let at_hand = (len - end) as u64;
        let start = end.checked_sub(raw.len());
        let passes_now = header.len <= at_hand || self.streams && at_hand > 0;
        match start.filter(|_| passes_now) {
            // It passes with its payload, once that is seen.
            Some(start) => {
                run.start.get_or_insert(start);
            }
            None => self.held.extend_from_slice(raw),
        }
        if header.len > 0 {
            return None;
        }
        if header.fin && !self.text_is_whole() {
            return Some(self.invalid_text());
        }
        self.pass(end, header.fin, run)
    }

    /// Takes payload of the frame in progress.
    fn take(
        &mut self,
        part: &Part<'_>,
        frame_end: bool,
        message_end: bool,
        run: &mut Building,
    ) -> Option<Piece> {
        let payload = &part.bytes[part.at.clone()];
        let mask = self.mask;
        let good = self.text.as_mut().is_none_or(|text| text.feed(payload, mask, part.offset));
        if !good || message_end && !self.text_is_whole() {
            return Some(self.invalid_text());
        }
        if let Some(lookout) = &mut self.lookout {
            lookout.feed(payload, mask, part.offset);
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
        self.pass(part.at.end, message_end, run)
    }

    /// Lets the frame in progress pass as far as it has come: up to `end`, or what is held of it.
    fn pass(&mut self, end: usize, message_end: bool, run: &mut Building) -> Option<Piece> {
        let held = !self.held.is_empty();
        if message_end {
            if let Some(lookout) = &mut self.lookout {
                lookout.end();
            }
            self.text = None;
            let payload = self.message.take().unwrap_or(0);
            let at = if held { self.held.len() } else { end };
            self.ends.push(MessageEnd { at, payload });
        }
        let ends_frame = !matches!(self.scanner.place(), Place::InPayload { .. });
        if !held {
            (run.end, run.ends_frame, run.unfinished) = (end, ends_frame, self.message);
            return None;
        }
        self.told = true;
        Some(Piece::Run(Run { source: RunSource::Held, ends_frame, unfinished: self.message }))
    }

    fn text_is_whole(&self) -> bool {
        self.text.as_ref().is_none_or(TextCheck::is_whole)
    }

    fn invalid_text(&mut self) -> Piece {
        self.scanner.seek_close();
        self.text = None;
        Piece::Breach(Breach::InvalidText)
    }
}

/// A part of a frame's payload.
struct Part<'a> {
    bytes: &'a [u8],
    at: Range<usize>,
    /// Where in the frame's payload it begins.
    offset: u64,
}

#[cfg(test)]
mod tests;
