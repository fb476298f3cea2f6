//! Where a connection's messages go.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::link::{Leg, Link};
use crate::connection::handle::ConnectionHandle;
use crate::connection::inbox::Incoming;
use crate::connection::watch::Watch;
use crate::connection::{Connection, Remainder};
use crate::protocol::closing_handshake::{Input, ReplyPolicy};
use crate::protocol::frame_scanner::ScanLimits;
use crate::protocol::passage::{Masker, Passage, PassagePolicy};
use crate::runtime::tasks::panic_text;
use crate::vocabulary::{CloseCode, CloseFrame, Ending, Message, ReceivedClose, Role};

/// The code of an embedder that takes a connection's messages.
///
/// Its methods run one after the other, on the connection's own task: while one waits, messages
/// gather up to `limits.inbox_bytes`, then reading stops; after `limits.inbox_timeout` without
/// progress the connection ends as `backend_failed`. So does one whose handler panics or fails.
///
/// A method may wait for the end of its own connection (`connection.close(1000, "bye")?.await`, or
/// [`ConnectionHandle::ended`]): messages that come meanwhile gather as above, those that were not
/// taken at the end are counted as discarded, and what it does behind the wait has `close.linger`,
/// but at least a second, for it. The ending waits for any other method that still runs, for
/// `close.linger` as well; a wait in a task that the method has spawned is not known for what it is.
pub trait Handler: Send + 'static {
    /// Returns whether [`Handler::on_close`] chooses the reply to the peer's Close.
    ///
    /// If not, which is the default, the peer is answered at once, in kind.
    const CHOOSES_REPLY: bool = false;

    /// Called once the connection is open.
    fn on_open(
        &mut self,
        connection: &ConnectionHandle,
    ) -> impl Future<Output = Result<(), HandlerFailure>> + Send {
        let _ = connection;
        std::future::ready(Ok(()))
    }

    /// Takes a message.
    fn on_message(
        &mut self,
        connection: &ConnectionHandle,
        message: Message,
    ) -> impl Future<Output = Result<(), HandlerFailure>> + Send;

    /// Handles the peer's Close; no message follows it.
    ///
    /// With [`Handler::CHOOSES_REPLY`], what it returns is the reply, and until it returns data may
    /// still be sent (RFC 6455 section 5.5.1). It may take as long as `close.timeout` leaves room
    /// for the reply to leave; then the peer is answered in kind.
    fn on_close(
        &mut self,
        connection: &ConnectionHandle,
        close: &ReceivedClose,
    ) -> impl Future<Output = Result<CloseReply, HandlerFailure>> + Send {
        let _ = (connection, close);
        std::future::ready(Ok(CloseReply::InKind))
    }
}

/// How the peer's Close is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReply {
    /// With the peer's own code and reason; empty for empty.
    InKind,
    /// With this frame.
    With(CloseFrame),
}

/// The failure of a handler.
///
/// Any error becomes one with `?`, and so does a text: the peer then gets 1011, and the record has
/// the error with its causes.
///
/// ```
/// use lastword::{ConnectionHandle, Handler, HandlerFailure, Message};
///
/// struct Counting;
///
/// impl Handler for Counting {
///     async fn on_message(
///         &mut self,
///         connection: &ConnectionHandle,
///         message: Message,
///     ) -> Result<(), HandlerFailure> {
///         let text = message.as_text().ok_or("only text is counted")?;
///         let number: u64 = text.parse()?;
///         connection.send((number + 1).to_string()).await?;
///         Ok(())
///     }
/// }
/// ```
#[derive(Debug)]
pub struct HandlerFailure {
    /// The code that the peer gets.
    pub code: CloseCode,
    /// What happened, for the record; the peer does not see it.
    pub what: String,
}

