//! What an outbox knows of the frames that a relay passes through it.

use std::collections::VecDeque;

use super::item::Item;

/// The state of an outbox that a relay passes frames through.
#[derive(Debug, Default)]
pub(super) struct Passing {
    /// What has left last did not end its frame.
    pub(super) head_cut: bool,
    /// What was taken last did not end its frame.
    pub(super) tail_cut: bool,
    /// The payload that was taken of the message in progress.
    pub(super) unfinished: Option<u64>,
    /// Whether others than the other leg may send.
    pub(super) injects: bool,
    pub(super) own: Own,
    /// A Close that waits for the end of a frame, or of the message that keeps our own waiting.
    pub(super) close: Option<Item>,
    /// Nothing more will be passed on.
    pub(super) ended: bool,
    /// Somebody waits for room.
    pub(super) awaited: bool,
}

/// Messages that wait for the end of the one that passes.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) items: VecDeque<Item>,
    /// What they take in memory, in bytes.
    pub(super) memory: usize,
}

impl Own {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}
