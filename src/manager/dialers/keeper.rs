//! The task that keeps one dialer's connection open.
//!
//! It dials, monitors the open connection, and decides by each ending what to do next. An attempt
//! is never dropped after the server's 101, which would leave a connection without an owner: it
//! either cancels itself before, or the connection is closed.

mod attempt;
mod recovery;
mod report;
mod requests;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use super::live::{Due, Live, LiveNews};
use super::plan::Plan;
use super::shared::{Gate, Requests, Shared};
use crate::connection::handle::ConnectionHandle;
use crate::node::{Node, NotAccepting};
use crate::policy::reconnect::{GiveUp, NextStep, Reconnect};
use crate::runtime::now;
use crate::vocabulary::{
    Cause, CloseCode, CloseFrame, CloseReason, DialerChange, DialerPhase, Ending, Interval,
    Requester,
};
use attempt::{Attempt, Attempted, attempt};

/// Keeps one dialer's connection open.
pub(super) struct Keeper {
    node: Arc<Node>,
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    gate: Arc<Gate>,
    requests: watch::Receiver<Requests>,
    /// The requests applied so far.
    applied: Requests,
    draining: watch::Receiver<Option<NotAccepting>>,
    reconnect: Reconnect,
    /// The connection in use.
    current: Option<Live>,
    next: Next,
    /// The replaced connection, while it closes.
    retiring: Option<Retiring>,
    last: Option<Arc<Ending>>,
    /// Since when no connection is ready, if one was before.
    gap_since: Option<SystemTime>,
    opened: u64,
    gaps: u64,
}

/// The state of the next connection.
enum Next {
    /// No other connection is needed.
    Idle,
    /// The next dial is scheduled.
    Waiting {
        until: Instant,
        at: SystemTime,
        why: String,
        /// The ending that caused the wait, if the reconnect was not announced yet.
        unannounced: Option<Arc<Ending>>,
    },
    /// A dial is under way; its connection may have become unwanted meanwhile.
    Dialling { attempt: Attempt, unwanted: Option<Rest> },
    /// The next connection is open, and replaces the current one once it is ready.
    Readying(Live),
    /// No dial until the dialer is resumed.
    Resting(Rest),
}

/// Why a dialer does not dial.
#[derive(Debug, Clone)]
enum Rest {
    Paused,
    GivenUp(String),
}

/// A connection that was replaced.
struct Retiring {
    connection: ConnectionHandle,
    /// Since when both connections were open.
    since: SystemTime,
}

/// What the keeper reacts to.
enum News {
    Requested,
    Drained,
    Current(LiveNews),
    Attempted(Attempted),
    Readying(LiveNews),
    Retired,
    Due,
    ShutDown,
}

impl Keeper {
    pub(super) fn new(
        node: Arc<Node>,
        plan: Arc<Plan>,
        shared: Arc<Shared>,
        gate: Arc<Gate>,
    ) -> Self {
        Self {
            requests: shared.requests.subscribe(),
            applied: Requests::default(),
            draining: node.draining(),
            reconnect: Reconnect::new(plan.reconnect.clone()),
            current: None,
            next: Next::Idle,
            retiring: None,
            last: None,
            gap_since: None,
            opened: 0,
            gaps: 0,
            node,
            plan,
            shared,
            gate,
        }
    }

    /// Keeps the connection until the dialer is removed or the supervisor has ended.
    async fn work(&mut self) {
        loop {
            self.report();
            if self.is_gone() {
                return;
            }
            #[cfg(test)]
            crate::runtime::tasks::panic_points::reach(&self.plan.name);
            match self.news().await {
                News::Requested => self.apply_requests(),
                // A wait checks for draining itself when its time has come.
                News::Drained => self.announce_wait(),
                News::Current(LiveNews::Ready) => self.current_ready(),
                News::Current(LiveNews::Ended(ending)) => self.lost(ending),
                News::Attempted(attempted) => {
                    if self.attempted(attempted).is_shut_down() {
                        return;
                    }
                }
                News::Readying(LiveNews::Ready) => self.replace(),
                News::Readying(LiveNews::Ended(ending)) => self.replacement_failed(ending),
                News::Retired => self.retired(),
                News::Due => self.handle_deadlines(),
                News::ShutDown => return,
            }
        }
    }

