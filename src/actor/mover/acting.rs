//! What the mover does for the closing handshake: it executes its actions.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::AsyncWrite;

use super::{Mover, Stage};
use crate::actor::backend::Driver;
use crate::connection::orders::Orders;
use crate::connection::progress::AfterFlush;
use crate::protocol::closing_handshake::{Action, Input};
use crate::runtime::now;
use crate::transport::socket::Closed;
use crate::vocabulary::Kind;

impl Mover {
    /// Executes what the closing handshake has asked for since the last round; returns whether the
    /// transport was dropped.
    pub(super) fn execute_orders(&mut self, now: Instant) -> bool {
        let Orders { actions, deadline } = self.connection.take_orders();
        self.closing |= deadline.is_some();
        self.closing_deadline = deadline;
        for action in actions {
            match action {
                // It is in the outbox, and is written like any other frame.
                Action::SendClose { .. } => {}
                Action::StopDelivery => self.delivery_stopped = true,
                Action::FlushThenReport => self.after_flush.report = true,
                Action::ShutdownWrite => self.after_flush.shutdown = true,
                Action::Finish { reset, kind } => {
                    self.closing = true;
                    self.drop_transport(reset, kind, now);
                    return true;
                }
            }
        }
        if self.closing {
            // The closing handshake has deadlines of its own.
            self.progress.keepalive = None;
        }
        false
    }

    /// Reports and shuts down once everything has left.
    pub(super) fn poll_after_flush(&mut self, cx: &mut Context<'_>) {
        let AfterFlush { report, shutdown } = self.after_flush;
        // Most of the time there is nothing to do, and the outbox need not be asked.
        if !(report || shutdown) || !self.has_flushed() {
            return;
        }
        if report {
            self.after_flush.report = false;
            self.report(Input::OutboxFlushed);
        }
        if shutdown
            && self.progress.writing.is_open()
            && Pin::new(&mut self.transport).poll_shutdown(cx).is_ready()
        {
            // An error says that there is nothing left to end, which reading is about to report.
            self.after_flush.shutdown = false;
            self.progress.writing.shut();
        }
    }

    /// Drops the transport, and gives the backend what has come while it still may take it.
    fn drop_transport(&mut self, reset: bool, kind: Kind, now: Instant) {
        let tcp = self.transport.kernel().map(Into::into);
        if reset {
            self.transport.reset_on_drop();
        }
        // This is where the socket closes.
        self.transport = Box::new(Closed);
        self.ingest_carry(now);
        self.progress.reader.discard();
        self.release_input();
        self.connection.note_drop(tcp);
        self.connection.inbox.end();
        let waits = waits_for_handler(kind) || self.connection.own_waits.are_under_way();
        self.stage = match (&self.driver, waits) {
            (Driver::Handler(_), true) => {
                Stage::Settling { until: now + self.connection.settings.close.linger }
            }
            (Driver::Handler(_), false)
            | (
                Driver::Echo | Driver::Receiver | Driver::Relay(_) | Driver::Nowhere | Driver::Done,
                _,
            ) => Stage::Over,
        };
    }

    /// Lets the handler take what had come before the end, for a bounded time. The ending that it
    /// waits for itself does not wait for it; what is left of it runs behind the end.
    pub(super) fn poll_settling(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        // A failure changes nothing any more: the kind is fixed.
        let _ = self.driver.poll(cx);
        let over = matches!(self.driver, Driver::Done)
            || self.connection.own_waits.are_under_way()
            || self.timer.set(Some(until), now(), cx);
        if !over {
            return Poll::Pending;
        }
        if let Some(remainder) = self.driver.take_remainder() {
            self.connection.own_waits.leave(remainder);
        }
        Poll::Ready(())
    }
}

/// Returns whether an ending of this kind leaves the handler time to take what came before it. A forced
/// end does not, and a handler that failed takes nothing.
fn waits_for_handler(kind: Kind) -> bool {
    !matches!(kind, Kind::Aborted | Kind::DrainDeadline | Kind::BackendFailed)
}
