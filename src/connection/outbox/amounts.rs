//! What left an outbox, was freed in it, or was lost.

/// Messages that were accepted and did not leave whole.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// Memory of data that is queued no more, in bytes.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Freed {
    pub(super) memory: usize,
    /// Of that, how much the memory budget was charged with.
    pub(super) charged: usize,
}

/// What left whole with a write.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// The bytes that the transport took.
    pub(crate) bytes: usize,
    pub(crate) messages: u64,
    pub(crate) payload_bytes: u64,
    /// The size of a Ping's frame.
    pub(crate) ping: Option<u64>,
    pub(crate) close: bool,
    /// Something waits behind it.
    pub(crate) more: bool,
    /// There is room again for the other leg of a relay, which waits for it.
    pub(crate) room: bool,
}

impl Freed {
    pub(super) fn add(&mut self, other: Self) {
        self.memory += other.memory;
        self.charged += other.charged;
    }
}

impl Lost {
    pub(super) fn add(&mut self, payload: usize) {
        self.messages += 1;
        self.bytes += payload as u64;
    }
}
