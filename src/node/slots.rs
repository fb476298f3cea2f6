//! Slots: what `max_connections` counts.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::policy::admission::{Admission, NotAdmitted};

/// One of the connections that `max_connections` allows; dropping it frees the slot.
pub(crate) struct ConnectionSlot {
    pub(super) admission: Arc<Mutex<Admission>>,
    pub(super) left: Arc<Notify>,
    pub(super) ip: Option<IpAddr>,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut admission = self.admission.lock();
        admission.release(self.ip);
        if admission.connections() == 0 {
            self.left.notify_waiters();
        }
    }
}

/// A socket that was accepted and has no slot yet; dropped once it has one, or is gone.
pub(crate) struct PendingSocket {
    pub(super) admission: Arc<Mutex<Admission>>,
    pub(super) ip: Option<IpAddr>,
    pub(super) is_overdue: bool,
}

impl PendingSocket {
    /// Counts it under the client's address from now on, which a proxy in front has told.
    ///
    /// # Errors
    /// The client's network has too many. It stays counted as before.
    pub(crate) fn belongs_to(&mut self, ip: Option<IpAddr>) -> Result<(), NotAdmitted> {
        let mut admission = self.admission.lock();
        admission.move_handshake(self.ip, ip)?;
        self.end_half_open(&mut admission);
        (self.ip, self.is_overdue) = (ip, false);
        Ok(())
    }

    fn end_half_open(&self, admission: &mut Admission) {
        if let Some(ip) = self.ip.filter(|_| self.is_overdue) {
            admission.end_half_open(ip);
        }
    }

    /// Records that its request is overdue.
    pub(crate) fn overdue(&mut self) -> Result<(), NotAdmitted> {
        let Some(ip) = self.ip.filter(|_| !self.is_overdue) else { return Ok(()) };
        self.admission.lock().begin_half_open(ip)?;
        self.is_overdue = true;
        Ok(())
    }
}

impl Drop for PendingSocket {
    fn drop(&mut self) {
        let mut admission = self.admission.lock();
        self.end_half_open(&mut admission);
        admission.end_handshake(self.ip);
    }
}
