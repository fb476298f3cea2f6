//! How far the two streams of a connection are, which changes with every read and write.

mod message_clock;
mod rates;
mod reading;
mod writing;

use std::time::Duration;

use bytes::Bytes;

use super::Connection;
use crate::protocol::frame_scanner::ScanLimits;
use crate::protocol::keepalive::{Keepalive, KeepalivePolicy};
use crate::settings::values::unless_zero;
use crate::transport::websocket::MessageReader;
use message_clock::MessageClock;
pub(crate) use rates::Rates;
pub(crate) use reading::{Pause, ReadState, Reading};
pub(crate) use writing::{AfterFlush, WriteFailure, WriteState, Writing};

/// How far the two streams of a connection are; its mover owns it.
///
/// A relayed connection has its position in `actor::link::Leg` instead of `reader`.
pub(crate) struct Progress {
    /// The position in the peer's stream, with the message in progress.
    pub(crate) reader: MessageReader,
    /// Bytes that were read and not yet decoded: those behind the opening handshake, and those left
    /// when the backend had no room or the turn was over.
    pub(crate) carry: Bytes,
    pub(crate) reading: Reading,
    pub(crate) writing: Writing,
    /// The message that is coming in.
    pub(crate) clock: MessageClock,
    /// `None` once the closing handshake has begun, which has deadlines of its own.
    pub(crate) keepalive: Option<Keepalive>,
    pub(crate) rates: Rates,
    /// The peer has sent too much: no more is delivered.
    pub(crate) muted: bool,
}

impl Progress {
    /// Starts at the beginning of both streams, with the bytes that were read behind the opening
    /// handshake.
    pub(crate) fn new(connection: &Connection, read_ahead: Bytes) -> Self {
        let (limits, keepalive) = (&connection.settings.limits, &connection.settings.keepalive);
        let scan = ScanLimits {
            max_frame_size: limits.max_frame_size.0,
            max_message_size: limits.max_message_size.0,
        };
        let policy = KeepalivePolicy {
            ping_interval: unless_zero(keepalive.ping_interval),
            pong_timeout: unless_zero(keepalive.pong_timeout),
            idle_timeout: unless_zero(keepalive.idle_timeout),
            max_age: unless_zero(keepalive.max_age),
        };
        Self {
            reader: MessageReader::new(connection.role, scan),
            carry: read_ahead,
            reading: Reading::default(),
            writing: Writing::default(),
            clock: MessageClock::default(),
            keepalive: (policy != KeepalivePolicy::default())
                .then(|| Keepalive::new(policy, connection.opened, rand::random())),
            rates: Rates::new(limits, connection.opened),
            muted: false,
        }
    }

    /// Puts off every wait by a time in which the mover did not run.
    pub(crate) fn put_off(&mut self, missed: Duration) {
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.handle_stall(missed);
        }
        self.writing.put_off(missed);
        self.reading.put_off(missed);
        self.clock.put_off(missed);
    }
}
