//! A drain at work: closes what is open at the pace of its plan, and cuts off what is left.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::decider::ConnectionMessage;
use super::node::Node;
use super::now;
use crate::policy::drain::DrainPlan;
use crate::protocol::closing_handshake::{CloseRequest, Input};
use crate::vocabulary::{Cause, CloseCode, CloseReason, ConnectionId, Requester};

/// How to drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainOptions {
    /// How long it may take in all; what is still open then is cut off as `drain_deadline`.
    pub within: Duration,
    /// Over how long the Closes are sent; without one, at once for few, over half of `within` for
    /// many.
    pub spread: Option<Duration>,
    /// The code of the Closes.
    pub code: CloseCode,
    /// Their reason.
    pub reason: CloseReason,
    /// Who asked, for the record.
    pub by: Option<Requester>,
}

impl Default for DrainOptions {
    /// Drains within a minute, with 1012 "service restart".
    fn default() -> Self {
        Self {
            within: Duration::from_secs(60),
            spread: None,
            code: CloseCode::SERVICE_RESTART,
            reason: CloseReason::truncated("service restart"),
            by: None,
        }
    }
}

/// What a drain came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainReport {
    /// Connections that were asked to close.
    pub asked: usize,
    /// Connections that were cut off at the deadline.
    pub cut: usize,
    /// How long it took.
    pub took: Duration,
}

/// After the deadline, an actor has this long to publish its ending.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How often to look for connections of attempts that were under way when the drain began.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Refuses new connections and closes all that are open.
pub(super) async fn drain(node: &Node, options: DrainOptions) -> DrainReport {
    node.start_draining();
    let started = now();
    let open = node.registry.all();
    let plan = DrainPlan::new(started, open.len(), options.within, options.spread);
    let mut draining = Draining { node, options, asked: HashSet::new(), cut: HashSet::new() };

    let mut open = open.into_iter();
    let mut closed = 0;
    while let Some(at) = plan.next_due(closed) {
        if draining.wait_until(at).await {
            break;
        }
        let due = plan.due(now());
        open.by_ref().take(due - closed).for_each(|connection| draining.close(&connection));
        closed = due;
    }
    // Attempts that were under way when the drain began may have opened since.
    while now() < plan.deadline() {
        node.registry.all().iter().for_each(|connection| draining.close(connection));
        let look_again = (now() + LOOK_AGAIN).min(plan.deadline());
        if draining.wait_until(look_again).await {
            break;
        }
    }
    let last_words = now() + LAST_WORDS;
    while now() < last_words {
        draining.cut_off();
        if draining.wait_until((now() + LOOK_AGAIN).min(last_words)).await {
            break;
        }
    }
    DrainReport { asked: draining.asked.len(), cut: draining.cut.len(), took: now() - started }
}

struct Draining<'a> {
    node: &'a Node,
    options: DrainOptions,
    asked: HashSet<ConnectionId>,
    cut: HashSet<ConnectionId>,
}

impl Draining<'_> {
    /// Asks a connection to close, once. One that is closing already keeps its own reason.
    fn close(&mut self, connection: &Arc<Connection>) {
        if !self.asked.insert(connection.id) {
            return;
        }
        let (code, by) = (self.options.code, self.options.by.clone());
        let frame = connection.own_frame(code, self.options.reason.as_str());
        connection.close(CloseRequest { frame, cause: Cause::Drain, by, limit: None });
    }

    /// Cuts off whatever is open, each once.
    fn cut_off(&mut self) {
        for connection in self.node.registry.all() {
            if self.cut.insert(connection.id) {
                let input = Input::DrainDeadline(self.options.by.clone());
                connection.tell(ConnectionMessage::Fact(input));
            }
        }
    }

    /// Waits; tells whether nobody is left.
    async fn wait_until(&self, at: Instant) -> bool {
        tokio::time::timeout_at(at.into(), self.node.nobody_left()).await.is_ok()
    }
}
