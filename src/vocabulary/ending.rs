//! The ending: the one typed record of how a connection ended.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{CloseFrame, CloseState, ConnectionId, OpenFailure, Origin, ReceivedClose};

/// What kind of ending it was: a closed set (CONTRACT: `kind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// One Close each way, then TCP ended, however.
    Clean,
    /// FIN before the closing handshake was complete.
    ClosedPrematurely,
    /// RST before the closing handshake was complete.
    ConnectionReset,
    /// The network gave up: ETIMEDOUT, EHOSTUNREACH or ENETUNREACH.
    PathLost,
    /// TLS ended without close_notify and without a Close.
    TlsTruncated,
    /// Any other I/O error.
    TransportError,
    /// The closing handshake was not complete in time.
    CloseTimeout,
    /// The peer was silent after our Ping.
    PongTimeout,
    /// The peer broke framing.
    ProtocolViolation,
    /// Text or close reason not UTF-8.
    InvalidPayload,
    /// Over the limit of a message or a frame.
    MessageTooBig,
    /// The peer did not read what we had to send.
    SlowConsumer,
    /// The backend failed, panicked, was unreachable, or made no progress.
    BackendFailed,
    /// The connection's own actor or mover panicked or was killed.
    ActorFailed,
    /// An operator or embedder aborted.
    Aborted,
    /// Still open when the drain's deadline passed.
    DrainDeadline,
    /// Found open in the ledger at start.
    ProcessDied,
    /// Never opened.
    OpenFailed(OpenFailure),
}

impl Kind {
    /// The kinds that a connection can end in: all but `open_failed`.
    pub const OF_CONNECTIONS: [Self; 17] = [
        Self::Clean,
        Self::ClosedPrematurely,
        Self::ConnectionReset,
        Self::PathLost,
        Self::TlsTruncated,
        Self::TransportError,
        Self::CloseTimeout,
        Self::PongTimeout,
        Self::ProtocolViolation,
        Self::InvalidPayload,
        Self::MessageTooBig,
        Self::SlowConsumer,
        Self::BackendFailed,
        Self::ActorFailed,
        Self::Aborted,
        Self::DrainDeadline,
        Self::ProcessDied,
    ];

