//! The grant of a connection, which can be renewed while it is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::vocabulary::Grant;

/// The grant of a connection, and whether its mover has yet to look at it.
#[derive(Debug, Default)]
pub(crate) struct Granted {
    grant: Mutex<Option<Arc<Grant>>>,
    is_new: AtomicBool,
}

impl Granted {
    pub(super) fn new(grant: Option<Grant>) -> Self {
        let is_new = AtomicBool::new(grant.is_some());
        Self { grant: Mutex::new(grant.map(Arc::new)), is_new }
    }

    /// Returns once, after it was set, that there is a grant to look at.
    pub(crate) fn take_new(&self) -> bool {
        self.is_new.load(Ordering::Relaxed) && self.is_new.swap(false, Ordering::AcqRel)
    }

    /// Returns what the connection was admitted with.
    pub(crate) fn current(&self) -> Option<Arc<Grant>> {
        self.grant.lock().clone()
    }

    /// Returns when the connection is closed because its grant expires.
    pub(crate) fn expires_at(&self) -> Option<SystemTime> {
        self.grant.lock().as_ref().and_then(|grant| grant.expires_at())
    }

    pub(super) fn replace(&self, grant: Grant) {
        *self.grant.lock() = Some(Arc::new(grant));
        self.is_new.store(true, Ordering::Release);
    }
}
