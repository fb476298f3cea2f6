//! What one connection is, apart from its actor and its mover.
//!
//! Both of them can die at any moment: panic, or be killed. So everything that its ending is made of is
//! kept here, in the registry, and the supervisor can draw up the ending without them.
//!
//! | what | where |
//! | --- | --- |
//! | identity, origin, role, settings, since when it is open | [`Connection`] |
//! | what it has to send, and whether it may | [`outbox`] |
//! | what came and was not taken | [`inbox`] |
//! | the closing handshake, and in which order its facts come | [`closing`] |
//! | the way to its actor | [`mailbox`] |
//! | how far its streams are: position, message in progress, keepalive, rate | [`progress`] |
//! | running totals | [`counters`] |
//! | until when it may stay | [`granted`] |
//! | the memory it holds | [`held`], [`budget`] |
//! | its ending | [`ending`] |
//!
//! Its mover (`actor/mover`) owns the transport and the timers, and the [`progress`] of the two streams,
//! which changes with every read and write.

pub(crate) mod budget;
pub(crate) mod closing;
pub(crate) mod counters;
mod end;
pub(crate) mod ending;
pub(crate) mod granted;
pub(crate) mod handle;
pub(crate) mod held;
pub(crate) mod inbox;
pub(crate) mod mailbox;
pub(crate) mod orders;
pub(crate) mod outbox;
mod own_wait;
pub(crate) mod progress;
#[cfg(test)]
mod tests;
pub(crate) mod watch;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tracing::Span;

use crate::protocol::closing_handshake::{ClosePolicy, ClosingHandshake, ReplyPolicy};
use crate::runtime::now;
use crate::settings::ConnectionSettings;
use crate::transport::direct_writer::{DirectWriter, Written};
use crate::vocabulary::{ConnectionId, ConnectionStatus, Grant, Message, Origin, Role};
use budget::MemoryBudget;
use counters::Counters;
use end::End;
use granted::Granted;
use inbox::Inbox;
use mailbox::Mailbox;
use orders::Orders;
use outbox::{Outbox, Passable, Prepared, Refused};
use own_wait::OwnWaits;
pub(crate) use own_wait::Remainder;
use watch::Watch;

/// One connection, as its actor, its mover and its handles share it.
pub(crate) struct Connection {
    // Identity.
    pub(crate) id: ConnectionId,
    pub(crate) node: Arc<str>,
    pub(crate) origin: Arc<Origin>,
    pub(crate) role: Role,
    pub(crate) settings: Arc<ConnectionSettings>,
    pub(crate) opened_at: SystemTime,
    pub(crate) opened: Instant,
    /// What it was admitted with.
    pub(crate) granted: Granted,
    /// The other leg of a relay.
    pub(crate) relay_peer: OnceLock<ConnectionId>,
    /// The context of its log lines. At level debug, so that it costs no more than a look at a flag
    /// where only `info` and above are logged.
    pub(crate) span: Span,

    // Messages.
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Arc<Inbox>,
    keeps_inbox: bool,
    pub(crate) counters: Counters,
    /// Writes beside the mover, where the transport lets others.
    direct: OnceLock<DirectWriter>,
    /// What was written so is held back by the transport until it is flushed.
    held_back: AtomicBool,
    /// Looks at each message that comes.
    watch: OnceLock<Arc<Watch>>,

    // Memory.
    pub(crate) budget: Arc<MemoryBudget>,
    /// Bytes that the memory budget was charged with for what was received in part.
    pub(crate) held_input: AtomicU64,
    /// Its mover does not read, because what it read would find no room.
    paused: AtomicBool,
    /// The memory of all is used up: its mover drops what was received and not delivered.
    drops_received: AtomicBool,

    // Closing.
    /// The state of the closing handshake; see [`closing`].
    handshake: Mutex<ClosingHandshake>,
    /// What of it the mover has to execute.
    orders: Mutex<Orders>,
    /// Leads to the actor.
    pub(crate) mailbox: Mailbox,
    /// Wakes the mover.
    pub(crate) mover: AtomicWaker,

    // Ending.
    end: End,
    /// The waits of its handler for its own ending.
    pub(crate) own_waits: OwnWaits,
}

/// What a connection is made of.
pub(crate) struct ConnectionParts {
    pub(crate) id: ConnectionId,
    pub(crate) role: Role,
    pub(crate) origin: Arc<Origin>,
    pub(crate) settings: Arc<ConnectionSettings>,
    pub(crate) reply: ReplyPolicy,
    /// What has come can still be taken when the connection has ended.
    pub(crate) keeps_inbox: bool,
    pub(crate) node: Arc<str>,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) grant: Option<Grant>,
}

