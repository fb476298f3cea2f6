//! How to drain, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use crate::policy::drain::Pace;
use crate::vocabulary::{CloseCode, CloseReason, Requester, Selector};

/// How to drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainOptions {
    /// How long it may take in all; what is still open then is cut off as `drain_deadline`.
    pub within: Duration,
    /// How fast the Closes are sent.
    pub pace: Pace,
    /// The code of the Closes.
    pub code: CloseCode,
    /// Their reason.
    pub reason: CloseReason,
    /// Who asked. The record of an ending names a signal; else it names the drain.
    pub by: Option<Requester>,
    /// Which connections; unless it is all of them, new ones go on being accepted, and those that
    /// come while it runs are left alone.
    pub select: Selector,
    /// Whether a drain of all connections goes on refusing new ones once it has finished, until it
    /// is cancelled.
    pub stay: bool,
}

impl Default for DrainOptions {
    /// Drains all within a minute, with 1012 "service restart".
    fn default() -> Self {
        Self {
            within: Duration::from_secs(60),
            pace: Pace::Auto,
            code: CloseCode::SERVICE_RESTART,
            reason: CloseReason::truncated("service restart"),
            by: None,
            select: Selector::default(),
            stay: false,
        }
    }
}

/// What a drain came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainReport {
    /// Connections that were asked to close.
    pub asked: usize,
    /// Connections that were cut off at the deadline.
    pub cut: usize,
    /// How long it took.
    pub took: Duration,
}

/// Another drain is under way: cancel it, or wait for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the drain {id} is under way: cancel it, or wait until it has finished")]
pub struct DrainUnderWay {
    /// Which.
    pub id: Arc<str>,
}
