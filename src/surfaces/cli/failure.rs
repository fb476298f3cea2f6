//! The errors of client commands, with their exit codes.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::contract::ProblemRecord;
use crate::explanation::wording::safe;

/// Why a client command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// The address of the control API is invalid.
    #[error("{given:?} is not an address of a control API: {problem}")]
    Address {
        /// What was given.
        given: String,
        /// What is wrong with it, and the remedy.
        problem: &'static str,
    },
    /// A file could not be read.
    #[error("{path}: {error}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({error}): give another address, such as 127.0.0.1:0")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The server to be probed is not reached.
    #[error("{0}")]
    NotReached(String),
    /// No connection could be made.
    #[error(
        "no daemon can be reached at {address} ({why}): is it running (`lastword serve`), and is \
         that its [control] address (--control, $LASTWORD_CONTROL)?"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// The error of the operating system.
        why: String,
    },
    /// There is no TLS with the server.
    #[error("the daemon at {address} cannot be reached over TLS: {why}")]
    Tls {
        /// Where.
        address: String,
        /// The problem and the remedy.
        why: String,
    },
    /// The daemon accepted the request, and then closed the connection or went silent.
    #[error("the daemon at {address} {what}")]
    Lost {
        /// Where.
        address: String,
        /// What happened.
        what: String,
    },
    /// The answer took longer than the timeout.
    #[error(
        "the daemon at {address} did not answer within {within:?}: it may be overloaded; --timeout \
         sets a longer wait"
    )]
    Slow {
        /// Where.
        address: String,
        /// The timeout.
        within: Duration,
    },
    /// The server at that address is not a control API.
    #[error("what answers at {address} is not lastword's control API: {why}")]
    NotOurs {
        /// Where.
        address: String,
        /// How its answer differs.
        why: String,
    },
    /// The daemon refused.
    #[error("{}{}", .problem.detail, remedy(.problem))]
    Refused {
        /// Why.
        problem: Box<ProblemRecord<'static>>,
        /// The response body as received.
        body: Bytes,
    },
    /// The request had no effect, or not the one asked for.
    #[error("{0}")]
    Undone(String),
    /// The output could not be written.
    #[error("the output could not be written: {0}")]
    Output(#[from] io::Error),
    /// The runtime could not be started.
    #[error("the runtime could not be started: {0}")]
    Runtime(#[source] io::Error),
}

impl Failure {
    /// Returns the error for a selector that matches no connection.
    pub(super) fn nothing_matches(selector: &str) -> Self {
        Self::Undone(format!(
            "no connection matches {}: `lastword ls` lists open connections",
            safe(selector)
        ))
    }

    /// Returns the exit code (CONTRACT section 4).
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            // The reader has read enough, like `head`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Listen { .. }
            | Self::Refused { .. }
            | Self::Undone(_)
            | Self::Output(_)
            | Self::Runtime(_) => 1,
            Self::Usage(_) | Self::Address { .. } | Self::File { .. } => 2,
            Self::NotReached(_)
            | Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::Lost { .. }
            | Self::Slow { .. }
            | Self::NotOurs { .. } => 3,
        }
    }

    /// Returns whether the daemon answered 404.
    pub(super) fn is_not_found(&self) -> bool {
        match self {
            Self::Refused { problem, .. } => problem.status == StatusCode::NOT_FOUND.as_u16(),
            Self::Usage(_)
            | Self::Address { .. }
            | Self::File { .. }
            | Self::Listen { .. }
            | Self::NotReached(_)
            | Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::Lost { .. }
            | Self::Slow { .. }
            | Self::NotOurs { .. }
            | Self::Undone(_)
            | Self::Output(_)
            | Self::Runtime(_) => false,
        }
    }
}

/// Returns a remedy that only the CLI knows, for a refusal by the daemon.
fn remedy(problem: &ProblemRecord<'_>) -> &'static str {
    if problem.status == StatusCode::UNAUTHORIZED.as_u16() {
        " (give the token with --token-file or $LASTWORD_TOKEN)"
    } else {
        ""
    }
}