impl HandlerFailure {
    /// Makes a failure with which the peer gets a code of its own.
    pub fn new(code: CloseCode, what: impl Into<String>) -> Self {
        Self { code, what: what.into() }
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for HandlerFailure {
    fn from(error: E) -> Self {
        Self::new(CloseCode::INTERNAL_ERROR, with_causes(&*error.into()))
    }
}

/// Writes an error with its causes, each once: some errors name theirs themselves.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    for cause in causes.map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Where a connection's messages go.
pub struct Backend {
    name: Arc<str>,
    pub(crate) reply: ReplyPolicy,
    kind: BackendKind,
    watch: Option<Arc<Watch>>,
}

enum BackendKind {
    Echo,
    None,
    Discarding,
    Handler(Box<dyn FnOnce(ConnectionHandle) -> Running + Send>),
    Receiver,
    Leg(LegParts),
}

/// What a leg of a relay is made of.
struct LegParts {
    allowed_rsv: u8,
    check_utf8: bool,
    /// There once both legs are.
    link: Option<Arc<Link>>,
}

type Running = Pin<Box<dyn Future<Output = Result<(), HandlerFailure>> + Send>>;

impl Backend {
    /// Sends every message back.
    pub fn echo() -> Self {
        Self {
            name: "echo".into(),
            reply: ReplyPolicy::AtOnce,
            kind: BackendKind::Echo,
            watch: None,
        }
    }

    /// Takes every message and does nothing with it: they are counted as received.
    pub fn none() -> Self {
        Self {
            name: "none".into(),
            reply: ReplyPolicy::AtOnce,
            kind: BackendKind::None,
            watch: None,
        }
    }

    /// Takes no message, where there is nothing that could: they are counted as discarded.
    pub(crate) fn discarding() -> Self {
        Self { kind: BackendKind::Discarding, ..Self::none() }
    }

    /// Gives messages to a handler; `name` is recorded as the ending's `backend`.
    pub fn handler<H: Handler>(name: &str, handler: H) -> Self {
        let reply = if H::CHOOSES_REPLY { ReplyPolicy::Chosen } else { ReplyPolicy::AtOnce };
        let run = |connection: ConnectionHandle| Box::pin(run(handler, connection)) as Running;
        Self { name: name.into(), reply, kind: BackendKind::Handler(Box::new(run)), watch: None }
    }

    /// Keeps messages for a [`Receiver`].
    pub(crate) fn receiver(reply: ReplyPolicy) -> Self {
        Self { name: "receiver".into(), reply, kind: BackendKind::Receiver, watch: None }
    }

    /// Lets `watch` look at each message before it is delivered.
    pub(crate) fn watched(self, watch: Option<Arc<Watch>>) -> Self {
        Self { watch, ..self }
    }

    pub(crate) fn take_watch(&mut self) -> Option<Arc<Watch>> {
        self.watch.take()
    }

    /// Passes frames to the other leg of a relay, once it is joined to it.
    pub(crate) fn leg(allowed_rsv: u8, check_utf8: bool) -> Self {
        let kind = BackendKind::Leg(LegParts { allowed_rsv, check_utf8, link: None });
        Self { name: "relay".into(), reply: ReplyPolicy::Chosen, kind, watch: None }
    }

    /// Joins a leg of a relay to the other.
    pub(crate) fn join(&mut self, to: Arc<Link>) {
        if let BackendKind::Leg(parts) = &mut self.kind {
            parts.link = Some(to);
        }
    }

    /// Returns the way to the other leg of a relay.
    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        match &self.kind {
            BackendKind::Leg(parts) => parts.link.clone(),
            BackendKind::Echo
            | BackendKind::None
            | BackendKind::Discarding
            | BackendKind::Handler(_)
            | BackendKind::Receiver => None,
        }
    }

    /// Panics when it is to start, so that tests can see what becomes of the connection.
    #[cfg(test)]
    pub(crate) fn stillborn() -> Self {
        let run = |_| panic!("a test asked for it");
        let kind = BackendKind::Handler(Box::new(run));
        Self { name: "stillborn".into(), reply: ReplyPolicy::AtOnce, kind, watch: None }
    }

    /// Returns the name that is recorded as the ending's `backend`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether messages can still be taken when the connection has ended.
    pub(crate) fn keeps_inbox(&self) -> bool {
        match self.kind {
            BackendKind::Receiver => true,
            BackendKind::Echo
            | BackendKind::None
            | BackendKind::Discarding
            | BackendKind::Handler(_)
            | BackendKind::Leg(_) => false,
        }
    }

    pub(crate) fn start(self, connection: &ConnectionHandle) -> Driver {
        match self.kind {
            BackendKind::Echo => Driver::Echo,
            BackendKind::None => Driver::Nowhere,
            BackendKind::Discarding => Driver::Done,
            BackendKind::Handler(run) => Driver::Handler(run(connection.clone())),
            BackendKind::Receiver => Driver::Receiver,
            BackendKind::Leg(LegParts { allowed_rsv, check_utf8, link }) => {
                let Some(link) = link else { return Driver::Done };
                let connection = connection.connection();
                let limits = &connection.settings.limits;
                let limits = ScanLimits {
                    max_frame_size: limits.max_frame_size.0,
                    max_message_size: limits.max_message_size.0,
                };
                let policy = PassagePolicy { limits, allowed_rsv, check_utf8 };
                let mut passage = Passage::new(connection.role, policy);
                passage.set_matcher(connection.watch().map(|watch| watch.matcher()));
                let both_servers =
                    (connection.role, link.other.role) == (Role::Client, Role::Client);
                let masker = both_servers.then(Masker::default);
                let leg = Leg { passage, link, masker, mid_frame: false, broken: false };
                Driver::Relay(Box::new(leg))
            }
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Backend").field(&self.name).finish()
    }
}

/// Runs a handler from the opening to the last message.
async fn run<H: Handler>(
    mut handler: H,
    connection: ConnectionHandle,
) -> Result<(), HandlerFailure> {
    handler.on_open(&connection).await?;
    let inbox = Arc::clone(&connection.connection().inbox);
    // The mover itself runs this, and looks for room afterwards: `made_room` is no news to it.
    while let Some(taken) = poll_fn(|cx| inbox.poll_take(cx)).await {
        match taken.incoming {
            Incoming::Message(message) => handler.on_message(&connection, message).await?,
            Incoming::Close(close) => {
                let reply = handler.on_close(&connection, &close).await?;
                match reply {
                    CloseReply::With(frame) if H::CHOOSES_REPLY => {
                        connection.close_with(frame, crate::vocabulary::Cause::Embedder, None);
                    }
                    CloseReply::With(_) | CloseReply::InKind => connection.reply_in_kind(),
                }
            }
        }
    }
    Ok(())
}

/// A backend at work.
pub(crate) enum Driver {
    Echo,
    Handler(Running),
    /// Somebody else takes from the inbox.
    Receiver,
    /// Frames pass to the other leg.
    Relay(Box<Leg>),
    /// Messages are counted.
    Nowhere,
    /// It has returned, or failed, or there never was one.
    Done,
}

impl Driver {
    /// Takes a handler that has not returned, to run behind the end of its connection.
    pub(crate) fn take_remainder(&mut self) -> Option<Remainder> {
        match std::mem::replace(self, Self::Done) {
            mut handler @ Self::Handler(_) => Some(Box::pin(poll_fn(move |cx| {
                // Its result changes nothing any more.
                let _ = handler.poll(cx);
                match handler {
                    Self::Handler(_) => Poll::Pending,
                    Self::Echo | Self::Receiver | Self::Relay(_) | Self::Nowhere | Self::Done => {
                        Poll::Ready(())
                    }
                }
            }))),
            other @ (Self::Echo | Self::Receiver | Self::Relay(_) | Self::Nowhere | Self::Done) => {
                *self = other;
                None
            }
        }
    }

    /// Lets a handler run; returns its failure, a panic included.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Option<HandlerFailure> {
        let Self::Handler(running) = self else { return None };
        // Whatever the handler left half-done is dropped with it, and never looked at again.
        match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))) {
            Ok(Poll::Pending) => None,
            Ok(Poll::Ready(result)) => {
                *self = Self::Done;
                result.err()
            }
            Err(panic) => {
                *self = Self::Done;
                let what = format!("the handler panicked: {}", panic_text(&*panic));
                Some(HandlerFailure { code: CloseCode::INTERNAL_ERROR, what })
            }
        }
    }
}

