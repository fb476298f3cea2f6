//! The end of a connection, once it has come.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::outbox::Lost;
use crate::vocabulary::{Ending, TcpFacts};

/// The end of a connection, once it has come.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) dropped: Mutex<Option<AtDrop>>,
    pub(super) recorded: OnceLock<Arc<Ending>>,
    /// Notified when the ending is recorded.
    pub(super) waiters: Notify,
}

/// What was noted when the transport was dropped.
#[derive(Debug, Clone, Copy)]
pub(super) struct AtDrop {
    pub(super) at: Instant,
    pub(super) wall: SystemTime,
    pub(super) tcp: Option<TcpFacts>,
    pub(super) lost: Lost,
    pub(super) oldest: Option<Duration>,
}
