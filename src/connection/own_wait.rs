//! A handler that waits for the end of its own connection, and what is left of it behind that.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::task::{Id, try_id};

/// What is left of a handler: its future, whose result changes nothing any more.
pub(crate) type Remainder = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What has to be known of a handler at the end of its connection.
#[derive(Default)]
pub(crate) struct OwnWaits {
    /// The task that it runs on: the mover's.
    task: OnceLock<Id>,
    /// How often it waits for the ending at this moment.
    waits: AtomicU32,
    /// Kept until the ending is on its way.
    remainder: Mutex<Option<Remainder>>,
}

impl OwnWaits {
    /// Records the task that a handler runs on: the one that calls this.
    pub(crate) fn run_here(&self) {
        if let Some(task) = try_id() {
            let _ = self.task.set(task);
        }
    }

    /// Begins a wait for the ending; it counts until it is dropped, if it is the handler's own.
    pub(super) fn begin(&self) -> Option<OwnWait<'_>> {
        let own = try_id() == Some(*self.task.get()?);
        own.then(|| {
            self.waits.fetch_add(1, Ordering::AcqRel);
            OwnWait(self)
        })
    }

    /// Returns whether the handler waits for the ending, so that the ending must not wait for it.
    pub(crate) fn are_under_way(&self) -> bool {
        self.waits.load(Ordering::Acquire) > 0
    }

    /// Keeps what is left of a handler.
    pub(crate) fn leave(&self, remainder: Remainder) {
        *self.remainder.lock() = Some(remainder);
    }

    /// Takes what is left of a handler.
    pub(crate) fn take_remainder(&self) -> Option<Remainder> {
        self.remainder.lock().take()
    }
}

/// A wait of a handler for the end of its own connection.
pub(super) struct OwnWait<'a>(&'a OwnWaits);

impl Drop for OwnWait<'_> {
    fn drop(&mut self) {
        self.0.waits.fetch_sub(1, Ordering::AcqRel);
    }
}