/// Calls the code of an embedder that makes a backend.
///
/// # Errors
/// It panicked: what it said.
pub(crate) fn made(make: impl FnOnce() -> Backend) -> Result<Backend, String> {
    let made = catch_unwind(AssertUnwindSafe(make));
    made.map_err(|panic| {
        format!("the code that makes the backend panicked: {}", panic_text(&*panic))
    })
}

/// Takes a connection's messages, in order.
///
/// Messages that came before the connection ended can still be taken after it. Dropping it while
/// the connection lives loses them, and those that are still to come: they are counted as
/// discarded.
#[derive(Debug)]
pub struct Receiver {
    connection: Arc<Connection>,
    /// The peer's Close was returned.
    closed: bool,
}

/// Why nothing was received.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The connection has ended, and there was no Close of the peer: it left without one, was lost,
    /// broke the protocol, or this end gave it up. [`Outcome::kind`] says which.
    ///
    /// [`Outcome::kind`]: crate::vocabulary::Outcome::kind
    #[error("the connection ended without the peer's Close: {}", .0.outcome.detail)]
    Ended(Arc<Ending>),
    /// The peer's Close was received before, and nothing follows it.
    #[error("invalid state: the peer's Close was received before, and nothing follows it")]
    AfterClose,
}

impl ReceiveError {
    /// Returns how the connection ended, if it ended without the peer's Close.
    pub fn ending(&self) -> Option<&Arc<Ending>> {
        match self {
            Self::Ended(ending) => Some(ending),
            Self::AfterClose => None,
        }
    }
}

