//! The handle of a connection: what the rest of the program holds of it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Connection;
use super::outbox::{Outbox, Prepared, Refused};
use crate::protocol::closing_handshake::{CloseRequest, Input};
use crate::runtime::now;
use crate::settings::OnFull;
use crate::vocabulary::{
    Cause, CloseCode, CloseFrame, CloseReason, CloseState, ConnectionId, ConnectionStatus, Ending,
    Grant, IllegalClose, Kind, Limit, Message, Origin, Requester,
};

/// A connection, as the program that uses it sees it. Cloning is cheap; dropping does nothing.
///
/// It outlives the connection: at the end, [`ConnectionHandle::ended`] and
/// [`ConnectionHandle::close`] return the recorded ending, and sending is refused.
#[derive(Clone)]
pub struct ConnectionHandle {
    connection: Arc<Connection>,
}

/// How often a message that waits for memory looks whether there is some.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// A close was accepted before.
    #[error("invalid state: the connection is {state}, and nothing may follow a Close")]
    InvalidState {
        /// Where the closing handshake stands.
        state: CloseState,
    },
    /// The connection was aborted, or is about to be closed.
    #[error("invalid state: the connection is about to end")]
    Ending,
    /// The connection has ended; [`ConnectionHandle::ended`] has all of its ending.
    #[error("invalid state: the connection has ended ({kind})")]
    Ended {
        /// How it ended.
        kind: Kind,
    },
    /// It is a leg of a relay whose route lets only the two ends speak.
    #[error(
        "the connection is relayed, and only its two ends send messages there: set inject = true for \
         its route"
    )]
    Relayed,
    /// The outbox, or the memory of all outboxes and inboxes, is full.
    #[error("the outbox is full: what is queued takes {queued} bytes, the limit is {limit}")]
    Full {
        /// What is queued takes so many bytes of memory.
        queued: usize,
        /// The limit, in bytes.
        limit: usize,
    },
}

/// A message that was not sent, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct TrySendError {
    /// Why.
    pub error: SendError,
    /// The message, given back.
    pub message: Message,
}

