//! How far reading is, and why it is paused.

use std::time::{Duration, Instant};

use crate::connection::Connection;

/// How often a connection that does not read looks whether TCP was reset.
const LOOK: Duration = Duration::from_millis(250);

/// Where reading stands.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) state: ReadState,
    /// Reading has stopped because the backend has no room, or the peer has sent too much.
    pub(crate) pause: Option<Pause>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadState {
    #[default]
    Open,
    /// The peer has closed: what still comes is read, so that its FIN is seen, and ignored.
    Ignoring,
    /// Nothing more will be read.
    Ended,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Pause {
    /// Since when the backend has taken nothing.
    pub(crate) since: Instant,
    /// How much it had taken then.
    pub(crate) taken: u64,
}

impl Reading {
    pub(crate) fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// Returns whether messages are still taken.
    pub(crate) fn is_open(&self) -> bool {
        self.state == ReadState::Open
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state == ReadState::Ended
    }

    /// Ends reading; returns whether it had not ended before.
    pub(crate) fn end(&mut self) -> bool {
        self.pause = None;
        std::mem::replace(&mut self.state, ReadState::Ended) != ReadState::Ended
    }

    /// Returns when the backend will have taken nothing for too long.
    pub(crate) fn stall_deadline(&self, connection: &Connection) -> Option<Instant> {
        Some(self.pause?.since + connection.settings.limits.inbox_timeout)
    }

    /// Returns when to look again at a connection that does not read.
    pub(crate) fn look_deadline(&self, now: Instant) -> Option<Instant> {
        self.pause.map(|_| now + LOOK)
    }

    /// The process was not running for this long, so progress of the backend could not be seen.
    pub(crate) fn put_off(&mut self, missed: Duration) {
        if let Some(pause) = &mut self.pause {
            pause.since += missed;
        }
    }

    /// Returns whether the peer has closed.
    pub(crate) fn is_ignoring(&self) -> bool {
        self.state == ReadState::Ignoring
    }

    /// Tells for how long the backend has taken nothing, if that is too long. While reading waits
    /// because the peer has sent too much, the backend is not to blame.
    ///
    /// Echo has no backend that takes messages: it waits for the peer, which the write timeout bounds.
    pub(crate) fn backend_stalled(
        &mut self,
        connection: &Connection,
        held_back: bool,
        now: Instant,
    ) -> Option<Duration> {
        let pause = self.pause.as_mut()?;
        let taken = connection.inbox.taken();
        if taken != pause.taken || connection.inbox.is_empty() || held_back {
            *pause = Pause { since: now, taken };
        }
        let stalled = now - pause.since;
        (stalled >= connection.settings.limits.inbox_timeout).then_some(stalled)
    }
}
