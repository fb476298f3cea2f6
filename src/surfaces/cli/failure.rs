//! What can go wrong with a client command, and the exit code that says so.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::words::safe;
use crate::contract::ProblemRecord;

/// Why a client command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// What was given makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The address of the control API is none.
    #[error("{given:?} is no address of a control API: {problem}")]
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
    /// Nobody answers there.
    #[error(
        "no daemon can be reached at {address} ({why}): is it running (`lastword serve`), and is \
         that its [control] address (--control, $LASTWORD_CONTROL)?"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// What the operating system said.
        why: String,
    },
    /// The daemon took the question and went away, or fell silent.
    #[error("the daemon at {address} {what}")]
    Lost {
        /// Where.
        address: String,
        /// What became of it.
        what: String,
    },
    /// The daemon took longer than it was given.
    #[error(
        "the daemon at {address} did not answer within {within:?}: it may be overloaded; --timeout \
         waits longer"
    )]
    Slow {
        /// Where.
        address: String,
        /// How long it was given.
        within: Duration,
    },
    /// Whatever answers there is no control API.
    #[error("what answers at {address} is not lastword's control API: {why}")]
    NotOurs {
        /// Where.
        address: String,
        /// What it said instead.
        why: String,
    },
    /// The daemon refused.
    #[error("{}{}", .problem.detail, remedy(.problem))]
    Refused {
        /// Why.
        problem: Box<ProblemRecord<'static>>,
        /// The same as it came.
        body: Bytes,
    },
    /// What was asked for did not come to pass.
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
    /// Says that a selector selects no connection.
    pub(super) fn nothing_matches(selector: &str) -> Self {
        Self::Undone(format!(
            "nothing matches {}: `lastword ls` lists what is open",
            safe(selector)
        ))
    }

    /// Returns the exit code (CONTRACT section 4).
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            // Whoever reads the output has read enough, as `head` does.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Refused { .. } | Self::Undone(_) | Self::Output(_) | Self::Runtime(_) => 1,
            Self::Usage(_) | Self::Address { .. } | Self::File { .. } => 2,
            Self::Unreachable { .. }
            | Self::Lost { .. }
            | Self::Slow { .. }
            | Self::NotOurs { .. } => 3,
        }
    }

    /// Tells whether the daemon said that there is no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        match self {
            Self::Refused { problem, .. } => problem.status == StatusCode::NOT_FOUND.as_u16(),
            Self::Usage(_)
            | Self::Address { .. }
            | Self::File { .. }
            | Self::Unreachable { .. }
            | Self::Lost { .. }
            | Self::Slow { .. }
            | Self::NotOurs { .. }
            | Self::Undone(_)
            | Self::Output(_)
            | Self::Runtime(_) => false,
        }
    }
}

/// Says what the daemon cannot know that whoever asked needs.
fn remedy(problem: &ProblemRecord<'_>) -> &'static str {
    if problem.status == StatusCode::UNAUTHORIZED.as_u16() {
        " (give the token by --token-file or $LASTWORD_TOKEN)"
    } else {
        ""
    }
}