impl Connection {
    pub(crate) fn new(parts: ConnectionParts) -> Self {
        let ConnectionParts { id, role, origin, settings, reply, keeps_inbox, node, budget, grant } =
            parts;
        let policy = ClosePolicy {
            timeout: settings.close.timeout,
            linger: settings.close.linger,
            reply,
            signature: settings.close.reason_id.then(|| id.short()),
        };
        let span = tracing::debug_span!(
            "connection",
            connection.id = %id,
            route = origin.route.as_deref(),
            peer = origin.peer.as_deref(),
        );
        Self {
            id,
            node,
            span,
            origin,
            role,
            opened_at: SystemTime::now(),
            opened: now(),
            outbox: Outbox::new(role, settings.limits.outbox_bytes.0, Arc::clone(&budget)),
            inbox: Arc::new(Inbox::new(settings.limits.inbox_bytes.0, Arc::clone(&budget))),
            keeps_inbox,
            budget,
            settings,
            counters: Counters::default(),
            mover: AtomicWaker::new(),
            direct: OnceLock::new(),
            held_back: AtomicBool::new(false),
            watch: OnceLock::new(),
            handshake: Mutex::new(ClosingHandshake::new(role, policy)),
            orders: Mutex::default(),
            mailbox: Mailbox::default(),
            end: End::default(),
            own_waits: OwnWaits::default(),
            paused: AtomicBool::new(false),
            drops_received: AtomicBool::new(false),
            held_input: AtomicU64::new(0),
            granted: Granted::new(grant),
            relay_peer: OnceLock::new(),
        }
    }

    /// Lets others write beside the mover, as the transport says.
    pub(crate) fn set_direct_writer(&self, writer: Option<DirectWriter>) {
        if let Some(writer) = writer {
            let _ = self.direct.set(writer);
        }
    }

    /// Lets `watch` look at each message that comes.
    pub(crate) fn set_watch(&self, watch: Option<Arc<Watch>>) {
        if let Some(watch) = watch {
            let _ = self.watch.set(watch);
        }
    }

    /// Passes a received message to the watch, and sends the reply that it asks for.
    pub(crate) fn look(&self, message: &Message, now: Instant) {
        if let Some(reply) = self.watch.get().and_then(|watch| watch.look(message)) {
            self.answer(reply, now);
        }
    }

    /// Sends what a message is to be answered, also where only the two ends of a relay may send.
    pub(crate) fn answer(&self, reply: &Message, now: Instant) {
        if self.outbox.try_push_kept(reply, now).is_err() {
            self.span.in_scope(|| {
                tracing::debug!(
                    "an answer was left out: the outbox is full, or the connection closes"
                );
            });
        }
    }

    /// Returns who watches what comes.
    pub(crate) fn watch(&self) -> Option<&Arc<Watch>> {
        self.watch.get()
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Returns whether reading has paused because what is read would find no room.
    pub(crate) fn has_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Makes the mover drop what was received and not delivered: others need the memory.
    pub(crate) fn drop_received(&self) {
        self.drops_received.store(true, Ordering::Release);
        self.mover.wake();
    }

    /// Returns whether what was received and not delivered is to be dropped.
    pub(crate) fn drops_received(&self) -> bool {
        self.drops_received.load(Ordering::Acquire)
    }

    /// Sends a message if there is room. Where nothing waits it is written here and now, which
    /// saves waking the mover: for one message to many connections.
    pub(crate) fn push_directly(&self, prepared: &Prepared, now: Instant) -> Result<(), Refused> {
        let message = prepared.message();
        let Some(writer) = self.direct.get() else {
            self.outbox.try_push(message, now)?;
            self.mover.wake();
            return Ok(());
        };
        let write = |bytes: &[u8]| self.write_directly(writer, bytes);
        if self.outbox.try_push_writing(prepared, now, write)? {
            self.counters.sent(1, message.len() as u64);
            self.counters.active(now.saturating_duration_since(self.opened));
        } else {
            self.mover.wake();
        }
        Ok(())
    }

    /// Takes frames of the other leg of a relay; they are written here and now where nothing waits.
    /// Returns how many messages of them were refused because our Close stands before them.
    pub(crate) fn pass(&self, passable: Passable<'_>, now: Instant) -> Result<u64, Refused> {
        let passed = self.outbox.pass(passable, now, |bytes| match self.direct.get() {
            Some(writer) => self.write_directly(writer, bytes),
            None => 0,
        })?;
        if passed.left.messages > 0 {
            self.counters.sent(passed.left.messages, passed.left.payload_bytes);
            self.counters.active(now.saturating_duration_since(self.opened));
        }
        if passed.queued {
            self.mover.wake();
        }
        Ok(passed.refused)
    }

    /// Replaces what the connection was admitted with; its mover waits for the new expiry.
    pub(crate) fn set_grant(&self, grant: Grant) {
        self.granted.replace(grant);
        self.mover.wake();
    }

    /// Writes beside the mover; called under the lock of the outbox, while nothing waits in it.
    fn write_directly(&self, writer: &DirectWriter, bytes: &[u8]) -> usize {
        let Written { taken, held_back } = writer.try_write(bytes);
        self.counters.written_directly(taken);
        if held_back {
            self.held_back.store(true, Ordering::Release);
            self.mover.wake();
        }
        taken
    }

    /// Returns, once, whether the transport holds back what was written beside the mover, which then
    /// has to flush it.
    pub(crate) fn take_held_back(&self) -> bool {
        self.held_back.load(Ordering::Relaxed) && self.held_back.swap(false, Ordering::Acquire)
    }

    /// Returns a snapshot of the connection.
    pub(crate) fn status(&self) -> ConnectionStatus {
        let at = now();
        let (waiting, oldest) = self.outbox.waiting();
        let oldest = oldest.map(|since| at.saturating_duration_since(since));
        let open_for = at.saturating_duration_since(self.opened);
        ConnectionStatus {
            id: self.id,
            node: Arc::clone(&self.node),
            origin: Arc::clone(&self.origin),
            opened_at: self.opened_at,
            expires_at: self.granted.expires_at(),
            open_for,
            state: self.state(),
            traffic: self.counters.traffic(waiting, oldest, open_for),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