    /// Waits for the first of all that the keeper reacts to.
    async fn news(&mut self) -> News {
        let deadline = self.poll_deadline();
        tokio::select! {
            biased;
            changed = self.requests.changed() => match changed {
                Ok(()) => News::Requested,
                Err(_) => News::ShutDown,
            },
            news = of_current(self.current.as_mut()) => News::Current(news),
            news = of_next(&mut self.next) => news,
            () = end_of(self.retiring.as_ref()) => News::Retired,
            changed = self.draining.changed() => match changed {
                Ok(()) => News::Drained,
                Err(_) => News::ShutDown,
            },
            () = at(deadline) => News::Due,
        }
    }

    fn poll_deadline(&self) -> Option<Instant> {
        let next = match &self.next {
            Next::Waiting { until, .. } => (!self.is_draining()).then_some(*until),
            Next::Readying(live) => live.poll_deadline(),
            Next::Idle | Next::Dialling { .. } | Next::Resting(_) => None,
        };
        let current = self.current.as_ref().and_then(Live::poll_deadline);
        [current, next].into_iter().flatten().min()
    }

    fn is_draining(&self) -> bool {
        self.draining.borrow().is_some()
    }

    /// Begins an attempt.
    fn dial(&mut self) {
        let (node, plan, gate) =
            (Arc::clone(&self.node), Arc::clone(&self.plan), Arc::clone(&self.gate));
        let (requests, draining) = (self.requests.clone(), self.draining.clone());
        let attempt = Box::pin(attempt(node, plan, gate, requests, draining));
        self.next = Next::Dialling { attempt, unwanted: None };
    }

    fn attempted(&mut self, attempted: Attempted) -> Going {
        let next = std::mem::replace(&mut self.next, Next::Idle);
        let unwanted = match next {
            Next::Dialling { unwanted, .. } => unwanted,
            Next::Idle | Next::Waiting { .. } | Next::Readying(_) | Next::Resting(_) => None,
        };
        match (attempted, unwanted) {
            (Attempted::ShutDown, _) => return Going::ShutDown,
            (Attempted::Opened(connection, ..), Some(rest)) => {
                self.opened += 1;
                close(&connection, "not needed", Cause::Embedder, None);
                self.next = Next::Resting(rest);
            }
            (Attempted::Opened(connection, watch, plan), None) => {
                self.opened += 1;
                let mut live = Live::new(connection, watch, &plan, now(), rand::random());
                if live.renewal != self.plan.renewal {
                    live.rotate_at(Some(now()));
                }
                self.opened(live);
            }
            (Attempted::Failed(ending), Some(rest)) => {
                self.last = Some(ending);
                self.next = Next::Resting(rest);
            }
            (Attempted::Failed(ending), None) => self.failed(ending),
            (Attempted::Cancelled, Some(rest)) => self.next = Next::Resting(rest),
            // The dialer was resumed since.
            (Attempted::Cancelled, None) => self.wait(
                Duration::ZERO,
                match self.is_draining() {
                    true => "this end is draining",
                    false => "the options were changed",
                },
            ),
        }
        Going::On
    }

    fn opened(&mut self, live: Live) {
        if self.current.is_some() {
            let ready = live.is_ready();
            self.next = Next::Readying(live);
            if ready {
                self.replace();
            }
            return;
        }
        let ready = live.is_ready();
        self.current = Some(live);
        if ready {
            self.current_ready();
        }
    }

