//! The ending: the typed record of how a connection or an attempt ended.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{CloseFrame, CloseState, ConnectionId, OpenFailure, Origin, ReceivedClose};

/// The kind of ending, a closed set (CONTRACT: `kind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Both Closes were exchanged; TCP may have ended in any way.
    Clean,
    /// FIN before the closing handshake was complete.
    ClosedPrematurely,
    /// RST before the closing handshake was complete.
    ConnectionReset,
    /// The network path was lost: ETIMEDOUT, EHOSTUNREACH or ENETUNREACH.
    PathLost,
    /// TLS ended without close_notify and without a Close.
    TlsTruncated,
    /// Any other I/O error.
    TransportError,
    /// The closing handshake was not complete in time.
    CloseTimeout,
    /// The peer did not answer our Ping.
    PongTimeout,
    /// The peer broke the framing rules.
    ProtocolViolation,
    /// A text message or a close reason was not UTF-8.
    InvalidPayload,
    /// A message or a frame was over its size limit.
    MessageTooBig,
    /// The peer did not read what we sent.
    SlowConsumer,
    /// The backend failed, panicked, was unreachable, or made no progress.
    BackendFailed,
    /// The actor or the I/O task of the connection panicked or was killed.
    ActorFailed,
    /// An operator or embedder aborted.
    Aborted,
    /// Still open when the drain's deadline passed.
    DrainDeadline,
    /// The ledger had it as open when the process started.
    ProcessDied,
    /// The opening handshake failed.
    OpenFailed(OpenFailure),
}

impl Kind {
    /// The kinds of connections: all but `open_failed`, which attempts have.
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

    /// Returns the string of the contract.
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

    /// Returns the strings of all kinds, `open_failed` last.
    pub fn words() -> impl Iterator<Item = &'static str> {
        Self::OF_CONNECTIONS.into_iter().map(Self::as_str).chain(["open_failed"])
    }

    /// Returns why the opening handshake failed, if it did.
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

contract_enum! {
    /// Who was at fault for the ending.
    pub enum Fault {
        /// No one: it ended as it should.
        None = "none",
        /// The peer.
        Peer = "peer",
        /// The network.
        Network = "network",
        /// The backend.
        Backend = "backend",
        /// This end.
        Local = "local",
        /// No fault: an operator or embedder requested it.
        Operator = "operator",
    }
}

contract_enum! {
    /// What first made this end close or abort the connection.
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
        /// More than `limits.messages_per_second` or `limits.bytes_per_second`.
        RateLimited = "rate_limited",
        /// The authentication expired.
        AuthExpired = "auth_expired",
        /// Another connection of its subject stays in its place.
        Replaced = "replaced",
        /// A revocation applies to it.
        Revoked = "revoked",
        /// The peer did not read.
        SlowConsumer = "slow_consumer",
        /// The peer did not answer a Ping.
        Keepalive = "keepalive",
        /// The peer violated the protocol or a limit.
        Violation = "violation",
        /// The feed stopped sending data.
        Stale = "stale",
        /// A dialer replaced it.
        Rotated = "rotated",
        /// This end did not close or abort it.
        None = "none",
    }
}

contract_enum! {
    /// Which end's Close came first, as seen from this end.
    pub enum FirstClose {
        /// Ours was sent before the peer's was read.
        Local = "local",
        /// The peer's was read before ours was sent.
        Peer = "peer",
        /// No Close was sent or received.
        None = "none",
    }
}

contract_enum! {
    /// How the transport ended.
    #[non_exhaustive]
    pub enum TransportEnd {
        /// The peer's FIN was read.
        Fin = "fin",
        /// The peer reset TCP.
        Reset = "reset",
        /// TLS ended without close_notify.
        TlsTruncated = "tls_truncated",
        /// The peer did not end TCP in time.
        Timeout = "timeout",
        /// It failed with an I/O error.
        Error = "error",
        /// This end closed or reset it.
        Local = "local",
        /// The process that owned it died.
        Unknown = "unknown",
    }
}

contract_enum! {
    /// Whether and how the dialling side should reconnect.
    pub enum Advice {
        /// Do not reconnect.
        Never = "never",
        /// Reconnect with new credentials.
        Reauthenticate = "reauthenticate",
        /// Reconnect after a wait.
        Backoff = "backoff",
    }
}

