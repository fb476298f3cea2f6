//! An attempt that is under way: it becomes a connection or is recorded as failed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::shared::{Decision, Listener, RELAY};
use super::visitor::Visitor;
use crate::listening::route::Route;
use crate::node::attempt::Attempt;
use crate::transport::opening_handshake::{FailedHandshake, Refusal, Request, RequestFacts};
use crate::vocabulary::{Limit, OpenFailure, TransportEnd, Upstream};

/// An attempt until it becomes a connection or is recorded. If it is dropped earlier, because the
/// listener stops, its `Drop` records it.
pub(super) struct UnderWay<'a> {
    pub(super) listener: &'a Listener,
    pub(super) visitor: &'a Visitor,
    pub(super) stage: Stage,
    /// The application that was dialled, if any.
    pub(super) upstream: Option<Upstream>,
    /// The limit that ended the wait for the request.
    pub(super) limit: Option<Limit>,
}

/// How far an attempt has come.
#[expect(clippy::large_enum_variant, reason = "there is one of it in each attempt, which is boxed")]
pub(super) enum Stage {
    /// No valid request has been received.
    Undecided,
    /// It is being answered with 101.
    Agreed(Decision),
    /// It is being answered with a refusal.
    Refused {
        failure: OpenFailure,
        text: String,
        limit: Option<Limit>,
        /// The application's `Retry-After`.
        wait: Option<Duration>,
        request: Box<RequestFacts>,
        /// The route, if all checks before the refusal had passed.
        route: Option<Box<Route>>,
        subject: Option<String>,
        tags: BTreeMap<String, String>,
    },
    /// The connection or a failure record has taken over.
    Over,
}

impl<'a> UnderWay<'a> {
    pub(super) fn new(listener: &'a Listener, visitor: &'a Visitor) -> Self {
        Self { listener, visitor, stage: Stage::Undecided, upstream: None, limit: None }
    }

    pub(super) fn over(&mut self) -> Stage {
        std::mem::replace(&mut self.stage, Stage::Over)
    }

    /// Records the failure of the attempt.
    pub(super) fn failed(mut self, failed: Box<FailedHandshake>) {
        let FailedHandshake { failure, status, transport_end, detail, request } = *failed;
        let detail = match status {
            Some(status) => format!("{detail}; answered {status}"),
            None => detail,
        };
        let stage = self.over();
        self.record(stage, failure, transport_end, detail, request.as_ref());
    }

    pub(super) fn refuse(&mut self, refusal: &Refusal, limit: Option<Limit>, request: &Request) {
        let (route, subject, tags) = match self.over() {
            Stage::Agreed(Decision { route, subject, tags, .. }) => {
                (Some(Box::new(route)), subject, tags)
            }
            Stage::Undecided | Stage::Refused { .. } | Stage::Over => {
                (None, self.visitor.subject.clone(), BTreeMap::new())
            }
        };
        let (failure, text, wait) = (refusal.failure, refusal.text.clone(), refusal.wait);
        let request = Box::new(request.facts());
        self.stage = Stage::Refused { failure, text, limit, wait, request, route, subject, tags };
    }

    /// Records the failure of the attempt with what is known of its client at this stage.
    fn record(
        &mut self,
        stage: Stage,
        failure: OpenFailure,
        transport_end: TransportEnd,
        detail: String,
        request: Option<&RequestFacts>,
    ) {
        let (route, limit, wait, subject, tags) = match stage {
            Stage::Agreed(Decision { route, subject, tags, .. }) => {
                (Some(route), None, None, subject, tags)
            }
            Stage::Refused { limit, wait, route, subject, tags, .. } => {
                (route.map(|route| *route), limit, wait, subject, tags)
            }
            Stage::Undecided | Stage::Over => {
                let subject = self.visitor.subject.clone();
                (None, self.limit.take(), None, subject, BTreeMap::new())
            }
        };
        let mut origin = self.listener.origin(self.visitor, request, route.as_ref());
        origin.upstream = self.upstream.take();
        (origin.subject, origin.tags) = (subject, tags);
        if origin.upstream.is_some() {
            origin.backend = Some(RELAY.to_owned());
        }
        self.listener.node.record_attempt(Attempt {
            origin,
            began: self.visitor.began,
            failure,
            transport_end: Some(transport_end),
            limit,
            wait,
            detail,
        });
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let stopped = "the listener stopped before the opening handshake was complete".to_owned();
        let stage = self.over();
        let (failure, detail, request) = match &stage {
            Stage::Over => return,
            Stage::Undecided | Stage::Agreed(_) => (OpenFailure::RefusedDraining, stopped, None),
            Stage::Refused { failure, text, request, .. } => {
                (*failure, text.clone(), Some(request.clone()))
            }
        };
        self.record(stage, failure, TransportEnd::Local, detail, request.as_deref());
    }
}
