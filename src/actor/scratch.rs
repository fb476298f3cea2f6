//! One buffer per thread for reading and one for writing.
//!
//! A read or a write never waits half-way, so a buffer is needed only within one call: connections
//! on a thread can share it, an idle one holds none, and a busy one always has a large one.

use crate::runtime::scratch::Scratch;

/// The size of each buffer, in bytes: what one read takes at most.
const SIZE: usize = 64 * 1024;

thread_local! {
    static READ: Scratch = Scratch::new(SIZE);
    static WRITE: Scratch = Scratch::new(SIZE);
}

/// Lends the thread's buffer for reading.
pub(crate) fn for_reading<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    Scratch::lend(&READ, work)
}

/// Lends the thread's buffer for writing.
pub(crate) fn for_writing<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    Scratch::lend(&WRITE, work)
}
