//! The task that keeps one dialer's connection.
//!
//! It dials, watches over what is open, and decides by each ending what comes next. An attempt
//! under way is never dropped behind its server's 101, or a connection would be left that nobody
//! owns: it calls itself off, or what it opened is closed.

mod attempt;
mod heeding;
mod recovery;
mod report;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use super::live::{Due, Live, LiveNews};
use super::plan::Plan;
use super::shared::{Gate, Shared, Wishes, lock};
use crate::connection::handle::ConnectionHandle;
use crate::node::Node;
use crate::node::NotAccepting;
use crate::policy::reconnect::{GiveUp, NextStep, Reconnect};
use crate::runtime::now;
use crate::vocabulary::{
    Cause, CloseCode, CloseFrame, CloseReason, DialerChange, DialerPhase, Ending, Interval,
    Requester,
};
use attempt::{Attempt, Attempted, attempt};

/// Keeps one dialer's connection.
pub(super) struct Keeper {
    node: Arc<Node>,
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    gate: Arc<Gate>,
    wishes: watch::Receiver<Wishes>,
    /// What was done of them.
    heeded: Wishes,
    draining: watch::Receiver<Option<NotAccepting>>,
    reconnect: Reconnect,
    /// The connection that serves.
    current: Option<Live>,
    next: Next,
    /// The connection that was replaced, while it closes.
    retiring: Option<Retiring>,
    last: Option<Arc<Ending>>,
    /// Since when none is ready, if one was.
    gap_since: Option<SystemTime>,
    opened: u64,
    gaps: u64,
}

/// What is being done about another connection.
enum Next {
    /// Nothing: there is one.
    Idle,
    /// It is dialled after a while.
    Waiting {
        until: Instant,
        at: SystemTime,
        why: String,
        /// The ending behind which it waits, if that it will dial again was not announced.
        unannounced: Option<Arc<Ending>>,
    },
    /// It is dialled; what it opens may have become unwanted meanwhile.
    Dialling { attempt: Attempt, unwanted: Option<Rest> },
    /// It is open, and replaces the one that serves once it is ready.
    Readying(Live),
    /// Nothing, until somebody resumes it.
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
    /// Since when there are two.
    since: SystemTime,
}

/// What happened.
enum News {
    Wished,
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
            wishes: shared.wishes.subscribe(),
            heeded: Wishes::default(),
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

    /// Keeps the connection until the dialer was removed, or the supervisor is gone.
    async fn work(&mut self) {
        loop {
            self.report();
            if self.is_gone() {
                return;
            }
            #[cfg(test)]
            crate::runtime::tasks::panic_points::reach(&self.plan.name);
            match self.news().await {
                News::Wished => self.apply_wishes(),
                // Whether a wait may end is looked at when it is over.
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
                News::Due => self.act(),
                News::ShutDown => return,
            }
        }
    }