    /// Returns the word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::ClosedPrematurely => "closed_prematurely",
            Self::ConnectionReset => "connection_reset",
            Self::PathLost => "path_lost",
            Self::TlsTruncated => "tls_truncated",
            Self::TransportError => "transport_error",
            Self::CloseTimeout => "close_timeout",
            Self::PongTimeout => "pong_timeout",
            Self::ProtocolViolation => "protocol_violation",
            Self::InvalidPayload => "invalid_payload",
            Self::MessageTooBig => "message_too_big",
            Self::SlowConsumer => "slow_consumer",
            Self::BackendFailed => "backend_failed",
            Self::ActorFailed => "actor_failed",
            Self::Aborted => "aborted",
            Self::DrainDeadline => "drain_deadline",
            Self::ProcessDied => "process_died",
            Self::OpenFailed(_) => "open_failed",
        }
    }

    /// Returns the words of all kinds, `open_failed` last.
    pub fn words() -> impl Iterator<Item = &'static str> {
        Self::OF_CONNECTIONS.into_iter().map(Self::as_str).chain(["open_failed"])
    }

    /// Returns why the attempt failed, if it never opened.
    pub const fn open_failure(self) -> Option<OpenFailure> {
        match self {
            Self::OpenFailed(failure) => Some(failure),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

words! {
    /// Whose deed the ending was.
    pub enum Fault {
        /// Nobody's: it ended as it should.
        None = "none",
        /// The peer's.
        Peer = "peer",
        /// The network's.
        Network = "network",
        /// The backend's.
        Backend = "backend",
        /// Our own.
        Local = "local",
        /// Somebody asked for it.
        Operator = "operator",
    }
}

words! {
    /// The first reason for this end to act.
    #[non_exhaustive]
    pub enum Cause {
        /// The peer's Close.
        Peer = "peer",
        /// The control API.
        Api = "api",
        /// The program that embeds the library.
        Embedder = "embedder",
        /// A drain.
        Drain = "drain",
        /// No data either way for `keepalive.idle_timeout`.
        IdleTimeout = "idle_timeout",
        /// Open for `keepalive.max_age`.
        MaxAge = "max_age",
        /// The backend closed or failed.
        Backend = "backend",
        /// The other leg of a relay.
        RelayPeer = "relay_peer",
        /// More than `limits.messages_per_second`.
        RateLimited = "rate_limited",
        /// The authentication ran out.
        AuthExpired = "auth_expired",
        /// A newer connection took its place.
        Replaced = "replaced",
        /// The peer did not read.
        SlowConsumer = "slow_consumer",
        /// The peer was silent.
        Keepalive = "keepalive",
        /// The peer broke a rule.
        Violation = "violation",
        /// The feed fell silent.
        Stale = "stale",
        /// A dialer replaced it.
        Rotated = "rotated",
        /// This end never acted.
        None = "none",
    }
}

words! {
    /// Whose Close came first, as this end saw it.
    pub enum FirstClose {
        /// Ours left before the peer's was read.
        Local = "local",
        /// The peer's was read before ours left.
        Peer = "peer",
        /// No Close left or came.
        None = "none",
    }
}

words! {
    /// How the transport ended.
    #[non_exhaustive]
    pub enum TransportEnd {
        /// The peer's FIN was read.
        Fin = "fin",
        /// The peer reset TCP.
        Reset = "reset",
        /// TLS ended without close_notify.
        TlsTruncated = "tls_truncated",
        /// The peer's end did not come in time.
        Timeout = "timeout",
        /// An I/O error.
        Error = "error",
        /// This end dropped it.
        Local = "local",
        /// Nobody saw.
        Unknown = "unknown",
    }
}

words! {
    /// What the side that dialled should do next.
    pub enum Advice {
        /// Do not come back.
        Never = "never",
        /// Come back with new credentials.
        Reauthenticate = "reauthenticate",
        /// Come back after a while.
        Backoff = "backoff",
    }
}

/// Advice to the side that dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Do not come back: it would end the same way.
    Never,
    /// Come back with new credentials.
    Reauthenticate,
    /// Come back after a random time in this range, so that many do not come back at once.
    Backoff {
        /// The shortest wait.
        min: Duration,
        /// The longest wait.
        max: Duration,
    },
}

impl Retry {
    /// Returns the advice without its range.
    pub const fn advice(self) -> Advice {
        match self {
            Self::Never => Advice::Never,
            Self::Reauthenticate => Advice::Reauthenticate,
            Self::Backoff { .. } => Advice::Backoff,
        }
    }
}

/// Which limit was hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The configuration key, without its section.
    pub name: &'static str,
    /// What it allows; bytes, messages or milliseconds.
    pub limit: u64,
    /// What was seen, in the same unit.
    pub observed: u64,
}

/// Who asked for the end (CONTRACT: `by`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Requester {
    /// The control API, with this token's name.
    Api(Arc<str>),
    /// A signal, by its name without `SIG`.
    Signal(&'static str),
    /// A drain, by its id.
    Drain(Arc<str>),
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(token) => write!(f, "api:{token}"),
            Self::Signal(name) => write!(f, "signal:{name}"),
            Self::Drain(id) => write!(f, "drain:{id}"),
        }
    }
}

