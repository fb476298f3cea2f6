//! Queries on a ledger.

use std::time::SystemTime;

use super::{Slots, Timeline};
use crate::vocabulary::{Cause, ConnectionName, Fault};

/// The read side of a ledger. Every call may block on the disk: do not call it from async code.
pub trait Archive: Send + Sync + 'static {
    /// Returns the ending of a connection or attempt.
    ///
    /// # Errors
    /// [`QueryError`] if the store cannot be read.
    fn ending(&self, name: ConnectionName) -> Result<Option<Stored>, QueryError>;

    /// Returns endings, newest first.
    ///
    /// # Errors
    /// [`QueryError`] if the store cannot be read.
    fn endings(&self, filter: &EndingFilter) -> Result<EndingPage, QueryError>;

    /// Counts endings by one of their properties. Attempts that were only counted are included
    /// where that property was kept.
    ///
    /// # Errors
    /// [`QueryError`] if the store cannot be read.
    fn summary(
        &self,
        since: Option<SystemTime>,
        until: Option<SystemTime>,
        by: Property,
    ) -> Result<Summary, QueryError>;

    /// Counts endings by one of [`Property::OVER_TIME`] in each slot of a period, including
    /// attempts that were only counted; these are in the slot in which their minute begins.
    ///
    /// # Errors
    /// [`QueryError`] if the store cannot be read.
    fn over_time(&self, slots: &Slots, by: Property) -> Result<Timeline, QueryError>;

    /// Returns the endings that were committed after `sequence`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`QueryError`] if the store cannot be read.
    fn after(&self, sequence: u64, limit: usize) -> Result<Replay, QueryError>;
}

/// Which endings to return; `None` means no restriction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndingFilter {
    /// Those that ended at this time or later.
    pub since: Option<SystemTime>,
    /// Those that ended before this time.
    pub until: Option<SystemTime>,
    /// Those of this kind, by its name in the contract.
    pub kind: Option<String>,
    /// Those of this fault.
    pub fault: Option<Fault>,
    /// Those with this cause.
    pub cause: Option<Cause>,
    /// Those of this close code.
    pub code: Option<u16>,
    /// Those of this route.
    pub route: Option<String>,
    /// Those of this subject.
    pub subject: Option<String>,
    /// Those of this peer: an address with its port, or without.
    pub peer: Option<String>,
    /// Those of this path, as recorded.
    pub path: Option<String>,
    /// Those before this sequence number: where the previous page ended.
    pub before: Option<u64>,
    /// How many at most.
    pub limit: usize,
}

/// An ending as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its number in the order of commits.
    pub sequence: u64,
    /// Whether it is a failed attempt (`open_failed`).
    pub attempt: bool,
    /// The record, in the JSON of the contract.
    pub json: String,
}

/// A page of endings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndingPage {
    /// The endings, newest first.
    pub endings: Vec<Stored>,
    /// The `before` of the next page; `None` at the end.
    pub next: Option<u64>,
}

/// A property by which endings are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Property {
    /// `kind`.
    Kind,
    /// `fault`.
    Fault,
    /// `cause`.
    Cause,
    /// `close_code`.
    Code,
    /// `route`.
    Route,
    /// `user_agent`.
    UserAgent,
}

impl Property {
    /// Every property, in the order of the contract.
    pub const ALL: [Self; 6] =
        [Self::Kind, Self::Fault, Self::Cause, Self::Code, Self::Route, Self::UserAgent];

    /// Those by which endings are counted over time: their values are a closed set.
    pub const OVER_TIME: [Self; 3] = [Self::Kind, Self::Fault, Self::Cause];

    /// Returns its name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Fault => "fault",
            Self::Cause => "cause",
            Self::Code => "code",
            Self::Route => "route",
            Self::UserAgent => "user_agent",
        }
    }
}

/// The number of endings per value, largest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// The counts; at most 1,000 values.
    pub counts: Vec<Count>,
    /// The number of endings in total.
    pub total: u64,
}

/// The number of endings with one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The value; `None` for endings without one.
    pub value: Option<String>,
    /// The number of endings.
    pub count: u64,
}

/// Endings in the order of their commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replay {
    /// The endings, oldest first.
    pub endings: Vec<Stored>,
    /// Whether endings committed after the requested number have been removed.
    pub gap: bool,
}

/// The ledger could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the ledger cannot be read: {0}")]
pub struct QueryError(pub String);
