//! What dialers share with those who hold their handles, and with one another.

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use crate::connection::handle::ConnectionHandle;
use crate::policy::reconnect::DialBudget;
use crate::runtime::now;
use crate::vocabulary::{DialerStatus, Requester};

/// What a dialer and those who hold its handle share.
pub(super) struct Shared {
    pub(super) status: watch::Sender<DialerStatus>,
    pub(super) connection: Mutex<Option<ConnectionHandle>>,
    pub(super) wishes: watch::Sender<Wishes>,
    /// The task is gone.
    pub(super) over: watch::Sender<bool>,
}

/// What people want of a dialer; it compares with what it has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Wishes {
    pub(super) paused: bool,
    pub(super) by: Option<Requester>,
    pub(super) resumes: u64,
    pub(super) rotations: u64,
    /// Paused for good.
    pub(super) removed: bool,
}

/// Lets dialers dial, each in its turn, as fast as the budget allows.
pub(super) struct Gate {
    pub(super) budget: tokio::sync::Mutex<DialBudget>,
}

impl Gate {
    /// Waits for leave to dial once. Cancel safe; who waited longest goes first.
    pub(super) async fn pass(&self) {
        let mut budget = self.budget.lock().await;
        while let Err(again) = budget.take(now()) {
            tokio::time::sleep_until(again.into()).await;
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
