//! One buffer per thread for reading and one for writing.
//!
//! A read or a write never waits half-way, so a buffer is needed only within one call: connections
//! on a thread can share it, an idle one holds none, and a busy one always has a large one.

use std::cell::RefCell;

/// The size of each buffer, in bytes: what one read takes at most.
const SIZE: usize = 64 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into_boxed_slice());
    static WRITE: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into_boxed_slice());
}

/// Lends the thread's buffer for reading.
///
/// The borrow cannot fail: `work` polls one socket and takes frames apart, neither of which comes
/// back here. Should it ever, a buffer of its own is as good.
pub(crate) fn for_reading<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    READ.with(|buffer| match buffer.try_borrow_mut() {
        Ok(mut buffer) => work(&mut buffer),
        Err(_) => work(&mut vec![0; SIZE]),
    })
}

/// Lends the thread's buffer for writing.
pub(crate) fn for_writing<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    WRITE.with(|buffer| match buffer.try_borrow_mut() {
        Ok(mut buffer) => work(&mut buffer),
        Err(_) => work(&mut vec![0; SIZE]),
    })
}
