//! Maps I/O errors to the loss of a transport.

use std::io;

use crate::protocol::classification::LossKind;

impl From<&io::Error> for LossKind {
    /// Classifies an error that a read or a write returned.
    fn from(error: &io::Error) -> Self {
        let lost = || Self::PathLost(error.to_string());
        if let Some(errno) = error.raw_os_error() {
            return match errno {
                // EPIPE and ECONNABORTED follow once the reset itself was reported.
                libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED => Self::Reset,
                libc::ETIMEDOUT
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ENETDOWN
                | libc::EHOSTDOWN => lost(),
                _ => Self::Error(error.to_string()),
            };
        }
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::UnexpectedEof => Self::TlsTruncated,
            io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => lost(),
            _ => Self::Error(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_classified_by_what_they_say_of_the_end() {
        let os = |errno| LossKind::from(&io::Error::from_raw_os_error(errno));
        for reset in [libc::ECONNRESET, libc::EPIPE, libc::ECONNABORTED] {
            assert_eq!(os(reset), LossKind::Reset);
        }
        for lost in [libc::ETIMEDOUT, libc::EHOSTUNREACH, libc::ENETUNREACH] {
            assert!(matches!(os(lost), LossKind::PathLost(_)));
        }
        assert!(matches!(os(libc::EIO), LossKind::Error(_)));

        let kind = |kind: io::ErrorKind| LossKind::from(&io::Error::from(kind));
        assert_eq!(kind(io::ErrorKind::UnexpectedEof), LossKind::TlsTruncated);
        assert_eq!(kind(io::ErrorKind::BrokenPipe), LossKind::Reset);
        assert!(matches!(kind(io::ErrorKind::TimedOut), LossKind::PathLost(_)));
        assert!(matches!(kind(io::ErrorKind::InvalidData), LossKind::Error(_)));
    }
}
