//! A buffer of a thread, which is lent for the time of one call.

use std::cell::RefCell;
use std::thread::LocalKey;

/// A buffer of a thread: connections share it, and an idle one holds none.
pub(crate) struct Scratch {
    size: usize,
    buffer: RefCell<Box<[u8]>>,
}

impl Scratch {
    pub(crate) fn new(size: usize) -> Self {
        Self { size, buffer: RefCell::new(vec![0; size].into_boxed_slice()) }
    }

    /// Lends the buffer of this thread.
    ///
    /// The borrow cannot fail: `work` polls one socket and decodes what it read, neither of which comes
    /// back to this buffer. Should it ever, a buffer of its own is as good.
    pub(crate) fn lend<T>(
        scratch: &'static LocalKey<Self>,
        work: impl FnOnce(&mut [u8]) -> T,
    ) -> T {
        scratch.with(|Self { size, buffer }| match buffer.try_borrow_mut() {
            Ok(mut buffer) => work(&mut buffer),
            Err(_) => work(&mut vec![0; *size]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static SCRATCH: Scratch = Scratch::new(8);
    }

    #[test]
    fn a_buffer_that_is_lent_already_is_replaced() {
        let inner = || Scratch::lend(&SCRATCH, |inner| inner.len());
        let lens = Scratch::lend(&SCRATCH, |outer| (outer.len(), inner()));
        assert_eq!(lens, (8, 8));
    }
}
