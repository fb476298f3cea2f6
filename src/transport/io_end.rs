//! What an I/O error says about the end of a transport.

use std::fmt;
use std::io;

use crate::protocol::classification::LossKind;
use crate::vocabulary::TransportEnd;

/// What an I/O error says about the end of a transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IoEnd {
    /// The peer reset it.
    Reset,
    /// TLS ended without close_notify.
    TlsTruncated,
    /// The network gave up.
    PathLost {
        /// ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, or another of their family.
        errno: i32,
    },
    /// Anything else.
    Other {
        /// The kernel's number, if the error came from the kernel.
        errno: Option<i32>,
        /// The error in words.
        text: String,
    },
}

impl IoEnd {
    /// Classifies an error that a read or a write returned.
    pub fn classify(error: &io::Error) -> Self {
        if let Some(errno) = error.raw_os_error() {
            return match errno {
                // EPIPE and ECONNABORTED are what is left to say once the reset was reported.
                libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED => Self::Reset,
                libc::ETIMEDOUT
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ENETDOWN
                | libc::EHOSTDOWN => Self::PathLost { errno },
                _ => Self::Other { errno: Some(errno), text: error.to_string() },
            };
        }
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::UnexpectedEof => Self::TlsTruncated,
            io::ErrorKind::TimedOut => Self::PathLost { errno: libc::ETIMEDOUT },
            io::ErrorKind::HostUnreachable => Self::PathLost { errno: libc::EHOSTUNREACH },
            io::ErrorKind::NetworkUnreachable => Self::PathLost { errno: libc::ENETUNREACH },
            _ => Self::Other { errno: None, text: error.to_string() },
        }
    }

    /// Returns the word for it in an ending.
    pub const fn transport_end(&self) -> TransportEnd {
        match self {
            Self::Reset => TransportEnd::Reset,
            Self::TlsTruncated => TransportEnd::TlsTruncated,
            Self::PathLost { .. } | Self::Other { .. } => TransportEnd::Error,
        }
    }
}

/// Writes the clause that completes "the connection ended: …".
impl fmt::Display for IoEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset => f.write_str("the peer reset it"),
            Self::TlsTruncated => f.write_str("TLS ended without close_notify"),
            Self::PathLost { errno } => {
                write!(f, "the network lost it: {}", io::Error::from_raw_os_error(*errno))
            }
            Self::Other { errno: _, text } => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_classified_by_what_they_say_of_the_end() {
        let os = |errno| IoEnd::classify(&io::Error::from_raw_os_error(errno));
        assert_eq!(os(libc::ECONNRESET), IoEnd::Reset);
        assert_eq!(os(libc::EPIPE), IoEnd::Reset);
        assert_eq!(os(libc::ECONNABORTED), IoEnd::Reset);
        assert_eq!(os(libc::ETIMEDOUT), IoEnd::PathLost { errno: libc::ETIMEDOUT });
        assert_eq!(os(libc::EHOSTUNREACH), IoEnd::PathLost { errno: libc::EHOSTUNREACH });
        assert_eq!(os(libc::ENETUNREACH), IoEnd::PathLost { errno: libc::ENETUNREACH });
        assert!(matches!(os(libc::EIO), IoEnd::Other { errno: Some(libc::EIO), .. }));

        let kind = |kind: io::ErrorKind| IoEnd::classify(&io::Error::from(kind));
        assert_eq!(kind(io::ErrorKind::UnexpectedEof), IoEnd::TlsTruncated);
        assert_eq!(kind(io::ErrorKind::BrokenPipe), IoEnd::Reset);
        assert!(matches!(kind(io::ErrorKind::InvalidData), IoEnd::Other { errno: None, .. }));
    }
}

/// Turns an I/O error into what the closing handshake is told.
impl From<&io::Error> for LossKind {
    fn from(error: &io::Error) -> Self {
        match IoEnd::classify(error) {
            IoEnd::Reset => Self::Reset,
            IoEnd::TlsTruncated => Self::TlsTruncated,
            IoEnd::PathLost { .. } => Self::PathLost(error.to_string()),
            IoEnd::Other { text, .. } => Self::Error(text),
        }
    }
}
