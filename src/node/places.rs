//! Places among those that `max_connections` allows.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::policy::admission::{Admission, NotAdmitted};

/// A place among those that `max_connections` allows.
pub(crate) struct Place {
    pub(super) admission: Arc<Mutex<Admission>>,
    pub(super) left: Arc<Notify>,
    pub(super) ip: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut admission = lock(&self.admission);
        admission.release(self.ip);
        if admission.connections() == 0 {
            self.left.notify_waiters();
        }
    }
}

/// A socket that was accepted and has no place yet: dropped once it has one, or is gone.
pub(crate) struct Arrived {
    pub(super) admission: Arc<Mutex<Admission>>,
    pub(super) ip: Option<IpAddr>,
    pub(super) is_overdue: bool,
}

impl Arrived {
    /// Takes note that its request is overdue.
    pub(crate) fn overdue(&mut self) -> Result<(), NotAdmitted> {
        let Some(ip) = self.ip.filter(|_| !self.is_overdue) else { return Ok(()) };
        lock(&self.admission).begin_half_open(ip)?;
        self.is_overdue = true;
        Ok(())
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        let mut admission = lock(&self.admission);
        if let Some(ip) = self.ip.filter(|_| self.is_overdue) {
            admission.end_half_open(ip);
        }
        admission.end_handshake(self.ip);
    }
}

pub(super) fn lock(admission: &Mutex<Admission>) -> MutexGuard<'_, Admission> {
    admission.lock()
}