    /// Waits for whatever happens first.
    async fn news(&mut self) -> News {
        let deadline = self.poll_deadline();
        tokio::select! {
            biased;
            changed = self.wishes.changed() => match changed {
                Ok(()) => News::Wished,
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
        let (wishes, draining) = (self.wishes.clone(), self.draining.clone());
        let attempt = Box::pin(attempt(node, plan, gate, wishes, draining));
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
            (Attempted::Opened(connection, _), Some(rest)) => {
                self.opened += 1;
                close(&connection, "not needed", Cause::Embedder, None);
                self.next = Next::Resting(rest);
            }
            (Attempted::Opened(connection, watch), None) => {
                self.opened += 1;
                let live = Live::new(connection, watch, &self.plan, now(), rand::random());
                self.opened(live);
            }
            (Attempted::Failed(ending), Some(rest)) => {
                self.last = Some(ending);
                self.next = Next::Resting(rest);
            }
            (Attempted::Failed(ending), None) => self.failed(ending),
            (Attempted::CalledOff, Some(rest)) => self.next = Next::Resting(rest),
            // It drains, or it was resumed since.
            (Attempted::CalledOff, None) => self.wait(Duration::ZERO, "this end is draining"),
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

    /// The new connection is ready: the old one may go.
    fn replace(&mut self) {
        let Next::Readying(mut new) = std::mem::replace(&mut self.next, Next::Idle) else { return };
        new.set_ready();
        let connection = new.connection.id();
        let Some(old) = self.current.replace(new) else { return self.current_ready() };
        if !old.is_ready() {
            // It was being closed, so there was a gap.
            self.retiring = None;
            return self.current_ready();
        }
        close(&old.connection, "rotated", Cause::Rotated, None);
        let replaces = Some(old.connection.id());
        self.retiring = Some(Retiring { connection: old.connection, since: SystemTime::now() });
        self.report_change(DialerChange::Ready { connection, replaces, gap: None });
    }

    /// The connection that was replaced has ended.
    fn retired(&mut self) {
        let Some(Retiring { connection, since }) = self.retiring.take() else { return };
        let (Some(current), Some(ending)) = (&self.current, connection.ending()) else { return };
        let overlap = Interval { from: since, until: ending.ended_at };
        let (connection, replaced) = (current.connection.id(), connection.id());
        self.report_change(DialerChange::Overlapped { connection, replaced, overlap });
    }

    /// The connection that serves has ended.
    fn lost(&mut self, ending: Arc<Ending>) {
        if self.current.take().is_some_and(|live| live.is_ready()) {
            self.gap_since.get_or_insert(ending.ended_at);
        }
        match std::mem::replace(&mut self.next, Next::Idle) {
            Next::Resting(rest) => {
                self.last = Some(ending);
                self.next = Next::Resting(rest);
            }
            // One that was to replace it is on its way.
            Next::Readying(live) => {
                self.last = Some(ending);
                self.current = Some(live);
            }
            Next::Dialling { attempt, unwanted } => {
                let advised = self.advise(&ending);
                self.last = Some(Arc::clone(&ending));
                let unwanted = match (unwanted, advised) {
                    (Some(rest), _) => Some(rest),
                    (None, Ok(_)) => None,
                    (None, Err(why)) => {
                        let change = DialerChange::GivenUp { ending: ending.id, why: why.clone() };
                        self.report_change(change);
                        Some(Rest::GivenUp(why))
                    }
                };
                self.next = Next::Dialling { attempt, unwanted };
            }
            Next::Idle | Next::Waiting { .. } => self.failed(ending),
        }
    }

    /// Decides by an ending what comes next.
    fn failed(&mut self, ending: Arc<Ending>) {
        self.last = Some(Arc::clone(&ending));
        match self.advise(&ending) {
            Ok(wait) => {
                self.wait(wait, &ending.to_string());
                if !self.is_draining() {
                    self.tell_reconnecting(ending, wait);
                } else if let Next::Waiting { unannounced, .. } = &mut self.next {
                    *unannounced = Some(ending);
                }
            }
            // What serves goes on, and is replaced another time.
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

    /// The connection that was to replace the one that serves has ended.
    fn replacement_failed(&mut self, ending: Arc<Ending>) {
        self.next = Next::Idle;
        self.failed(ending);
    }

    /// Returns how long to wait, or why not to come back.
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

    /// Announces that it dials again, now that this end no longer drains.
    fn announce_wait(&mut self) {
        if self.is_draining() {
            return;
        }
        if let Next::Waiting { until, unannounced, .. } = &mut self.next
            && let Some(ending) = unannounced.take()
        {
            let wait = until.saturating_duration_since(now());
            self.tell_reconnecting(ending, wait);
        }
    }

    /// Does what is due.
    fn act(&mut self) {
        let now = now();
        if let Some(current) = &mut self.current {
            let was_ready = current.is_ready();
            match current.handle_deadline(now) {
                Due::Nothing => {}
                Due::Closed if was_ready => {
                    self.gap_since.get_or_insert(SystemTime::now());
                }
                Due::Closed => {}
                // One is enough at a time.
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

    /// Begins to replace the connection that serves, unless that is under way.
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
        *lock(&self.shared.connection) = None;
        if std::thread::panicking() {
            // It panicked while it began anew: nothing is left that could try again.
            self.shared.status.send_modify(|status| {
                status.phase = DialerPhase::GivenUp;
                status.why = Some("its task panicked twice: restart the daemon".to_owned());
            });
        }
        self.shared.over.send_replace(true);
    }
}

/// Whether a keeper goes on.
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
