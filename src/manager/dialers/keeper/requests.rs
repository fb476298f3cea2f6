//! Requests to a dialer: to pause, resume, rotate, or be removed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Keeper, Next, Rest, close};
use crate::policy::reconnect::Reconnect;
use crate::runtime::now;
use crate::vocabulary::{Cause, DialerChange, Requester};

impl Keeper {
    /// Applies the requests that have come since the last call.
    pub(super) fn apply_requests(&mut self) {
        let requests = self.requests.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.applied, requests.clone());
        if requests.changes != before.changes {
            self.change();
        }
        if requests.removed && !before.removed {
            self.rest("removed", requests.by.as_ref());
            self.report_change(DialerChange::Removed);
        } else if requests.paused && !before.paused {
            self.rest("paused", requests.by.as_ref());
            self.report_change(DialerChange::Paused);
        } else if requests.resumes != before.resumes && !requests.paused {
            self.resume(before.paused);
        }
        if requests.rotations != before.rotations {
            self.rotate();
        }
    }

    /// Takes over changed options. With a renewal the connection is replaced by one that has them.
    fn change(&mut self) {
        let plan = Arc::clone(&self.shared.plan.lock());
        let renews = plan.renewal != self.plan.renewal;
        self.plan = plan;
        if !renews {
            return;
        }
        self.reconnect = Reconnect::new(self.plan.reconnect.clone());
        let now = now();
        if let Some(live) = &mut self.current {
            live.rotate_at(Some(now));
        }
        match &mut self.next {
            Next::Readying(live) => live.rotate_at(Some(now)),
            Next::Waiting { until, .. } => *until = now,
            Next::Resting(Rest::GivenUp(_)) => {
                self.wait(Duration::ZERO, "the options were changed");
                self.report_change(DialerChange::Resumed);
            }
            // A dial with the old options cancels itself.
            Next::Idle | Next::Dialling { .. } | Next::Resting(Rest::Paused) => {}
        }
    }

    /// Stops dialling, and closes the open connections with this reason.
    fn rest(&mut self, reason: &str, by: Option<&Requester>) {
        let cause = match by {
            Some(Requester::Api(_)) => Cause::Api,
            Some(Requester::Signal(_) | Requester::Drain(_)) | None => Cause::Embedder,
        };
        if let Some(live) = &mut self.current {
            if live.is_ready() {
                self.gap_since.get_or_insert(SystemTime::now());
            }
            live.set_closing();
            close(&live.connection, reason, cause, by.cloned());
        }
        self.next = match std::mem::replace(&mut self.next, Next::Idle) {
            Next::Dialling { attempt, .. } => {
                Next::Dialling { attempt, unwanted: Some(Rest::Paused) }
            }
            Next::Readying(live) => {
                close(&live.connection, reason, cause, by.cloned());
                Next::Resting(Rest::Paused)
            }
            Next::Idle | Next::Waiting { .. } | Next::Resting(_) => Next::Resting(Rest::Paused),
        };
    }

    /// Returns whether the dialer was removed and its connections have ended.
    pub(super) fn is_gone(&self) -> bool {
        let rests = matches!(self.next, Next::Resting(_));
        self.applied.removed && rests && self.current.is_none() && self.retiring.is_none()
    }

    fn resume(&mut self, was_paused: bool) {
        self.reconnect.reset();
        match &mut self.next {
            Next::Resting(rest) => {
                let announces = was_paused || matches!(rest, Rest::GivenUp(_));
                self.wait(Duration::ZERO, "resumed");
                if announces {
                    self.report_change(DialerChange::Resumed);
                }
            }
            Next::Waiting { until, .. } => *until = now(),
            Next::Dialling { unwanted, .. } => {
                if unwanted.take().is_some() {
                    self.report_change(DialerChange::Resumed);
                }
            }
            Next::Idle | Next::Readying(_) => {}
        }
    }
}
