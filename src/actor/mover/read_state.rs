//! How far reading is, and why it is paused.

use std::time::{Duration, Instant};

use crate::connection::Connection;

/// How often a connection that does not read looks whether TCP was reset.
const LOOK: Duration = Duration::from_millis(250);

/// Where reading stands.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) state: State,
    /// Reading has stopped because the backend has no room.
    pub(super) pause: Option<Pause>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Open,
    /// The peer has closed: what still comes is read, so that its FIN is seen, and ignored.
    Ignoring,
    /// Nothing more will be read.
    Ended,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    /// Since when the backend has taken nothing.
    pub(super) since: Instant,
    /// How much it had taken then.
    pub(super) taken: u64,
}

impl Reading {
    pub(super) fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// Returns whether messages are still taken.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Ends reading; returns whether it had not ended before.
    pub(super) fn end(&mut self) -> bool {
        self.pause = None;
        std::mem::replace(&mut self.state, State::Ended) != State::Ended
    }

    /// Returns when the backend will have taken nothing for too long.
    pub(super) fn stall_deadline(&self, connection: &Connection) -> Option<Instant> {
        Some(self.pause?.since + connection.settings.limits.inbox_timeout)
    }

    /// Returns when to look again at a connection that does not read.
    pub(super) fn look_deadline(&self, now: Instant) -> Option<Instant> {
        self.pause.map(|_| now + LOOK)
    }

    /// The process was not running for this long, so progress of the backend could not be seen.
    pub(super) fn put_off(&mut self, missed: Duration) {
        if let Some(pause) = &mut self.pause {
            pause.since += missed;
        }
    }

    /// Returns whether the peer has closed.
    pub(super) fn is_ignoring(&self) -> bool {
        self.state == State::Ignoring
    }

    /// Tells for how long the backend has taken nothing, if that is too long.
    ///
    /// Echo has no backend that takes messages: it waits for the peer, which the write timeout bounds.
    pub(super) fn backend_stalled(
        &mut self,
        connection: &Connection,
        now: Instant,
    ) -> Option<Duration> {
        let pause = self.pause.as_mut()?;
        let taken = connection.inbox.taken();
        if taken != pause.taken || connection.inbox.is_empty() {
            *pause = Pause { since: now, taken };
        }
        let stalled = now - pause.since;
        (stalled >= connection.settings.limits.inbox_timeout).then_some(stalled)
    }
}
