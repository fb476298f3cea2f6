//! State that dialers share with their handles and with one another.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::plan::Plan;
use crate::connection::handle::ConnectionHandle;
use crate::policy::reconnect::DialBudget;
use crate::runtime::now;
use crate::vocabulary::{DialerStatus, Requester};

/// The state that a dialer shares with its handles.
pub(super) struct Shared {
    pub(super) status: watch::Sender<DialerStatus>,
    pub(super) connection: Mutex<Option<ConnectionHandle>>,
    /// The latest options.
    pub(super) plan: Mutex<Arc<Plan>>,
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
    /// Counts changes of the options.
    pub(super) changes: u64,
    /// Counts those with which the connection has to be replaced.
    pub(super) renewals: u64,
    /// Paused for good.
    pub(super) removed: bool,
}

/// The rate limit that all dialers share.
pub(super) struct Gate {
    turn: tokio::sync::Mutex<()>,
    budget: Mutex<DialBudget>,
}

impl Gate {
    pub(super) fn new(dials_per_second: u64) -> Self {
        let budget = Mutex::new(DialBudget::per_second(dials_per_second));
        Self { turn: tokio::sync::Mutex::default(), budget }
    }

    /// Sets the rate for the dials that come next.
    pub(super) fn set_rate(&self, dials_per_second: u64) {
        self.budget.lock().set_rate(dials_per_second);
    }

    /// Waits until one dial is allowed, in the order of the calls. Cancel safe.
    pub(super) async fn pass(&self) {
        let _turn = self.turn.lock().await;
        while let Err(again) = self.take() {
            tokio::time::sleep_until(again.into()).await;
        }
    }

    fn take(&self) -> Result<(), Instant> {
        self.budget.lock().take(now())
    }
}
