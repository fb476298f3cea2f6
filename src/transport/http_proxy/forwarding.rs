//! What decides where requests go.

use std::sync::Arc;

use http::{HeaderMap, request, response};

use super::answer::Rejection;
use super::application::{AppConnection, ConnectionPool};
use crate::protocol::request_framing::Head;
use crate::vocabulary::HttpOutcome;

/// Decides where requests go, and changes requests and answers.
pub trait Forwarding {
    /// The route of a request.
    type Route: Send;
    /// A lease that is held until the answer was forwarded.
    type Lease: Send + Unpin + 'static;

    /// Returns the route of a request; `None` for one that is not forwarded.
    fn route(&self, head: &Head<'_>) -> Option<Self::Route>;

    /// Admits a request, and changes it for the application.
    ///
    /// # Errors
    /// The answer to send instead.
    fn admit(
        &self,
        route: &Self::Route,
        request: &mut request::Parts,
    ) -> impl Future<Output = Result<(), Rejection>> + Send;

    /// Returns a connection to an application, preferably an idle one if `kept`, and sets the host.
    ///
    /// # Errors
    /// The answer to send instead.
    fn connect(
        &self,
        route: &Self::Route,
        kept: bool,
        headers: &mut HeaderMap,
    ) -> impl Future<Output = Result<UpstreamConnection<Self::Lease>, Rejection>> + Send;

    /// Counts a request that was rejected on account of its client, or of this end.
    fn count(&self, outcome: HttpOutcome);

    /// Changes the answer for the client.
    fn answer(&self, lease: &Self::Lease, answer: &mut response::Parts);

    /// Records that an application was connected to and did not answer.
    fn failed(&self, lease: &Self::Lease, why: &str);
}

/// A connection to an application for one request.
pub struct UpstreamConnection<L> {
    /// The connection.
    pub connection: AppConnection,
    /// The pool that keeps it once the answer was forwarded.
    pub pool: Arc<ConnectionPool>,
    /// Held until then.
    pub lease: L,
}
