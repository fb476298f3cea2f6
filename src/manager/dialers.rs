//! Dialers: named outbound connections that are kept alive.

mod keeper;
mod live;
mod plan;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::{Mutex, MutexGuard};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::connection::handle::ConnectionHandle;
use crate::node::Node;
use crate::node::ShutDown;
use crate::policy::reconnect::DialBudget;
use crate::transport::dial::InvalidUrl;
use crate::vocabulary::{DialerPhase, DialerStatus, Requester};
use keeper::Keeper;
pub use plan::DialerOptions;
use plan::Plan;
use shared::{Gate, Shared, lock};

/// All dialers of a supervisor. Dropping it ends them.
pub(super) struct Dialers {
    kept: Mutex<BTreeMap<Arc<str>, DialerHandle>>,
    tasks: Mutex<JoinSet<()>>,
    gate: Arc<Gate>,
}

/// A dialer, as the program that uses it sees it. Cloning is cheap; dropping does nothing: the
/// supervisor keeps the dialer.
#[derive(Clone)]
pub struct DialerHandle {
    shared: Arc<Shared>,
}

/// Tells why a dialer was not taken on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// Another has the name.
    #[error("there is a dialer {0:?} already: choose another name")]
    NameTaken(String),
    /// The URL, or that of the application, cannot be dialled.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// The supervisor was shut down.
    #[error(transparent)]
    ShutDown(#[from] ShutDown),
}

impl Dialers {
    pub(super) fn new(dials_per_second: u64) -> Self {
        let budget = tokio::sync::Mutex::new(DialBudget::per_second(dials_per_second));
        Self { kept: Mutex::default(), tasks: Mutex::default(), gate: Arc::new(Gate { budget }) }
    }

    pub(super) fn keep(
        &self,
        node: &Arc<Node>,
        options: DialerOptions,
    ) -> Result<DialerHandle, KeepError> {
        let plan = Arc::new(Plan::try_from(options)?);
        let name: Arc<str> = plan.name.clone();
        let mut kept = self.kept();
        let mut tasks = lock(&self.tasks);
        // Looked at with the tasks in hand: those that are there now are ended by a shutdown.
        if node.is_shut() {
            return Err(ShutDown.into());
        }
        if kept.contains_key(&name) {
            return Err(KeepError::NameTaken(name.to_string()));
        }
        let status = DialerStatus {
            name: Arc::clone(&name),
            url: plan.target.masked_url(node).into(),
            phase: DialerPhase::Connecting,
            why: None,
            since: SystemTime::now(),
            next_try_at: None,
            attempts: 0,
            connection: None,
            rotating: false,
            last: None,
            opened: 0,
            gaps: 0,
            by: plan.by.clone(),
        };
        let shared = Arc::new(Shared {
            status: watch::Sender::new(status),
            connection: Mutex::default(),
            wishes: watch::Sender::default(),
            over: watch::Sender::default(),
        });
        let handle = DialerHandle { shared: Arc::clone(&shared) };
        let keeper = Keeper::new(Arc::clone(node), plan, shared, Arc::clone(&self.gate));
        // Those that were removed have ended.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(keeper.run());
        kept.insert(name, handle.clone());
        Ok(handle)
    }

    pub(super) fn get(&self, name: &str) -> Option<DialerHandle> {
        self.kept().get(name).cloned()
    }

    /// Forgets a dialer, which stops dialling and closes what is open; tells whether it was kept.
    pub(super) fn remove(&self, dialer: &DialerHandle, by: Option<Requester>) -> bool {
        let mut kept = self.kept();
        let name = dialer.name();
        let is_kept =
            kept.get(&name).is_some_and(|other| Arc::ptr_eq(&other.shared, &dialer.shared));
        if is_kept {
            kept.remove(&name);
            dialer.shared.wishes.send_modify(|wishes| {
                (wishes.paused, wishes.removed, wishes.by) = (true, true, by);
            });
        }
        is_kept
    }

    pub(super) fn all(&self) -> Vec<DialerStatus> {
        self.kept().values().map(DialerHandle::status).collect()
    }

    /// Ends the tasks, once their connections have been seen to.
    pub(super) async fn end(&self) {
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        tasks.shutdown().await;
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, DialerHandle>> {
        lock(&self.kept)
    }
}

impl fmt::Debug for Dialers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kept().keys()).finish()
    }
}

impl DialerHandle {
    /// Returns the name.
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.shared.status.borrow().name)
    }

    /// Returns how it fares.
    pub fn status(&self) -> DialerStatus {
        self.shared.status.borrow().clone()
    }

    /// Returns its connection, if one is open. While one replaces another, it is the old one until
    /// the new one is ready.
    pub fn connection(&self) -> Option<ConnectionHandle> {
        lock(&self.shared.connection).clone()
    }

    /// Waits until its status is as wanted, and returns it; `None` if it was removed, or the supervisor
    /// was shut down, before. Cancel safe.
    pub async fn wait_for(
        &self,
        mut wanted: impl FnMut(&DialerStatus) -> bool,
    ) -> Option<DialerStatus> {
        let mut status = self.shared.status.subscribe();
        let mut over = self.shared.over.subscribe();
        tokio::select! {
            biased;
            found = status.wait_for(|status| wanted(status)) => Some(found.ok()?.clone()),
            _ = over.wait_for(|over| *over) => None,
        }
    }

    /// Stops dialling, and closes what is open with 1000, until it is resumed.
    pub fn pause(&self, by: Option<Requester>) {
        self.shared.wishes.send_if_modified(|wishes| {
            if !wishes.removed {
                (wishes.paused, wishes.by) = (true, by);
            }
            !wishes.removed
        });
    }

    /// Dials at once where it was paused, has given up or waits, as if nothing had happened before.
    pub fn resume(&self) {
        self.shared.wishes.send_if_modified(|wishes| {
            if !wishes.removed {
                wishes.paused = false;
                wishes.resumes += 1;
            }
            !wishes.removed
        });
    }

    /// Replaces its connection: the new one is ready before the old one is closed with 1000.
    ///
    /// Returns `false`, and does nothing, where there is no connection that is ready.
    pub fn rotate(&self) -> bool {
        if self.shared.status.borrow().phase != DialerPhase::Ready {
            return false;
        }
        self.shared.wishes.send_modify(|wishes| wishes.rotations += 1);
        true
    }
}

impl fmt::Debug for DialerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.shared.status.borrow();
        f.debug_struct("DialerHandle")
            .field("name", &status.name)
            .field("phase", &status.phase)
            .finish_non_exhaustive()
    }
}
