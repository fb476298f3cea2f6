//! How much ciphertext a connection reads at a time, by what the last of it took. Pure.
//!
//! Bytes say little about work: a KeyUpdate has 27 of them and takes as long as many KiB of data. A peer
//! that sends thousands would hold its thread for 20 ms with each read.

use std::time::Duration;

/// The most, and the least, that is read at a time, in bytes.
pub(super) const MOST: usize = 64 * 1024;
const LEAST: usize = 1024;

/// A read that took longer to decrypt was too large.
const LONG: Duration = Duration::from_millis(1);

/// By what a read is smaller after one that was too large.
const SMALLER: usize = 8;

/// By how much it is larger after any other, in bytes.
const LARGER: usize = 2 * 1024;

/// How much a connection may read at a time.
#[derive(Debug)]
pub(super) struct ReadSize {
    most: u32,
}

impl ReadSize {
    pub(super) fn new() -> Self {
        Self { most: MOST as u32 }
    }

    /// Returns how many bytes to read at most.
    pub(super) fn most(&self) -> usize {
        self.most as usize
    }

    /// Adapts to how long it took to read and to decrypt; returns whether that was too long.
    pub(super) fn adapt(&mut self, took: Duration) -> bool {
        let was_long = took > LONG;
        let most = match was_long {
            true => (self.most() / SMALLER).max(LEAST),
            false => (self.most() + LARGER).min(MOST),
        };
        self.most = most as u32;
        was_long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a byte of KeyUpdates takes, and one of data.
    const COSTLY: Duration = Duration::from_nanos(300);
    const CHEAP: Duration = Duration::from_nanos(1);

    fn read(read_size: &mut ReadSize, byte: Duration) -> Duration {
        let took = byte * read_size.most() as u32;
        read_size.adapt(took);
        took
    }

    #[test]
    fn a_peer_whose_bytes_are_costly_soon_has_little_time_at_once() {
        let mut read_size = ReadSize::new();
        assert!(read(&mut read_size, COSTLY) > Duration::from_millis(15));
        assert!(read(&mut read_size, COSTLY) < Duration::from_millis(3));
        for _ in 0..1000 {
            assert!(read(&mut read_size, COSTLY) < 2 * LONG);
        }
    }

    #[test]
    fn a_peer_that_was_interrupted_once_soon_reads_much_again() {
        let mut read_size = ReadSize::new();
        assert!(read_size.adapt(Duration::from_millis(10)));
        assert!(read_size.most() < MOST);
        for _ in 0..MOST / LARGER {
            read(&mut read_size, CHEAP);
        }
        assert_eq!(read_size.most(), MOST);
    }
}
