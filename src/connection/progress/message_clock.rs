//! Times the message that is coming in.

use std::time::{Duration, Instant};

use crate::settings::values::unless_zero;

/// Times the message that is coming in.
#[derive(Debug, Default)]
pub(crate) struct MessageClock {
    /// When its first byte came, later by the time in which reading was paused.
    pub(crate) since: Option<Instant>,
    /// Since when reading is paused: that is not the peer's fault.
    pub(crate) paused_at: Option<Instant>,
    pub(crate) reported: bool,
}

impl MessageClock {
    /// The message that was coming has come, or a piece of it was passed on.
    pub(crate) fn restart(&mut self) {
        self.since = None;
    }

    pub(crate) fn pause(&mut self, now: Instant) {
        self.paused_at.get_or_insert(now);
    }

    pub(crate) fn resume(&mut self, now: Instant) {
        if let (Some(paused_at), Some(since)) = (self.paused_at.take(), &mut self.since) {
            *since += now.saturating_duration_since(paused_at);
        }
    }

    /// This end did not listen for so long: that is not the peer's fault.
    pub(crate) fn put_off(&mut self, missed: Duration) {
        if let Some(since) = &mut self.since {
            *since += missed;
        }
    }

    pub(crate) fn note(&mut self, is_coming: bool, now: Instant) {
        match is_coming {
            true => drop(self.since.get_or_insert(now)),
            false => self.since = None,
        }
    }

    /// Returns when the message must have come.
    pub(crate) fn deadline(&self, timeout: Duration) -> Option<Instant> {
        let since = self.since.filter(|_| self.paused_at.is_none() && !self.reported)?;
        Some(since + unless_zero(timeout)?)
    }
}