impl Receiver {
    /// Takes the messages of a connection whose backend is [`Backend::receiver`].
    pub(crate) fn of(connection: &ConnectionHandle) -> Self {
        Self { connection: Arc::clone(connection.connection()), closed: false }
    }

    /// Receives the next message, or the peer's Close behind the last one.
    ///
    /// So this takes all messages, and fails if the connection ended in any other way than with the
    /// peer's Close:
    ///
    /// ```
    /// # use lastword::{Incoming, ReceiveError, Receiver};
    /// # async fn all(mut messages: Receiver) -> Result<(), ReceiveError> {
    /// while let Incoming::Message(message) = messages.receive().await? {
    ///     println!("{message:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ReceiveError::Ended`] once the connection has ended without the peer's Close, after the
    /// messages that came before; [`ReceiveError::AfterClose`] after the peer's Close.
    ///
    /// # Cancel safety
    /// Cancel safe: what a dropped future had not returned is returned by the next call.
    pub async fn receive(&mut self) -> Result<Incoming, ReceiveError> {
        if self.closed {
            return Err(ReceiveError::AfterClose);
        }
        let Some(taken) = poll_fn(|cx| self.connection.inbox.poll_take(cx)).await else {
            // It is recorded in bounded time: the ledger bounds its own waits.
            return Err(ReceiveError::Ended(self.connection.ended().await));
        };
        if taken.made_room {
            // Reading may have paused, and nothing else tells the mover that it may go on.
            self.connection.mover.wake();
        }
        self.closed = matches!(taken.incoming, Incoming::Close(_));
        Ok(taken.incoming)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let lost = self.connection.inbox.abandon();
        self.connection.counters.discarded(lost.messages);
        if lost.close {
            // The peer's Close was never delivered, so no handler will choose the reply.
            self.connection.report(Input::ReplyInKind);
        }
        self.connection.mover.wake();
    }
}
