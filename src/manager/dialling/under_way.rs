//! An outbound attempt under way: if it fails or is dropped, it is recorded, and an application
//! that waits for it is closed.

use std::sync::Arc;
use std::time::SystemTime;

use super::failure::Failure;
use crate::node::Node;
use crate::node::attempt::Attempt;
use crate::relay::Waiting;
use crate::settings::ConnectionSettings;
use crate::vocabulary::{Direction, Ending, OpenFailure, Origin, TransportEnd};

/// An attempt under way. Dropping it before it has opened or failed records it as cancelled.
pub(super) struct UnderWay<'a> {
    node: &'a Node,
    settings: &'a ConnectionSettings,
    began: SystemTime,
    pub(super) origin: Origin,
    /// The application that waits for it.
    pub(super) application: Option<Waiting>,
    over: bool,
}

impl<'a> UnderWay<'a> {
    pub(super) fn new(node: &'a Node, settings: &'a ConnectionSettings, origin: Origin) -> Self {
        let began = SystemTime::now();
        Self { node, settings, began, origin, application: None, over: false }
    }

    /// Ends the attempt as opened; from now on the connection is recorded instead.
    pub(super) fn opened(mut self) -> (Origin, Option<Waiting>) {
        self.over = true;
        (self.take_origin(), self.application.take())
    }

    /// Records the failure, and returns the record once it is durable or its storing has failed.
    pub(super) async fn failed(mut self, why: Failure) -> Arc<Ending> {
        let attempt = self.end(why, "the feed did not open");
        self.node.record_attempt_durably(attempt).await
    }

    /// Closes the connection to a waiting application, and returns what to record.
    fn end(&mut self, why: Failure, to_application: &str) -> Attempt {
        self.over = true;
        if let Some(application) = self.application.take() {
            application.dismiss(self.node, &self.origin, self.settings, to_application);
        }
        let Failure { failure, transport_end, retry_after: wait, detail } = why;
        let (origin, began) = (self.take_origin(), self.began);
        Attempt { origin, began, failure, transport_end, limit: None, wait, detail }
    }

    fn take_origin(&mut self) -> Origin {
        std::mem::replace(&mut self.origin, Origin::new(Direction::Outbound))
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let detail = match self.node.is_draining() {
            true => "this end has begun to drain",
            false => "the attempt was cancelled at this end before it opened",
        };
        let why = Failure {
            transport_end: Some(TransportEnd::Local),
            ..Failure::here(OpenFailure::RefusedDraining, detail)
        };
        let attempt = self.end(why, "the feed is no longer dialled");
        self.node.record_attempt(attempt);
    }
}