impl ConnectionHandle {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }

    /// Returns the id.
    pub fn id(&self) -> ConnectionId {
        self.connection.id
    }

    /// Returns where the connection came from.
    pub fn origin(&self) -> &Arc<Origin> {
        &self.connection.origin
    }

    /// Returns where the closing handshake stands: `close_sent` from the moment a close is accepted, and
    /// `closed` once the connection has ended, however it ended. How far the closing handshake had
    /// come by then is in the ending.
    pub fn state(&self) -> CloseState {
        self.connection.state()
    }

    /// Returns a snapshot of the connection: counters, queue and state.
    pub fn status(&self) -> ConnectionStatus {
        self.connection.status()
    }

    /// Returns when the connection is closed because its credentials expire, if they do.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.connection.granted.expires_at()
    }

    /// Sets when the connection is closed, by the wall clock, with 3000 and cause `auth_expired`; `None`
    /// takes an expiry back. A time that has passed closes it at once.
    pub fn set_expires_at(&self, time: Option<SystemTime>) {
        let grant = self.connection.granted.current().unwrap_or_default();
        self.connection.set_grant(Grant { expires_at: time, ..Grant::clone(&grant) });
    }

    /// Returns the bytes of data that wait in the outbox.
    pub fn queued_bytes(&self) -> usize {
        self.connection.outbox.backlog().0
    }

    /// Sends a message, waiting for room in the outbox.
    ///
    /// It returns when the outbox has the message; the peer may not have it yet. What was still
    /// queued when the connection ended is counted in its ending.
    ///
    /// # Errors
    /// [`SendError::InvalidState`] once a close was accepted, [`SendError::Ending`] once the connection
    /// was aborted, [`SendError::Ended`] once it has ended.
    ///
    /// # Cancel safety
    /// Cancel safe: a message whose future was dropped before it was ready was not sent.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        self.push_with(|outbox| outbox.try_push(&message, now())).await
    }

    async fn push_with(
        &self,
        push: impl Fn(&Outbox) -> Result<(), Refused>,
    ) -> Result<(), SendError> {
        loop {
            let room = self.connection.outbox.room();
            match push(&self.connection.outbox) {
                Ok(()) => {
                    self.connection.mover.wake();
                    return Ok(());
                }
                Err(Refused::Closing) => return Err(self.invalid_state()),
                Err(Refused::Relayed) => return Err(SendError::Relayed),
                Err(Refused::Full { .. }) => room.await,
                // The memory of all has no bell of its own: look again in a while.
                Err(Refused::NoMemory { .. }) => {
                    let _ = tokio::time::timeout(LOOK_AGAIN, room).await;
                }
            }
        }
    }

    /// Sends a message if the outbox has room, and does as `limits.on_full` says if it has not.
    ///
    /// With `refuse` and `close` the message is given back; with `close` the connection ends as
    /// `slow_consumer`, unless it is the memory of all connections that is full. With
    /// `drop_oldest` and `drop_newest` it is accepted, and the message that was dropped counts as
    /// undelivered.
    ///
    /// # Errors
    /// The message, with [`SendError::InvalidState`], [`SendError::Ending`], [`SendError::Ended`] or
    /// [`SendError::Full`].
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), TrySendError> {
        let message = message.into();
        let pushed = self.connection.outbox.try_push(&message, now());
        match self.settle(pushed, &message) {
            Ok(()) => {
                self.connection.mover.wake();
                Ok(())
            }
            Err(error) => Err(TrySendError { error, message }),
        }
    }

    /// Sends a message of the owner of the connection, waiting for room, also where only the two ends
    /// of a relay may send.
    ///
    /// # Errors
    /// [`SendError::InvalidState`], as [`ConnectionHandle::send`].
    ///
    /// # Cancel safety
    /// As [`ConnectionHandle::send`].
    pub(crate) async fn send_kept(&self, message: &Message) -> Result<(), SendError> {
        self.push_with(|outbox| outbox.try_push_kept(message, now())).await
    }

    /// Sends a message of the owner of the connection if the outbox has room, also where only the
    /// two ends of a relay may send; returns whether it had.
    pub(crate) fn try_send_kept(&self, message: &Message) -> bool {
        let taken = self.connection.outbox.try_push_kept(message, now()).is_ok();
        if taken {
            self.connection.mover.wake();
        }
        taken
    }

    /// Like [`ConnectionHandle::try_send`], but a message that nothing waits before is written here
    /// and now: the cheapest way to send one message to many.
    pub(crate) fn try_send_directly(
        &self,
        prepared: &Prepared,
        now: Instant,
    ) -> Result<(), SendError> {
        self.settle(self.connection.push_directly(prepared, now), prepared.message())
    }

    /// Does with a message that found no room as `limits.on_full` says.
    fn settle(&self, pushed: Result<(), Refused>, message: &Message) -> Result<(), SendError> {
        let outbox = &self.connection.outbox;
        let on_full = self.connection.settings.limits.on_full;
        let pushed = match (pushed, on_full) {
            (Err(Refused::Full { .. } | Refused::NoMemory { .. }), OnFull::DropOldest) => {
                outbox.push_over_oldest(message, now())
            }
            (Err(Refused::Full { .. } | Refused::NoMemory { .. }), OnFull::DropNewest) => {
                outbox.shed_newest(message)
            }
            // That others hold the memory is not this peer's fault: then it is only refused.
            (Err(full @ Refused::Full { queued, limit }), OnFull::Close) => {
                self.overflow(queued, limit);
                Err(full)
            }
            (pushed, _) => pushed,
        };
        pushed.map_err(|refused| match refused {
            Refused::Closing => self.invalid_state(),
            Refused::Relayed => SendError::Relayed,
            Refused::Full { queued, limit } | Refused::NoMemory { queued, limit } => {
                SendError::Full { queued, limit }
            }
        })
    }

    /// Closes with a code and a reason, and returns a future of the ending.
    ///
    /// The Close is queued, behind what is queued, before this returns; the future only waits.
    /// Dropping it does not stop the closing handshake. A second close sends no second frame and
    /// waits for the same ending; at the end it is the recorded one. In `close_received`, where the
    /// application chooses the reply, this is the reply (RFC 6455 section 5.5.1).
    ///
    /// A [`Handler`](crate::Handler) may wait for its own close: the ending does not wait for it.
    ///
    /// # Errors
    /// [`IllegalClose`] for a code or reason that may not be sent: nothing is sent, and the
    /// connection stays open.
    pub fn close(
        &self,
        code: u16,
        reason: &str,
    ) -> Result<impl Future<Output = Arc<Ending>> + Send + use<>, IllegalClose> {
        self.close_output(code, reason)?;
        let handle = self.clone();
        Ok(async move { handle.ended().await })
    }

    /// Sends Close and does not wait; what the peer still sends is delivered until its Close comes.
    ///
    /// # Errors
    /// As [`ConnectionHandle::close`].
    pub fn close_output(&self, code: u16, reason: &str) -> Result<(), IllegalClose> {
        let frame =
            CloseFrame::Coded { code: CloseCode::new(code)?, reason: CloseReason::new(reason)? };
        self.close_with(frame, Cause::Embedder, None);
        Ok(())
    }

    /// Sends a Close without code and reason, which the peer sees as 1005, and does not wait.
    pub fn close_empty(&self) {
        self.close_with(CloseFrame::Empty, Cause::Embedder, None);
    }

    /// Sends a Close for a reason of the contract, and does not wait.
    ///
    /// Returns `false` if a close was accepted before, or the connection is at its end.
    pub fn close_with(&self, frame: CloseFrame, cause: Cause, by: Option<Requester>) -> bool {
        self.connection.close(CloseRequest { by, ..CloseRequest::new(frame, cause) })
    }

    /// Returns whether something waits on this end, so that reading may have paused for its sake.
    pub(crate) fn has_backlog(&self) -> bool {
        // What a leg of a relay sends has nothing to do with what it reads.
        let echoes = self.connection.relay_peer.get().is_none() && self.queued_bytes() > 0;
        self.connection.has_paused() || !self.connection.inbox.is_empty() || echoes
    }

    /// Closes in our own words, because a limit was reached.
    pub(crate) fn close_for(
        &self,
        code: CloseCode,
        reason: &str,
        cause: Cause,
        limit: Option<Limit>,
    ) -> bool {
        let frame = self.connection.own_frame(code, reason);
        self.connection.close(CloseRequest { limit, ..CloseRequest::new(frame, cause) })
    }

    /// Drops the connection at once: no Close is sent, TCP is reset.
    pub fn abort(&self) {
        self.abort_with(Cause::Embedder, None);
    }

    /// Drops the connection at once, for a reason of the contract.
    pub fn abort_with(&self, cause: Cause, by: Option<Requester>) {
        self.connection.cut(Input::Abort { cause, by });
    }

    /// Waits for the ending. Returns at once if the connection has ended. Cancel safe.
    pub async fn ended(&self) -> Arc<Ending> {
        self.connection.ended().await
    }

    /// Returns within which time a close ends the connection, whatever the peer does.
    pub fn closes_within(&self) -> Duration {
        let close = &self.connection.settings.close;
        close.timeout + close.linger
    }

    /// Returns the ending, if the connection has ended.
    pub fn ending(&self) -> Option<Arc<Ending>> {
        self.connection.ending().cloned()
    }

    /// Answers the peer's Close with its own code, if the application was to choose and has not.
    pub(crate) fn reply_in_kind(&self) {
        self.connection.report(Input::ReplyInKind);
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    fn overflow(&self, queued: usize, limit: usize) {
        let limit = Limit { name: "outbox_bytes", limit: limit as u64, observed: queued as u64 };
        self.connection.outbox.refuse();
        self.connection.report(Input::OutboxOverflow(limit));
    }

    fn invalid_state(&self) -> SendError {
        if let Some(kind) = self.connection.ended_as() {
            return SendError::Ended { kind };
        }
        match self.state() {
            // What ends it is still in the mailbox.
            CloseState::Open => SendError::Ending,
            state => SendError::InvalidState { state },
        }
    }
}

impl fmt::Debug for ConnectionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.fmt(f)
    }
}
