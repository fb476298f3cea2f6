//! Writing to the transport of another task, as long as that task keeps it open.

use std::fmt;
use std::sync::Weak;

/// A writer for other tasks than the owner of a transport. It does not keep the transport open.
#[derive(Clone)]
pub struct DirectWriter(Weak<dyn WriteAtOnce>);

/// A transport that other tasks may write to.
pub(super) trait WriteAtOnce: Send + Sync {
    /// Writes what the kernel takes at once. Errors are left to the owner, who meets them too.
    fn write_at_once(&self, bytes: &[u8]) -> Written;
}

/// The result of a direct write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// The number of bytes that the transport took: 0 as well if it failed or is closed.
    pub taken: usize,
    /// Some of them are held back, as TLS does with a part of a record, until the owner flushes.
    pub held_back: bool,
}

impl DirectWriter {
    pub(super) fn new(transport: Weak<dyn WriteAtOnce>) -> Self {
        Self(transport)
    }

    /// Writes what the transport takes at once.
    pub fn try_write(&self, bytes: &[u8]) -> Written {
        self.0.upgrade().map_or(Written::default(), |transport| transport.write_at_once(bytes))
    }
}

impl fmt::Debug for DirectWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DirectWriter").finish_non_exhaustive()
    }
}
