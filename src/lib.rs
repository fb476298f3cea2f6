//! lastword owns WebSocket connections, inbound and outbound, one supervised actor each, and ends
//! every one of them in exactly one typed, recorded [`Ending`]: who closed first, both Close frames,
//! where the closing handshake stood, why, what was lost, and whether to come back.
//!
//! It is a daemon (`lastword serve`) and this library. [`Supervisor`] is where to start; the [`guide`]
//! explains the rest, page by page.
//!
//! # Coming from System.Net.WebSockets
//!
//! | .NET | here | what differs |
//! | --- | --- | --- |
//! | `new ClientWebSocket()`, `ConnectAsync` | [`Supervisor::dial`] | a failed attempt is an [`Ending`] too, of kind `open_failed` |
//! | `WebSocket.CreateFromStream` | [`Supervisor::adopt`] | keepalive, limits and deadlines come with it |
//! | `SendAsync` | [`ConnectionHandle::send`] | waits for room, may run beside anything, and dropping its future is safe |
//! | | [`ConnectionHandle::try_send`] | never waits; gives the message back when the outbox is full |
//! | `ReceiveAsync` | [`Receiver::receive`], [`Handler::on_message`] | whole messages, then the peer's Close; Pings are answered and losses seen whether or not anybody receives |
//! | `CloseAsync` | [`ConnectionHandle::close`] | waits for `close.timeout` at most; a second call gets the same ending, one after the end the recorded one |
//! | `CloseOutputAsync` | [`ConnectionHandle::close_output`] | as there: it sends Close and does not wait; what still comes is delivered |
//! | answering with `CloseOutputAsync(result.CloseStatus…)` | automatic, or [`Handler::CHOOSES_REPLY`], or [`Supervisor::adopt_replying`] | the reply leaves even if nobody thinks of it |
//! | `Abort` | [`ConnectionHandle::abort`] | resets TCP; the record says who asked |
//! | `Dispose` | | dropping a handle does nothing: the supervisor owns the connection |
//! | `State` | [`ConnectionHandle::state`] | tells the truth also when nobody receives; `closed` at every end |
//! | `CloseStatus`, `CloseStatusDescription` | [`vocabulary::Outcome`] | both Closes, their order, and 1005 for an empty one, where .NET says 1000 |
//! | `WebSocketException(InvalidState)` | [`SendError::InvalidState`], [`SendError::Ending`], [`SendError::Ended`] | closing twice is no error |
//! | `WebSocketException(ConnectionClosedPrematurely)` | [`ReceiveError::Ended`] | carries the ending: FIN, RST, a lost path and our own abort are told apart, with the place in the stream |
//! | `KeepAliveInterval`, `KeepAliveTimeout` | [`settings::Keepalive`] | Pings are on by default and need no pending receive |
//! | cancelling a pending receive or close | dropping the future | the connection goes on |
//!
//! # The layers
//!
//! A layer imports only from those above it in this list; a test enforces it. What an embedder needs is at
//! the front of the crate, in [`settings`], [`vocabulary`] and [`ledger`]; the other layers are the house's own.
//!
//! | layer | what it is |
//! | --- | --- |
//! | [`vocabulary`] | the words: pure types, no serde |
//! | `protocol` | RFC 6455, pure: closing handshake, keepalive, frames, classification |
//! | `policy` | what we choose, pure: admission, rates, drain |
//! | `runtime` | tasks that outlive a panic, and the clock |
//! | [`settings`] | what holds for a connection, a route, a dialer: typed values |
//! | `config` | the daemon's schema and its layered loading |
//! | `contract` | the JSON that users hold on to |
//! | `explanation` | what `why` tells, in sentences, pure |
//! | `transport` | sockets, the opening handshake, reading messages (the only place that names tungstenite) |
//! | `auth` | whether a client may connect: tokens, their keys, an HTTP endpoint |
//! | [`ledger`] | where endings are kept |
//! | `connection` | what is known of one connection: its queues, its counters, its handle |
//! | `actor` | one connection at work: the actor that decides and the task that moves bytes |
//! | `node` | all connections of a process: the supervisor, the registry, what is counted and recorded |
//! | `relay` | connections to applications behind this node, and plain HTTP to them |
//! | `draining` | closing many connections, paced |
//! | `listening` | clients from their TCP connection until a backend has them |
//! | `manager` | this library's front: the supervisor, dials and dialers |
//! | `probe` | how other servers and clients close: cases, and how they are judged |
//! | `surfaces` | what people and machines see of the daemon; none imports another |
//! | `daemon` | the composition root |
//!
//! # Where to find what
//!
//! | what | where |
//! | --- | --- |
//! | a Close is answered | `src/protocol/closing_handshake.rs` decides, `src/actor/mover/acting.rs` acts |
//! | why nothing follows our Close | `src/connection/closing.rs` |
//! | an ending is drawn up | `src/connection/ending.rs` |
//! | an ending is explained | `src/explanation/story.rs`, what to do about it in `src/explanation/remedy.rs` |
//! | a peer that a person names is found | `src/vocabulary/peer_filter.rs` |
//! | `top` takes a key | `src/surfaces/cli/top/model.rs`, and draws in `src/surfaces/cli/top/drawing.rs` |
//! | an ending is recorded and published | `src/node/commits.rs` |
//! | a frame is passed on | `src/actor/mover/reading/passing.rs`, `src/connection/outbox/passing.rs` |
//! | TLS is opened with a client | `src/listening/listener/preparing.rs`, certificates in `src/transport/tls/server.rs` |
//! | a client is let in or refused | `src/listening/listener.rs`, limits in `src/policy/admission.rs` |
//! | a token is checked | `src/auth/verifier.rs`, with the keys of `src/auth/key_set.rs` |
//! | a connection expires | `src/actor/mover/expiring.rs` |
//! | a revocation is applied | `src/node/revoking.rs`, what it applies to `src/policy/revocations.rs` |
//! | which connection of a subject stays | `src/node/subjects.rs` |
//! | a peer that sends too much waits | `src/connection/progress/rates.rs`, `src/actor/mover/reading.rs` |
//! | a route is full | `src/policy/admission/of_route.rs`, `src/node/slots.rs` |
//! | bytes are limited | `src/connection/outbox.rs`, `src/connection/inbox.rs`, `src/connection/budget.rs` |
//! | the next dial is planned | `src/policy/reconnect.rs` |
//! | a drain is paced | `src/policy/drain.rs` |
//! | a server is probed | `src/probe/running.rs`, its cases in `src/probe/cases.rs` and below |
//! | a signal is handled | `src/daemon/signals.rs` |
//! | a socket of systemd is taken | `src/transport/inherited.rs`, left to the next process in `src/listening/listener/handle.rs` |
//!
//! # Invariants
//!
//! - Exactly one ending per connection, published from one place, whatever dies: opened = open +
//!   ended at every instant ([`Supervisor::accounting`]).
//! - No frame of any kind follows our Close.
//! - Every queue is bounded in bytes, every wait has a deadline.
//! - Nothing in `protocol`, `policy` and `explanation` does I/O, reads a clock or awaits.
//! - No message data passes an actor's mailbox.

