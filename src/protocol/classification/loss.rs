//! How a transport is lost, and what that makes of an ending.

use std::fmt;

use crate::protocol::frame_scanner::Place;
use crate::vocabulary::{Kind, TransportEnd};

/// How a transport was lost, and where in its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What the operating system said.
    pub how: LossKind,
    /// Where in a frame and a message the stream stood.
    pub place: Place,
}

/// What the operating system said about a transport that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LossKind {
    /// The peer ended its half in order.
    Fin,
    /// The peer reset TCP.
    Reset,
    /// TLS ended without close_notify.
    TlsTruncated,
    /// The network gave up, in these words.
    PathLost(String),
    /// Any other error, in these words.
    Error(String),
}

/// Where the closing handshake stood when a transport was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol) enum Standing {
    /// No Close was under way.
    Open,
    /// Our Close had not left.
    CloseQueued,
    /// The peer owed us its Close.
    CloseLeft,
    /// We owed the peer our Close.
    AnswerQueued,
}

impl Loss {
    /// Returns the kind of an ending that this loss brings about.
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

    /// Tells whether only the peer's half has ended, so that it may still read what we write.
    pub(in crate::protocol) fn is_half(&self) -> bool {
        match self.how {
            LossKind::Fin | LossKind::TlsTruncated => true,
            LossKind::Reset | LossKind::PathLost(_) | LossKind::Error(_) => false,
        }
    }

    /// Says it in half a sentence.
    pub(in crate::protocol) fn describe(&self, standing: Standing) -> String {
        let said = &self.how;
        match (standing, self.place) {
            (Standing::Open, place) => format!("{said} {place}"),
            (Standing::CloseQueued, place) => format!("{said} {place}, before our Close had left"),
            (Standing::CloseLeft, Place::BetweenMessages) => {
                format!("{said} instead of answering our Close")
            }
            (Standing::CloseLeft, place) => {
                format!("{said} {place}, instead of answering our Close")
            }
            (Standing::AnswerQueued, _) => format!("{said} before our answer had left"),
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

/// Says it as the beginning of a sentence.
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
