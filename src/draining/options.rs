//! The options of a drain, and its report.

use std::sync::Arc;
use std::time::Duration;

use crate::policy::drain::Pace;
use crate::vocabulary::{CloseCode, CloseReason, Requester, Selector};

/// The options of a drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainOptions {
    /// The time limit of the whole drain. Connections still open then are aborted and recorded as
    /// `drain_deadline`.
    pub within: Duration,
    /// How fast the Closes are sent.
    pub pace: Pace,
    /// The code of the Closes.
    pub code: CloseCode,
    /// The reason of the Closes.
    pub reason: CloseReason,
    /// Who asked for the drain. Endings name it if it is a signal, else they name the drain.
    pub by: Option<Requester>,
    /// The connections to close. If these are not all, new connections are still accepted, and not
    /// closed.
    pub select: Selector,
    /// Whether a drain of all connections still refuses new ones after it has finished, until it is
    /// cancelled.
    pub stay: bool,
}

impl Default for DrainOptions {
    /// Drains all connections within 60 seconds, with 1012 "service restart".
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

/// The result of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainReport {
    /// The number of connections that were asked to close.
    pub asked: usize,
    /// The number of connections that were aborted at the deadline.
    pub cut: usize,
    /// The time that the drain took.
    pub took: Duration,
}

/// A drain did not begin because another one is under way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the drain {id} is under way: cancel it, or wait until it has finished")]
pub struct DrainUnderWay {
    /// The id of the drain that is under way.
    pub id: Arc<str>,
}
