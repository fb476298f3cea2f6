//! State that dialers share with their handles and with one another.

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::connection::handle::ConnectionHandle;
use crate::policy::reconnect::DialBudget;
use crate::runtime::now;
use crate::vocabulary::{DialerStatus, Requester};

/// The state that a dialer shares with its handles.
pub(super) struct Shared {
    pub(super) status: watch::Sender<DialerStatus>,
    pub(super) connection: Mutex<Option<ConnectionHandle>>,
    pub(super) requests: watch::Sender<Requests>,
    /// Set once the task has ended.
    pub(super) over: watch::Sender<bool>,
}

/// The requests to a dialer, cumulated; the dialer compares them with those that it has applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Requests {
    pub(super) paused: bool,
    pub(super) by: Option<Requester>,
    pub(super) resumes: u64,
    pub(super) rotations: u64,
    /// Paused for good.
    pub(super) removed: bool,
}

/// The rate limit that all dialers share.
pub(super) struct Gate {
    pub(super) budget: tokio::sync::Mutex<DialBudget>,
}

impl Gate {
    /// Waits until one dial is allowed, in the order of the calls. Cancel safe.
    pub(super) async fn pass(&self) {
        let mut budget = self.budget.lock().await;
        while let Err(again) = budget.take(now()) {
            tokio::time::sleep_until(again.into()).await;
        }
    }
}