    fn current_ready(&mut self) {
        let Some(live) = &mut self.current else { return };
        live.set_ready();
        let connection = live.connection.id();
        let until = SystemTime::now();
        let gap = self.gap_since.take().map(|from| Interval { from, until });
        self.gaps += u64::from(gap.is_some());
        self.report_change(DialerChange::Ready { connection, replaces: None, gap });
    }

    /// Replaces the current connection by the new one, which is ready.
    fn replace(&mut self) {
        let Next::Readying(mut new) = std::mem::replace(&mut self.next, Next::Idle) else { return };
        new.set_ready();
        let connection = new.connection.id();
        let Some(old) = self.current.replace(new) else { return self.current_ready() };
        if !old.is_ready() {
            // The old one was closing already, so there was a gap.
            self.retiring = None;
            return self.current_ready();
        }
        close(&old.connection, "rotated", Cause::Rotated, None);
        let replaces = Some(old.connection.id());
        self.retiring = Some(Retiring { connection: old.connection, since: SystemTime::now() });
        self.report_change(DialerChange::Ready { connection, replaces, gap: None });
    }

    /// Handles the end of the replaced connection.
    fn retired(&mut self) {
        let Some(Retiring { connection, since }) = self.retiring.take() else { return };
        let (Some(current), Some(ending)) = (&self.current, connection.ending()) else { return };
        let overlap = Interval { from: since, until: ending.ended_at };
        let (connection, replaced) = (current.connection.id(), connection.id());
        self.report_change(DialerChange::Overlapped { connection, replaced, overlap });
    }

    /// Handles the end of the current connection.
    fn lost(&mut self, ending: Arc<Ending>) {
        if self.current.take().is_some_and(|live| live.is_ready()) {
            self.gap_since.get_or_insert(ending.ended_at);
        }
        match std::mem::replace(&mut self.next, Next::Idle) {
            Next::Resting(rest) => {
                self.last = Some(ending);
                self.next = Next::Resting(rest);
            }
            // The connection for a rotation takes its place.
            Next::Readying(live) => {
                self.last = Some(ending);
                self.current = Some(live);
            }
            Next::Dialling { attempt, unwanted } => {
                let advised = self.advise(&ending);
                self.last = Some(Arc::clone(&ending));
                let gives_up = advised.err().filter(|_| unwanted.is_none());
                let unwanted = unwanted.or_else(|| gives_up.clone().map(Rest::GivenUp));
                self.next = Next::Dialling { attempt, unwanted };
                if let Some(why) = gives_up {
                    self.report_change(DialerChange::GivenUp { ending: ending.id, why });
                }
            }
            Next::Idle | Next::Waiting { .. } => self.failed(ending),
        }
    }

    /// Schedules the next dial, or gives up, as an ending advises.
    fn failed(&mut self, ending: Arc<Ending>) {
        self.last = Some(Arc::clone(&ending));
        match self.advise(&ending) {
            Ok(wait) => {
                self.wait(wait, &ending.to_string());
                if !self.is_draining() {
                    self.announce_reconnecting(ending, wait);
                } else if let Next::Waiting { unannounced, .. } = &mut self.next {
                    *unannounced = Some(ending);
                }
            }
            // The current connection stays, and is rotated later.
            Err(_) if self.current.is_some() => {
                let again = self.plan.rotate_after.map(|age| now() + age);
                if let Some(current) = &mut self.current {
                    current.rotate_at(again);
                }
                self.next = Next::Idle;
            }
            Err(why) => {
                self.next = Next::Resting(Rest::GivenUp(why.clone()));
                self.report_change(DialerChange::GivenUp { ending: ending.id, why });
            }
        }
    }

    /// Handles the end of the connection that was to replace the current one.
    fn replacement_failed(&mut self, ending: Arc<Ending>) {
        self.next = Next::Idle;
        self.failed(ending);
    }

