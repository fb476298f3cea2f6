//! Losses of a transport, and the kind of ending each leads to.

use std::fmt;

use crate::protocol::frame_scanner::Position;
use crate::vocabulary::{Kind, TransportEnd};

/// The loss of a transport, and the position of its stream at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What the operating system reported.
    pub how: LossKind,
    /// The position of the stream within a frame and a message.
    pub position: Position,
}

/// How a transport ended, as the operating system reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LossKind {
    /// The peer sent FIN.
    Fin,
    /// The peer sent RST.
    Reset,
    /// TLS ended without close_notify.
    TlsTruncated,
    /// The network path was lost, with this error.
    PathLost(String),
    /// Any other error.
    Error(String),
}

/// The stage of the closing handshake in which a transport was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol) enum Standing {
    /// No Close was queued, sent or received.
    Open,
    /// Our Close was queued, and not sent yet.
    CloseQueued,
    /// Our Close was sent, and the peer's was awaited.
    CloseLeft,
    /// The peer's Close was received, and our answer was not sent yet.
    AnswerQueued,
}

impl Loss {
    /// Returns the kind of ending that this loss leads to.
    pub fn kind(&self) -> Kind {
        match self.how {
            LossKind::Fin => Kind::ClosedPrematurely,
            LossKind::Reset => Kind::ConnectionReset,
            LossKind::TlsTruncated => Kind::TlsTruncated,
            LossKind::PathLost(_) => Kind::PathLost,
            LossKind::Error(_) => Kind::TransportError,
        }
    }

    /// Returns what is recorded as the end of the transport.
    pub fn transport_end(&self) -> TransportEnd {
        self.how.transport_end()
    }

    /// Returns whether only the peer's half has ended, so that it may still read what we write.
    pub(in crate::protocol) fn is_half(&self) -> bool {
        match self.how {
            LossKind::Fin | LossKind::TlsTruncated => true,
            LossKind::Reset | LossKind::PathLost(_) | LossKind::Error(_) => false,
        }
    }

    /// Describes the loss in a clause.
    pub(in crate::protocol) fn describe(&self, standing: Standing) -> String {
        let how = &self.how;
        match (standing, self.position) {
            (Standing::Open, position) => format!("{how} {position}"),
            (Standing::CloseQueued, position) => {
                format!("{how} {position}, before our Close had left")
            }
            (Standing::CloseLeft, Position::BetweenMessages) => {
                format!("{how} instead of answering our Close")
            }
            (Standing::CloseLeft, position) => {
                format!("{how} {position}, instead of answering our Close")
            }
            (Standing::AnswerQueued, _) => format!("{how} before our answer had left"),
        }
    }
}

impl LossKind {
    /// Returns what is recorded as the end of the transport.
    pub fn transport_end(&self) -> TransportEnd {
        match self {
            Self::Fin => TransportEnd::Fin,
            Self::Reset => TransportEnd::Reset,
            Self::TlsTruncated => TransportEnd::TlsTruncated,
            Self::PathLost(_) => TransportEnd::Timeout,
            Self::Error(_) => TransportEnd::Error,
        }
    }
}

/// Writes the beginning of a sentence.
impl fmt::Display for LossKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fin => f.write_str("the peer ended TCP (FIN)"),
            Self::Reset => f.write_str("the peer reset TCP (RST)"),
            Self::TlsTruncated => f.write_str("TLS ended without close_notify"),
            Self::PathLost(why) => write!(f, "the network lost the peer ({why})"),
            Self::Error(why) => write!(f, "the transport failed ({why})"),
        }
    }
}