/// Advice to the dialling side on reconnecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Do not reconnect: the next connection would end the same way.
    Never,
    /// Reconnect with new credentials.
    Reauthenticate,
    /// Reconnect after a random wait in this range, so that many clients do not reconnect at once.
    Backoff {
        /// The shortest wait.
        min: Duration,
        /// The longest wait.
        max: Duration,
    },
}

impl Retry {
    /// Returns the advice without the range of the wait.
    pub const fn advice(self) -> Advice {
        match self {
            Self::Never => Advice::Never,
            Self::Reauthenticate => Advice::Reauthenticate,
            Self::Backoff { .. } => Advice::Backoff,
        }
    }
}

/// A limit that was hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The configuration key, without its section.
    pub name: &'static str,
    /// Its configured value, in bytes, messages or milliseconds.
    pub limit: u64,
    /// The observed value, in the same unit.
    pub observed: u64,
}

/// Who requested the close or abort (CONTRACT: `by`).
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

/// The outcome of a closing handshake or a failed attempt: the judged part of an ending.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The kind of ending.
    pub kind: Kind,
    /// Who was at fault.
    pub fault: Fault,
    /// What first made this end close or abort.
    pub cause: Cause,
    /// Which end's Close came first.
    pub first_close: FirstClose,
    /// The state of the closing handshake when the transport ended; `None` for an attempt.
    pub state: Option<CloseState>,
    /// Our Close, if it was sent whole.
    pub close_sent: Option<CloseFrame>,
    /// The peer's Close.
    pub close_received: Option<ReceivedClose>,
    /// How the transport ended; `None` if none was opened.
    pub transport_end: Option<TransportEnd>,
    /// The time between the two Closes; `None` if they were not both exchanged.
    pub handshake: Option<Duration>,
    /// Advice to the dialling side on reconnecting.
    pub retry: Retry,
    /// The limit that was hit.
    pub limit: Option<Limit>,
    /// Who requested the close or abort.
    pub by: Option<Requester>,
    /// One plain sentence for a person.
    pub detail: String,
}

impl Outcome {
    /// Makes an outcome of this kind with everything else unset.
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

    /// Returns the close code of RFC 6455 section 7.1.5: the received code, 1005 if the peer's Close
    /// was empty, 1006 if no Close was received; `None` for an attempt.
    pub fn close_code(&self) -> Option<u16> {
        self.state?;
        Some(match &self.close_received {
            Some(close) => close.code.unwrap_or(1005),
            None => 1006,
        })
    }
}

/// The data that was carried and lost.
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
    /// The age of the oldest message that is still queued.
    pub oldest_queued: Option<Duration>,
    /// How long ago the last data message was sent or received.
    pub last_activity: Option<Duration>,
    /// The last round trip of a Ping.
    pub ping_rtt: Option<Duration>,
}

/// What the kernel reported about TCP when the connection ended (TCP_INFO).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpFacts {
    /// Segments retransmitted over the connection's lifetime.
    pub retransmits: u32,
    /// Bytes written that the peer's kernel had not acknowledged.
    pub unacked_bytes: u32,
    /// The smoothed round-trip time, in microseconds.
    pub rtt_us: u32,
}

/// The typed record of how a connection or an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// The connection.
    pub id: ConnectionId,
    /// The node that owned it.
    pub node: Arc<str>,
    /// Its origin.
    pub origin: Arc<Origin>,
    /// The other leg of a relay.
    pub relay_peer: Option<ConnectionId>,
    /// When it opened, or when the attempt began.
    pub opened_at: SystemTime,
    /// When it ended.
    pub ended_at: SystemTime,
    /// How long it was open, by the monotonic clock.
    pub open_for: Duration,
    /// The judged outcome.
    pub outcome: Outcome,
    /// The data that was carried and lost; `None` if the process died with its counters.
    pub traffic: Option<Traffic>,
    /// What the kernel reported about TCP; `None` without TCP.
    pub tcp: Option<TcpFacts>,
}

impl Ending {
    /// The version of lastword that writes endings.
    pub const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    /// Returns whether the ending is clean: both Closes were exchanged.
    pub fn is_clean(&self) -> bool {
        self.outcome.kind == Kind::Clean
    }

    /// Returns the approximate memory it occupies, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.origin.held_bytes() + self.outcome.detail.len() + 64
    }
}

/// Writes the message of its log line.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.outcome.kind, self.outcome.detail)
    }
}