    /// Returns how long to wait before the next dial, or why not to reconnect.
    fn advise(&mut self, ending: &Ending) -> Result<Duration, String> {
        let advised =
            self.reconnect.handle_end(&ending.outcome, ending.open_for, rand::random::<f64>());
        match advised {
            NextStep::Wait(wait) => Ok(wait),
            NextStep::GiveUp(GiveUp::NeverOn(code)) => {
                Err(format!("the peer closed with {code}, which is among never_on"))
            }
            NextStep::GiveUp(GiveUp::Never) => Err(format!("it would end the same way: {ending}")),
        }
    }

    fn wait(&mut self, wait: Duration, why: &str) {
        let (until, at) = (now() + wait, SystemTime::now() + wait);
        self.next = Next::Waiting { until, at, why: why.to_owned(), unannounced: None };
    }

    /// Announces a reconnect that was held back by a drain which is now over.
    fn announce_wait(&mut self) {
        if self.is_draining() {
            return;
        }
        if let Next::Waiting { until, unannounced, .. } = &mut self.next
            && let Some(ending) = unannounced.take()
        {
            let wait = until.saturating_duration_since(now());
            self.announce_reconnecting(ending, wait);
        }
    }

    /// Handles the deadlines that have passed.
    fn handle_deadlines(&mut self) {
        let now = now();
        if let Some(current) = &mut self.current {
            let was_ready = current.is_ready();
            match current.handle_deadline(now) {
                Due::Nothing => {}
                Due::Closed if was_ready => {
                    self.gap_since.get_or_insert(SystemTime::now());
                }
                Due::Closed => {}
                // Rotates again once the previous rotation is over.
                Due::Rotate if self.retiring.is_some() => {
                    current.rotate_at(Some(now + Duration::from_secs(1)));
                }
                Due::Rotate => self.rotate(),
            }
        }
        let is_draining = self.is_draining();
        match &mut self.next {
            Next::Waiting { until, .. } if *until <= now && !is_draining => self.dial(),
            Next::Readying(live) => {
                live.handle_deadline(now);
            }
            Next::Idle | Next::Waiting { .. } | Next::Dialling { .. } | Next::Resting(_) => {}
        }
    }

    /// Begins a rotation, unless one is under way.
    fn rotate(&mut self) {
        let serves = self.current.as_ref().is_some_and(Live::is_ready);
        match self.next {
            Next::Idle | Next::Waiting { .. } if serves && self.retiring.is_none() => {
                self.wait(Duration::ZERO, "rotating");
            }
            Next::Idle
            | Next::Waiting { .. }
            | Next::Dialling { .. }
            | Next::Readying(_)
            | Next::Resting(_) => {}
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        *self.shared.connection.lock() = None;
        if std::thread::panicking() {
            // It panicked while it restarted, so no task is left that could try again.
            self.shared.status.send_modify(|status| {
                status.phase = DialerPhase::GivenUp;
                status.why = Some("its task panicked twice: restart the daemon".to_owned());
            });
        }
        self.shared.over.send_replace(true);
    }
}

/// Whether a keeper continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Going {
    On,
    ShutDown,
}

impl Going {
    fn is_shut_down(self) -> bool {
        self == Self::ShutDown
    }
}

fn close(connection: &ConnectionHandle, reason: &str, cause: Cause, by: Option<Requester>) {
    let reason = CloseReason::truncated(reason);
    connection.close_with(CloseFrame::Coded { code: CloseCode::NORMAL, reason }, cause, by);
}

async fn of_current(current: Option<&mut Live>) -> LiveNews {
    match current {
        Some(live) => live.news().await,
        None => pending().await,
    }
}

async fn of_next(next: &mut Next) -> News {
    match next {
        Next::Dialling { attempt, .. } => News::Attempted(attempt.as_mut().await),
        Next::Readying(live) => News::Readying(live.news().await),
        Next::Idle | Next::Waiting { .. } | Next::Resting(_) => pending().await,
    }
}

async fn end_of(retiring: Option<&Retiring>) {
    match retiring {
        Some(retiring) => drop(retiring.connection.ended().await),
        None => pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}
