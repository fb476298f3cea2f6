//! What a connection has carried: running totals.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::connection::outbox::Lost;
use crate::vocabulary::Traffic;

/// Running totals; written by the mover, read by anybody.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    messages_in: AtomicU64,
    messages_out: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    discarded: AtomicU64,
    /// Milliseconds from the opening to the last data message, plus one; 0 if there was none.
    active: AtomicU64,
    /// Nanoseconds of the last round trip; 0 if there was none.
    rtt: AtomicU64,
    /// Bytes of frames that others than the mover wrote.
    direct: AtomicU64,
}

impl Counters {
    pub(crate) fn received(&self, bytes: usize) {
        self.messages_in.fetch_add(1, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, messages: u64, bytes: u64) {
        self.messages_out.fetch_add(messages, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn discarded(&self, messages: u64) {
        self.discarded.fetch_add(messages, Ordering::Relaxed);
    }

    /// Records data at this time since the opening.
    pub(crate) fn active(&self, since_open: Duration) {
        self.active.store(millis(since_open) + 1, Ordering::Relaxed);
    }

    /// Returns when the last data message travelled, since the opening.
    pub(crate) fn last_active(&self) -> Option<Duration> {
        self.active.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_millis)
    }

    pub(crate) fn written_directly(&self, bytes: usize) {
        self.direct.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns how many bytes others than the mover wrote.
    pub(crate) fn direct(&self) -> u64 {
        self.direct.load(Ordering::Relaxed)
    }

    pub(crate) fn round_trip(&self, rtt: Duration) {
        let nanos = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.rtt.store(nanos, Ordering::Relaxed);
    }

    pub(crate) fn carried(&self) -> Carried {
        Carried {
            messages_in: self.messages_in.load(Ordering::Relaxed),
            messages_out: self.messages_out.load(Ordering::Relaxed),
        }
    }

    pub(super) fn traffic(
        &self,
        lost: Lost,
        oldest_queued: Option<Duration>,
        open_for: Duration,
    ) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let last_activity = match read(&self.active) {
            0 => None,
            millis => Some(open_for.saturating_sub(Duration::from_millis(millis - 1))),
        };
        let ping_rtt = match read(&self.rtt) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        };
        Traffic {
            messages_in: read(&self.messages_in),
            messages_out: read(&self.messages_out),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            undelivered_messages: lost.messages,
            undelivered_bytes: lost.bytes,
            discarded_messages: read(&self.discarded),
            oldest_queued,
            last_activity,
            ping_rtt,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}

/// Messages that connections have carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
}

impl Carried {
    pub(crate) fn add(&mut self, other: Self) {
        self.messages_in += other.messages_in;
        self.messages_out += other.messages_out;
    }

    pub(crate) fn at_least(self, other: Self) -> Self {
        Self {
            messages_in: self.messages_in.max(other.messages_in),
            messages_out: self.messages_out.max(other.messages_out),
        }
    }
}
