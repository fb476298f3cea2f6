//! How a connection ends: what is noted when its transport is dropped, and the [`Ending`] made of it.

use std::sync::Arc;
use std::time::SystemTime;

use super::Connection;
use super::end::AtDrop;
use crate::runtime::now;
use crate::vocabulary::{Ending, Outcome, TcpFacts};

impl Connection {
    /// Says that nothing more will come, and counts what will not be taken.
    pub(crate) fn end_inbox(&self) {
        self.inbox.end();
        if !self.keeps_inbox {
            self.counters.discarded(self.inbox.abandon().messages);
        }
    }

    /// Notes that the transport was dropped, and counts what was not delivered. Only the first call
    /// counts.
    pub(crate) fn note_drop(&self, tcp: Option<TcpFacts>) {
        let mut dropped = self.end.dropped.lock();
        if dropped.is_none() {
            *dropped = Some(self.look_at_drop(tcp));
        }
    }

    fn look_at_drop(&self, tcp: Option<TcpFacts>) -> AtDrop {
        let at = now();
        let (lost, oldest) = self.outbox.end();
        let oldest = oldest.map(|since| at.saturating_duration_since(since));
        AtDrop { at, wall: SystemTime::now(), tcp, lost, oldest }
    }

    /// Draws up the ending.
    pub(crate) fn draw_up_ending(&self, outcome: Outcome) -> Ending {
        let dropped = *self.end.dropped.lock().get_or_insert_with(|| self.look_at_drop(None));
        let AtDrop { at, wall, tcp, lost, oldest } = dropped;
        let open_for = at.saturating_duration_since(self.opened);
        Ending {
            id: self.id,
            node: Arc::clone(&self.node),
            origin: Arc::clone(&self.origin),
            relay_peer: self.relay_peer.get().copied(),
            opened_at: self.opened_at,
            ended_at: wall,
            open_for,
            outcome,
            traffic: Some(self.counters.traffic(lost, oldest, open_for)),
            tcp,
        }
    }

    /// Hands the recorded ending to everybody who waits for it.
    pub(crate) fn publish_ending(&self, ending: Arc<Ending>) {
        let _ = self.end.recorded.set(ending);
        self.end.waiters.notify_waiters();
    }

    /// Returns whether the connection is over, though its ending may not be recorded yet.
    pub(super) fn has_ended(&self) -> bool {
        self.end.recorded.get().is_some() || self.end.dropped.lock().is_some()
    }

    /// Returns the ending, once it is recorded.
    pub(crate) fn ending(&self) -> Option<&Arc<Ending>> {
        self.end.recorded.get()
    }

    /// Waits for the ending. Cancel safe.
    pub(crate) async fn ended(&self) -> Arc<Ending> {
        let _own = self.own_waits.begin();
        loop {
            let recorded = self.end.waiters.notified();
            if let Some(ending) = self.end.recorded.get() {
                return Arc::clone(ending);
            }
            recorded.await;
        }
    }
}
