//! How much one connection may do before others get their turn.
//!
//! Bytes say little about work: 64 KiB are one message, or ten thousand empty ones. So a turn is
//! counted in frames, and bytes and system calls are counted as the frames they cost as much as.

/// What a turn may cost, in frames: some ten microseconds of a release build.
const TURN: u32 = 64;

/// What a frame costs that others of its message follow: it is put together with them.
const FRAGMENT: u32 = 4;

/// What one round of reading and writing costs, without what it moves: two system calls.
const ROUND: u32 = 8;

/// So many bytes cost as much as a frame.
const BYTES_PER_FRAME: usize = 1024;

/// What is left of a turn.
#[derive(Debug)]
pub(super) struct Turn {
    frames: u32,
}

impl Turn {
    pub(super) fn new() -> Self {
        Self { frames: TURN }
    }

    /// A turn for what is bounded already.
    pub(super) fn unbounded() -> Self {
        Self { frames: u32::MAX }
    }

    pub(super) fn is_over(&self) -> bool {
        self.frames == 0
    }

    /// Returns the frames that are left, to be counted down.
    pub(super) fn frames(&mut self) -> &mut u32 {
        &mut self.frames
    }

    pub(super) fn spend_round(&mut self) {
        self.frames = self.frames.saturating_sub(ROUND);
    }

    pub(super) fn spend_frame(&mut self) {
        self.frames = self.frames.saturating_sub(1);
    }

    pub(super) fn spend_fragment(&mut self) {
        self.frames = self.frames.saturating_sub(FRAGMENT);
    }

    pub(super) fn spend_bytes(&mut self, bytes: usize) {
        // A read is at most 64 KiB.
        self.frames = self.frames.saturating_sub((bytes / BYTES_PER_FRAME) as u32);
    }
}
