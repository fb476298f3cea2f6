//! What people ask of a dialer: to pause, to resume, to rotate.

use std::time::{Duration, SystemTime};

use super::{Keeper, Next, Rest, close};
use crate::runtime::now;
use crate::vocabulary::{Cause, DialerChange, Requester};

impl Keeper {
    /// Does as people wish.
    pub(super) fn apply_wishes(&mut self) {
        let wishes = self.wishes.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.heeded, wishes.clone());
        if wishes.removed && !before.removed {
            self.rest("removed", wishes.by.as_ref());
            self.report_change(DialerChange::Removed);
        } else if wishes.paused && !before.paused {
            self.rest("paused", wishes.by.as_ref());
            self.report_change(DialerChange::Paused);
        } else if wishes.resumes != before.resumes && !wishes.paused {
            self.resume(before.paused);
        }
        if wishes.rotations != before.rotations {
            self.rotate();
        }
    }

    /// Dials no more, and closes what is open for this reason.
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

    /// Tells whether it was removed, and nothing of it is left.
    pub(super) fn is_gone(&self) -> bool {
        let rests = matches!(self.next, Next::Resting(_));
        self.heeded.removed && rests && self.current.is_none() && self.retiring.is_none()
    }

    fn resume(&mut self, was_paused: bool) {
        self.reconnect.reset();
        match &mut self.next {
            Next::Resting(rest) => {
                let told = was_paused || matches!(rest, Rest::GivenUp(_));
                self.wait(Duration::ZERO, "resumed");
                if told {
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
