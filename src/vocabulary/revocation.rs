//! Revocations: whose connections are closed and refused, and until when.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::{Requester, is_label};

/// Closes the connections that it applies to, and refuses new ones, until it expires or is withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Its number, from 1; a ledger never assigns a number twice.
    pub number: u64,
    /// What it applies to.
    pub target: RevocationTarget,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it stops to apply; `None` if only a withdrawal ends it.
    pub expires_at: Option<SystemTime>,
    /// Who made it.
    pub by: Option<Requester>,
}

impl Revocation {
    /// Returns whether it has not expired.
    pub fn is_in_force(&self, now: SystemTime) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

/// What a revocation applies to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RevocationTarget {
    /// All connections of a subject.
    Subject {
        /// The subject.
        subject: String,
        /// Only those whose token was issued before this time. Without a token that says when it
        /// was issued, the time at which the connection opened counts.
        issued_before: Option<SystemTime>,
    },
    /// All connections that were opened with one token.
    Token {
        /// The `jti` claim of the token.
        id: String,
    },
}

impl RevocationTarget {
    /// Returns whether a subject or token can have this name: 1 to 256 printable bytes.
    pub fn is_valid(&self) -> bool {
        let (Self::Subject { subject: name, .. } | Self::Token { id: name }) = self;
        !name.is_empty() && is_label(name)
    }
}

/// Says what it revokes, in one sentence.
impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.target {
            RevocationTarget::Subject { issued_before: None, .. } => "the subject is revoked",
            RevocationTarget::Subject { issued_before: Some(_), .. } => {
                "credentials of the subject from before a certain time are revoked"
            }
            RevocationTarget::Token { .. } => "the token is revoked",
        })?;
        write!(f, " (revocation {})", self.number)
    }
}

/// A change of the revocations.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationChange {
    /// One was made.
    Made(Arc<Revocation>),
    /// One was withdrawn before it expired.
    Withdrawn {
        /// The revocation.
        revocation: Arc<Revocation>,
        /// When it was withdrawn.
        at: SystemTime,
    },
}

impl Revocation {
    /// Returns the approximate memory it occupies, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        let (RevocationTarget::Subject { subject: name, .. }
        | RevocationTarget::Token { id: name }) = &self.target;
        size_of::<Self>() + name.len()
    }
}

impl RevocationChange {
    /// Returns the revocation.
    pub fn revocation(&self) -> &Arc<Revocation> {
        match self {
            Self::Made(revocation) | Self::Withdrawn { revocation, .. } => revocation,
        }
    }

    /// Returns when it happened.
    pub fn at(&self) -> SystemTime {
        match self {
            Self::Made(revocation) => revocation.created_at,
            Self::Withdrawn { at, .. } => *at,
        }
    }

    /// Returns the string of the contract.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Made(_) => "made",
            Self::Withdrawn { .. } => "withdrawn",
        }
    }
}

/// The number of revocations, and what they did since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RevocationCounts {
    /// Revocations that are in force.
    pub in_force: u64,
    /// Connections that were closed.
    pub closed: u64,
    /// Requests that were refused: opening handshakes, plain HTTP and new tokens of open connections.
    pub refused: u64,
}