// What only the daemon uses lies idle in a smaller build; in the whole one the compiler looks for it.
#![cfg_attr(not(feature = "daemon"), allow(dead_code))]

pub mod guide;
pub mod ledger;
pub mod settings;
pub mod vocabulary;

// The rest is the house itself, and changes without notice: it is public for the daemon's binary, the
// tests and the benchmarks. What an embedder needs of it is exported here.
#[cfg(feature = "schema")]
#[doc(hidden)]
pub mod config;
#[cfg(feature = "contract")]
#[doc(hidden)]
pub mod contract;
#[cfg(feature = "daemon")]
#[doc(hidden)]
pub mod daemon;
#[doc(hidden)]
pub mod manager;
#[doc(hidden)]
pub mod policy;
#[cfg(feature = "daemon")]
#[doc(hidden)]
pub mod probe;
#[doc(hidden)]
pub mod protocol;
#[cfg(feature = "control")]
#[doc(hidden)]
pub mod surfaces;
#[doc(hidden)]
pub mod transport;

mod actor;
#[cfg(not(feature = "auth"))]
#[path = "without_auth.rs"]
mod auth;
#[cfg(feature = "auth")]
mod auth;
mod connection;
mod draining;
#[cfg(feature = "control")]
mod explanation;
mod listening;
mod node;
mod relay;
mod runtime;

#[cfg(feature = "auth")]
pub use auth::{Auth, BadKeys};
#[cfg(feature = "relay")]
pub use manager::Relay;
pub use manager::{
    Accept, Accounting, Adopt, Backend, BroadcastReport, Builder, CloseReply, ConnectionHandle,
    Dial, DialError, DialerHandle, DialerOptions, DrainBackendError, DrainOptions, DrainReport,
    DrainUnderWay, EndingStream, EventStream, Handler, HandlerFailure, Incoming, KeepError,
    ListenError, ListenOptions, ListenerHandle, MissedEndings, NoBackend, NotAccepting,
    OpeningRequest, ReceiveError, Receiver, Refuse, RenewError, Revoke, RevokeError, Revoked,
    Route, SendError, ShutDown, StartError, Supervisor, TrySendError, Upgrade, UpgradeRefused,
};
pub use policy::admission::AdmissionLimits;
pub use policy::drain::Pace;
pub use protocol::url::UrlProblem;
pub use transport::bind::BindError;
pub use transport::dial::InvalidUrl;
pub use transport::socket::{Adopted, SocketName, Transport};
pub use vocabulary::{Ending, Event, Message};

/// What the README shows runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
