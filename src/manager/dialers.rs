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

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::connection::handle::ConnectionHandle;
use crate::node::{Node, ShutDown};
use crate::transport::dial::InvalidUrl;
use crate::vocabulary::{DialerPhase, DialerStatus, Requester};
use keeper::Keeper;
pub use plan::DialerOptions;
use plan::Plan;
use shared::{Gate, Shared};

/// The dialers of a supervisor. Dropping it stops them.
pub(super) struct Dialers {
    kept: Mutex<BTreeMap<Arc<str>, DialerHandle>>,
    tasks: Mutex<JoinSet<()>>,
    gate: Arc<Gate>,
}

/// A handle of a dialer.
///
/// Cloning is cheap. Dropping it does not stop the dialer, which the supervisor owns.
#[derive(Clone)]
pub struct DialerHandle {
    shared: Arc<Shared>,
}

/// Why a dialer was not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// Another dialer has this name.
    #[error("there is a dialer {0:?} already: choose another name")]
    NameTaken(String),
    /// The URL, or that of the application, is invalid.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// The supervisor was shut down.
    #[error(transparent)]
    ShutDown(#[from] ShutDown),
}

impl Dialers {
    pub(super) fn new(dials_per_second: u64) -> Self {
        let gate = Arc::new(Gate::new(dials_per_second));
        Self { kept: Mutex::default(), tasks: Mutex::default(), gate }
    }

    pub(super) fn set_rate(&self, dials_per_second: u64) {
        self.gate.set_rate(dials_per_second);
    }

    pub(super) fn keep(
        &self,
        node: &Arc<Node>,
        options: DialerOptions,
    ) -> Result<DialerHandle, KeepError> {
        let plan = Arc::new(Plan::try_from(options)?);
        let name: Arc<str> = plan.name.clone();
        let mut kept = self.kept.lock();
        let mut tasks = self.tasks.lock();
        // Checked with `tasks` locked: a shutdown that comes later stops this dialer too.
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
            plan: Mutex::new(Arc::clone(&plan)),
            requests: watch::Sender::default(),
            over: watch::Sender::default(),
        });
        let handle = DialerHandle { shared: Arc::clone(&shared) };
        let keeper = Keeper::new(Arc::clone(node), plan, shared, Arc::clone(&self.gate));
        // Joins the tasks of removed dialers.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(keeper.run());
        kept.insert(name, handle.clone());
        Ok(handle)
    }

    pub(super) fn get(&self, name: &str) -> Option<DialerHandle> {
        self.kept.lock().get(name).cloned()
    }

    /// Changes the options of a dialer; with `renew` its connection is replaced, else they hold for
    /// those that come next. Returns `false` if there is no dialer of this name.
    pub(super) fn change(&self, options: DialerOptions, renew: bool) -> Result<bool, KeepError> {
        let mut plan = Plan::try_from(options)?;
        let kept = self.kept.lock();
        let Some(dialer) = kept.get(&plan.name) else { return Ok(false) };
        let mut latest = dialer.shared.plan.lock();
        plan.renewal = latest.renewal + u64::from(renew);
        let renewal = plan.renewal;
        *latest = Arc::new(plan);
        dialer.shared.requests.send_modify(|requests| {
            (requests.changes, requests.renewals) = (requests.changes + 1, renewal);
        });
        Ok(true)
    }

    /// Removes a dialer, which stops dialling and closes its connection; returns `false` if it was
    /// removed before.
    pub(super) fn remove(&self, dialer: &DialerHandle, by: Option<Requester>) -> bool {
        let mut kept = self.kept.lock();
        let name = dialer.name();
        let is_kept =
            kept.get(&name).is_some_and(|other| Arc::ptr_eq(&other.shared, &dialer.shared));
        if is_kept {
            kept.remove(&name);
            dialer.shared.requests.send_modify(|requests| {
                (requests.paused, requests.removed, requests.by) = (true, true, by);
            });
        }
        is_kept
    }

    pub(super) fn all(&self) -> Vec<DialerStatus> {
        self.kept.lock().values().map(DialerHandle::status).collect()
    }

    /// Stops the tasks, after their connections were drained.
    pub(super) async fn end(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
    }
}

impl fmt::Debug for Dialers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kept.lock().keys()).finish()
    }
}

impl DialerHandle {
    /// Returns the name.
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.shared.status.borrow().name)
    }

    /// Returns the status.
    pub fn status(&self) -> DialerStatus {
        self.shared.status.borrow().clone()
    }

    /// Returns the open connection, if there is one; during a rotation, the old one until the new
    /// one is ready.
    pub fn connection(&self) -> Option<ConnectionHandle> {
        self.shared.connection.lock().clone()
    }

    /// Waits for a status for which `wanted` returns `true`, and returns it; `None` if the dialer
    /// is removed or the supervisor shut down first. Cancel safe.
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

    /// Stops dialling and closes the connection with 1000, until [`DialerHandle::resume`].
    pub fn pause(&self, by: Option<Requester>) {
        self.shared.requests.send_if_modified(|requests| {
            if !requests.removed {
                (requests.paused, requests.by) = (true, by);
            }
            !requests.removed
        });
    }

    /// Dials at once if the dialer is paused, waiting or has given up, and resets its backoff.
    pub fn resume(&self) {
        self.shared.requests.send_if_modified(|requests| {
            if !requests.removed {
                requests.paused = false;
                requests.resumes += 1;
            }
            !requests.removed
        });
    }

    /// Replaces the connection: the old one is closed with 1000 once the new one is ready.
    ///
    /// Returns `false` and does nothing if no connection is ready.
    pub fn rotate(&self) -> bool {
        if self.shared.status.borrow().phase != DialerPhase::Ready {
            return false;
        }
        self.shared.requests.send_modify(|requests| requests.rotations += 1);
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
