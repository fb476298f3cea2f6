//! The expiry of a connection's grant, beside the keepalive: it goes by the wall clock.

use std::time::Instant;

use super::Mover;
use crate::policy::expiry::next_look;
use crate::protocol::closing_handshake::CloseRequest;
use crate::runtime::wall_clock;
use crate::vocabulary::{Cause, CloseCode};

impl Mover {
    /// Closes the connection once its grant has expired; returns whether it did.
    pub(super) fn watch_expiry(&mut self, now: Instant) -> bool {
        if self.closing {
            self.expiry_look = None;
            return false;
        }
        if self.connection.granted.take_new() {
            self.expiry_look = Some(now);
        }
        if self.expiry_look.is_none_or(|at| at > now) {
            return false;
        }
        self.expiry_look = None;
        let Some(expires_at) = self.connection.granted.expires_at() else { return false };
        self.expiry_look = next_look(expires_at, wall_clock::now(), now);
        if self.expiry_look.is_some() {
            return false;
        }
        let frame = self.connection.own_frame(CloseCode::UNAUTHORIZED, "token expired");
        let cause = Cause::AuthExpired;
        self.connection.close(CloseRequest::new(frame, cause))
    }
}
