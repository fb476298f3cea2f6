//! Slots: what `max_connections` counts, of the node and of its routes.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::policy::admission::{Admission, NotAdmitted, RouteAdmission};
use crate::settings::RouteCapacity;

/// One of the connections that `max_connections` allows; dropping it frees the slot.
pub(crate) struct ConnectionSlot {
    pub(super) admission: Arc<Mutex<Admission>>,
    pub(super) left: Arc<Notify>,
    pub(super) ip: Option<IpAddr>,
    /// Its slot in its route.
    pub(super) route: Option<RouteSlot>,
}

impl ConnectionSlot {
    /// Takes a slot of a route as well.
    ///
    /// # Errors
    /// The route has none left for this client.
    pub(crate) fn enter(&mut self, route: &RouteSlots) -> Result<(), NotAdmitted> {
        route.0.lock().admit(self.ip)?;
        self.route =
            Some(RouteSlot { admission: Arc::clone(&route.0), ip: self.ip, subject: None });
        Ok(())
    }

    /// Counts the slot of the route for the subject of the client, if these are limited. To be called
    /// once.
    ///
    /// # Errors
    /// The route has no slot left for this subject.
    pub(crate) fn belongs_to(&mut self, subject: &str) -> Result<(), NotAdmitted> {
        let Some(slot) = &mut self.route else { return Ok(()) };
        let mut admission = slot.admission.lock();
        if admission.counts_subjects() {
            admission.admit_subject(subject)?;
            slot.subject = Some(subject.to_owned());
        }
        Ok(())
    }
}

/// The slots of a route, which its clones share.
#[derive(Debug, Clone)]
pub(crate) struct RouteSlots(Arc<Mutex<RouteAdmission>>);

impl RouteSlots {
    pub(crate) fn new(capacity: RouteCapacity) -> Self {
        Self(Arc::new(Mutex::new(RouteAdmission::new(capacity))))
    }

    /// Applies another capacity from now on, and returns the slots.
    pub(crate) fn with_capacity(&self, capacity: RouteCapacity) -> Self {
        self.0.lock().set_capacity(capacity);
        self.clone()
    }

    pub(crate) fn capacity(&self) -> RouteCapacity {
        self.0.lock().capacity()
    }
}

/// One of the connections that a route allows; dropping it frees the slot.
#[derive(Debug)]
pub(super) struct RouteSlot {
    admission: Arc<Mutex<RouteAdmission>>,
    ip: Option<IpAddr>,
    subject: Option<String>,
}

impl Drop for RouteSlot {
    fn drop(&mut self) {
        self.admission.lock().release(self.ip, self.subject.as_deref());
    }
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