/// The verdict: what the closing handshake, or the attempt, came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What kind of ending it was.
    pub kind: Kind,
    /// Whose deed it was.
    pub fault: Fault,
    /// The first reason for this end to act.
    pub cause: Cause,
    /// Whose Close came first.
    pub first_close: FirstClose,
    /// Where the closing handshake stood when the transport ended; `None` for an attempt.
    pub state: Option<CloseState>,
    /// Our Close, if it left whole.
    pub close_sent: Option<CloseFrame>,
    /// The peer's Close.
    pub close_received: Option<ReceivedClose>,
    /// How the transport ended; `None` where no transport was opened.
    pub transport_end: Option<TransportEnd>,
    /// From the first Close to the second; `None` if there were not two.
    pub handshake: Option<Duration>,
    /// Advice to the side that dialled.
    pub retry: Retry,
    /// Which limit was hit.
    pub limit: Option<Limit>,
    /// Who asked.
    pub by: Option<Requester>,
    /// One plain sentence for a person.
    pub detail: String,
}

impl Outcome {
    /// Begins an outcome of this kind: nobody has closed, nothing is known and nothing judged yet.
    pub const fn of(kind: Kind) -> Self {
        Self {
            kind,
            fault: Fault::None,
            cause: Cause::None,
            first_close: FirstClose::None,
            state: None,
            close_sent: None,
            close_received: None,
            transport_end: None,
            handshake: None,
            retry: Retry::Never,
            limit: None,
            by: None,
            detail: String::new(),
        }
    }

    /// Returns the close code of RFC 6455 section 7.1.5: the received code, 1005 if the peer's
    /// Close had none, 1006 if no Close came. An attempt has none.
    pub fn close_code(&self) -> Option<u16> {
        self.state?;
        Some(match &self.close_received {
            Some(close) => close.code.unwrap_or(1005),
            None => 1006,
        })
    }
}

/// What was carried and what was lost.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Traffic {
    /// Data messages received.
    pub messages_in: u64,
    /// Data messages wholly handed to the kernel.
    pub messages_out: u64,
    /// Payload bytes of data messages received.
    pub bytes_in: u64,
    /// Payload bytes of data messages wholly handed to the kernel.
    pub bytes_out: u64,
    /// Messages accepted for sending, not wholly handed to the kernel.
    pub undelivered_messages: u64,
    /// Their payload bytes.
    pub undelivered_bytes: u64,
    /// Messages received and not delivered.
    pub discarded_messages: u64,
    /// The age of the oldest message that was still queued.
    pub oldest_queued: Option<Duration>,
    /// How long ago the last data message travelled, either way.
    pub last_activity: Option<Duration>,
    /// The last round trip of a Ping.
    pub ping_rtt: Option<Duration>,
}

/// What the kernel knew of the connection at its end (TCP_INFO).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpFacts {
    /// Segments sent again, over the connection's life.
    pub retransmits: u32,
    /// Bytes written and not acknowledged by the peer's kernel.
    pub unacked_bytes: u32,
    /// The smoothed round-trip time, in microseconds.
    pub rtt_us: u32,
}

/// The one typed record of how a connection, or an attempt, ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// The connection.
    pub id: ConnectionId,
    /// The node that owned it.
    pub node: Arc<str>,
    /// Where it came from.
    pub origin: Arc<Origin>,
    /// The other leg of a relay.
    pub relay_peer: Option<ConnectionId>,
    /// When it opened; for an attempt, when it began.
    pub opened_at: SystemTime,
    /// When it ended.
    pub ended_at: SystemTime,
    /// How long it was open, by the monotonic clock.
    pub open_for: Duration,
    /// The verdict.
    pub outcome: Outcome,
    /// What was carried and what was lost; `None` where nobody lived to count.
    pub traffic: Option<Traffic>,
    /// What the kernel knew; `None` where there was no TCP.
    pub tcp: Option<TcpFacts>,
}

impl Ending {
    /// The version of lastword that wrote it.
    pub const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    /// Tells whether the ending is clean: one Close each way.
    pub fn is_clean(&self) -> bool {
        self.outcome.kind == Kind::Clean
    }

    /// Returns about how much memory it holds.
    pub(crate) fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.origin.held_bytes() + self.outcome.detail.len() + 64
    }
}

/// Writes the sentence that a log line carries.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.outcome.kind, self.outcome.detail)
    }
}
