//! What the closing handshake is told and what it answers: policy, inputs and actions.

use std::time::Duration;

use crate::protocol::classification::{Breach, Loss};
use crate::vocabulary::{Cause, CloseCode, CloseFrame, Kind, Limit, ReceivedClose, Requester};

/// How a connection closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosePolicy {
    /// How long the closing handshake may take, from the request or from the peer's Close.
    pub timeout: Duration,
    /// How long TCP may outlive both Closes, and a failed connection its failure.
    pub linger: Duration,
    /// When the peer's Close is answered.
    pub reply: ReplyPolicy,
    /// What is appended to the reasons that this end words itself.
    pub signature: Option<String>,
}

impl ClosePolicy {
    /// How long before the deadline of a closing handshake nothing is waited for any more but that a
    /// Close can still leave: `linger`, where that is a sensible part of the time there is.
    pub fn slack(timeout: Duration, linger: Duration) -> Duration {
        linger.clamp(timeout / 10, timeout / 2)
    }
}

/// When the peer's Close is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyPolicy {
    /// At once, with the same code.
    AtOnce,
    /// When the application has chosen; else by ourselves, early enough to leave in time.
    Chosen,
}

/// A fact that the closing handshake is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A close was accepted: its frame is the last thing in the outbox.
    CloseAccepted(CloseRequest),
    /// The application has nothing to say to the peer's Close: answer it in kind.
    ReplyInKind,
    /// Drop the connection now.
    Abort {
        /// Why.
        cause: Cause,
        /// Who asked.
        by: Option<Requester>,
    },
    /// The peer's Close was read.
    PeerClose {
        /// What it says.
        close: ReceivedClose,
        /// What is wrong with it.
        breach: Option<Breach>,
    },
    /// Our Close was wholly handed to the kernel.
    CloseFlushed,
    /// All that was queued was handed to the kernel, after [`Action::FlushThenReport`].
    OutboxFlushed,
    /// The transport ended, or its reading side did.
    TransportEnded(Loss),
    /// The peer broke a rule.
    Violation(Breach),
    /// The peer was silent for too long after our Ping.
    PongOverdue {
        /// For how long.
        silent: Duration,
    },
    /// Nothing could be written for `write_timeout`.
    WriteStalled(Limit),
    /// The outbox was full and `on_full` is `close`.
    OutboxOverflow(Limit),
    /// The memory of all connections was used up, and this one has to go for it.
    MemoryExhausted {
        /// The limit, and what this connection held.
        limit: Limit,
        /// What it held, as half a sentence.
        what: String,
        /// The peer may still take our Close; else the connection is dropped.
        reads: bool,
    },
    /// The backend failed.
    BackendFailed {
        /// The code that tells the peer.
        code: CloseCode,
        /// What happened, as half a sentence.
        what: String,
        /// The limit that it hit, if one.
        limit: Option<Limit>,
    },
    /// The drain's deadline passed.
    DrainDeadline(Option<Requester>),
    /// The other leg of a relay was lost: it ended, or is about to, without a Close to pass on.
    RelayLost(RelayLoss),
}

/// What the loss of the other leg of a relay means for this one.
#[derive(Debug, Clone, PartialEq)]
pub struct RelayLoss {
    /// What was lost, as half a sentence.
    pub what: String,
    /// The kind of this leg's ending, unless it can still be clean.
    pub kind: Kind,
    /// The code that tells the peer; without one it is dropped.
    pub code: Option<CloseCode>,
    /// The reason beside the code; without one it says that the other side was lost.
    pub reason: Option<String>,
    /// A frame was passed on in part: nothing can be said behind that, and the peer is dropped.
    pub cut: bool,
}

/// A close that this end asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct CloseRequest {
    /// The frame.
    pub frame: CloseFrame,
    /// Why.
    pub cause: Cause,
    /// Who asked.
    pub by: Option<Requester>,
    /// The limit that was hit, if one is the reason.
    pub limit: Option<Limit>,
    /// It passes on a Close of the application behind the relay, which closed of its own will: its
    /// answer to a Close of this end is none.
    pub backend_closed: bool,
}

impl CloseRequest {
    /// Asks for a Close for this reason: nobody is named, and no limit was hit.
    pub fn new(frame: CloseFrame, cause: Cause) -> Self {
        Self { frame, cause, by: None, limit: None, backend_closed: false }
    }
}

/// Something that is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Append this Close to the outbox and accept nothing after it.
    SendClose {
        /// The frame.
        frame: CloseFrame,
        /// Drop what is queued and not begun, so that the Close can leave.
        shed: bool,
    },
    /// Deliver no more messages; count those that come.
    StopDelivery,
    /// End our half of the transport (FIN).
    ShutdownWrite,
    /// Accept nothing more, write what is queued, then report [`Input::OutboxFlushed`].
    FlushThenReport,
    /// Drop the transport: the connection has ended. This comes exactly once, and last.
    Finish {
        /// Reset TCP, rather than ending it in order.
        reset: bool,
        /// The kind of the ending.
        kind: Kind,
    },
}
