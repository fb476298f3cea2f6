//! The status, events and log messages of a keeper.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Keeper, Next, Rest};
use crate::vocabulary::{
    DialerChange, DialerEvent, DialerPhase, DialerStatus, Ending, Event, Reconnecting,
};

impl Keeper {
    /// Publishes the current status.
    pub(super) fn report(&self) {
        let connection = self.current.as_ref().map(|live| live.connection.clone());
        let status = self.status();
        *self.shared.connection.lock() = connection;
        self.shared.status.send_if_modified(|shown| {
            let since = if shown.phase == status.phase { shown.since } else { SystemTime::now() };
            let status = DialerStatus { since, ..status };
            let changed = *shown != status;
            *shown = status;
            changed
        });
    }

    fn status(&self) -> DialerStatus {
        let resting = match &self.next {
            Next::Resting(rest) | Next::Dialling { unwanted: Some(rest), .. } => Some(rest),
            Next::Idle | Next::Waiting { .. } | Next::Dialling { .. } | Next::Readying(_) => None,
        };
        let (phase, why) = match (resting, &self.current, &self.next) {
            (Some(Rest::Paused), _, _) => (DialerPhase::Paused, None),
            (_, Some(live), _) if live.is_ready() => (DialerPhase::Ready, None),
            (_, Some(_), _) => (DialerPhase::Open, None),
            (Some(Rest::GivenUp(why)), None, _) => (DialerPhase::GivenUp, Some(why.clone())),
            (None, None, Next::Waiting { .. }) if self.is_draining() => {
                (DialerPhase::Waiting, Some("this end is draining".to_owned()))
            }
            (None, None, Next::Waiting { why, .. }) => (DialerPhase::Waiting, Some(why.clone())),
            (
                None,
                None,
                Next::Idle | Next::Dialling { .. } | Next::Readying(_) | Next::Resting(_),
            ) => (DialerPhase::Connecting, None),
        };
        let next_try_at = match &self.next {
            Next::Waiting { at, .. } if !self.is_draining() => Some(*at),
            Next::Idle
            | Next::Waiting { .. }
            | Next::Dialling { .. }
            | Next::Readying(_)
            | Next::Resting(_) => None,
        };
        let shown = self.shared.status.borrow();
        DialerStatus {
            name: Arc::clone(&shown.name),
            url: self.plan.target.masked_url(&self.node).into(),
            phase,
            why,
            since: shown.since,
            next_try_at,
            attempts: self.reconnect.attempts(),
            connection: self.current.as_ref().map(|live| live.connection.id()),
            rotating: self.current.is_some() && !matches!(self.next, Next::Idle | Next::Resting(_)),
            last: self.last.clone(),
            opened: self.opened,
            gaps: self.gaps,
            by: shown.by.clone(),
        }
    }

    /// Publishes a change as an event, and logs it. The status goes first: who reads the event or
    /// the log and asks for the status finds it there.
    pub(super) fn report_change(&self, change: DialerChange) {
        self.report();
        let dialer = Arc::clone(&self.plan.name);
        match &change {
            DialerChange::Ready { connection, replaces, gap } => {
                let gap_ms = gap.map(|gap| gap.duration().as_millis());
                let replaces = replaces.map(tracing::field::display);
                tracing::info!(%dialer, %connection, replaces, gap_ms, "the dialer is ready");
            }
            DialerChange::Overlapped { connection, replaced, overlap } => {
                let overlap_ms = overlap.duration().as_millis();
                tracing::info!(
                    %dialer, %connection, %replaced, overlap_ms,
                    "the dialer has rotated its connection"
                );
            }
            DialerChange::Paused => tracing::info!(%dialer, "the dialer was paused"),
            DialerChange::Resumed => tracing::info!(%dialer, "the dialer was resumed"),
            DialerChange::Removed => tracing::info!(%dialer, "the dialer was removed"),
            DialerChange::GivenUp { ending, why } => {
                tracing::warn!(
                    %dialer, %ending, why,
                    "the dialer gave up: resume it once the cause is fixed"
                );
            }
        }
        let news = DialerEvent { dialer, at: SystemTime::now(), change };
        self.node.publisher.announce(Event::Dialer(Arc::new(news)));
    }

    /// Publishes and logs that the dialer will reconnect, the status first.
    pub(super) fn announce_reconnecting(&self, ending: Arc<Ending>, wait: Duration) {
        self.report();
        let dialer = Arc::clone(&self.plan.name);
        let attempt = self.reconnect.attempts();
        tracing::info!(
            %dialer,
            ending = %ending.id,
            attempt,
            wait_ms = wait.as_millis(),
            "the dialer will reconnect"
        );
        let next_try_at = SystemTime::now() + wait;
        let reconnecting = Reconnecting { dialer, ending, attempt, wait, next_try_at };
        self.node.publisher.announce(Event::Reconnecting(Arc::new(reconnecting)));
    }
}
