//! Plain HTTP on a relay's route: Socket.IO's polling, SignalR's negotiation, the page itself.

use std::fmt::Display;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header, request, response};

use super::{Hop, Relay, headers, status_of};
use crate::auth::{Admitted, Ask, Auth, Denied, INVALID_TOKEN};
use crate::node::Node;
use crate::node::revoking::ACCESS_REVOKED;
use crate::policy::balance::Observation;
use crate::protocol::forwarded::Seen;
use crate::protocol::request_framing::Head;
use crate::relay::applications::{ApplicationLease, NotConnected, PlainConnection};
use crate::settings::{HostHeader, PlainHttp};
use crate::transport::any_socket::AnySocket;
use crate::transport::http_proxy::{
    self, ClientSession, Forwarding, Rejection, Served, UpstreamConnection,
};
use crate::transport::socket::SocketName;
use crate::vocabulary::{Grant, HttpOutcome, OpenFailure};

/// The `Retry-After` of requests that this node has no capacity for.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Relay {
    /// Returns whether plain HTTP with this method is proxied to an application.
    pub(crate) fn takes_plain(&self, method: &str) -> bool {
        self.settings.http == PlainHttp::Proxy && method != "CONNECT"
    }

    /// Makes the session of a client, which ends after `http_timeout` without progress.
    pub(crate) fn session(&self) -> Arc<ClientSession> {
        Arc::new(ClientSession::new(self.settings.http_timeout))
    }
}

/// Finds the route that a host and a path match, if it is one to an application.
pub(crate) type FindPlain<'a> = dyn Fn(Option<&str>, &str) -> Option<PlainRoute> + Send + Sync + 'a;

/// Says whose request one with these fields is; an error is the reason to refuse it.
pub(crate) type ClientOf<'a> = dyn Fn(&HeaderMap) -> Result<PlainClient, String> + Send + Sync + 'a;

/// Proxies the requests of one client, or of a proxy in front.
pub(crate) struct Proxying<'a> {
    pub(crate) node: &'a Node,
    pub(crate) find: &'a FindPlain<'a>,
    /// Who sends the requests.
    pub(crate) hop: Hop<'a>,
    /// Says whose request one with these fields is.
    pub(crate) client_of: &'a ClientOf<'a>,
    /// Who the certificate of the hop was issued to.
    pub(crate) subject: Option<&'a str>,
}

/// The relay that a request is forwarded to, and who admits its clients.
pub(crate) struct PlainRoute {
    pub(crate) relay: Arc<Relay>,
    pub(crate) auth: Option<Arc<Auth>>,
    /// Whose request it is, once that is known.
    pub(crate) client: OnceLock<PlainClient>,
}

/// Whose request one is, and what a trusted proxy says of it.
pub(crate) struct PlainClient {
    pub(crate) peer: SocketName,
    pub(crate) told: Option<Seen>,
}

impl PlainRoute {
    /// Returns whose request it is: until that is known, that of the hop.
    fn client<'a>(&'a self, hop: Hop<'a>) -> &'a SocketName {
        self.client.get().map_or(hop.peer, |client| &client.peer)
    }

    /// Returns the hop with what it says of this request.
    fn hop<'a>(&'a self, hop: Hop<'a>) -> Hop<'a> {
        Hop { told: self.client.get().and_then(|client| client.told.as_ref()), ..hop }
    }
}

impl Proxying<'_> {
    /// Proxies requests; `read` is the beginning of the first.
    pub(crate) async fn serve(
        &self,
        client: AnySocket,
        read: Bytes,
        session: Arc<ClientSession>,
    ) -> Served<AnySocket> {
        http_proxy::serve(client, read, session, self).await
    }

    /// Asks whether a client may send a request: what holds for a route's WebSockets holds for its plain
    /// HTTP.
    async fn authenticate(
        &self,
        auth: &Auth,
        peer: &SocketName,
        request: &request::Parts,
    ) -> Result<(), Rejection> {
        let target = request.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let ask = Ask {
            method: request.method.as_str(),
            target,
            host,
            headers: &request.headers,
            bearers: &[],
            peer,
        };
        let Denied { status, failure, challenges, retry_after, text, detail } =
            match auth.admit(ask).await {
                Ok(Admitted { subject, grant, .. }) => {
                    // Without one, that of the certificate holds.
                    let subject = subject.as_deref().or(self.subject);
                    return self.check_revoked(peer, subject, grant.as_ref());
                }
                Err(denied) => denied,
            };
        log_refused(peer, detail.as_ref().unwrap_or(&text));
        let outcome = match failure {
            OpenFailure::AuthUnavailable => HttpOutcome::AuthUnavailable,
            _ => HttpOutcome::Unauthorized,
        };
        let rejection = Rejection { retry_after, challenges, ..Rejection::new(status, text) };
        Err(self.refuse(outcome, rejection))
    }

    fn check_revoked(
        &self,
        peer: &SocketName,
        subject: Option<&str>,
        grant: Option<&Grant>,
    ) -> Result<(), Rejection> {
        let Some(revocation) = self.node.revocations.refusal(subject, grant) else {
            return Ok(());
        };
        log_refused(peer, &revocation);
        let rejection = Rejection::new(StatusCode::UNAUTHORIZED, ACCESS_REVOKED);
        let challenges = vec![HeaderValue::from_static(INVALID_TOKEN)];
        Err(self.refuse(HttpOutcome::Unauthorized, Rejection { challenges, ..rejection }))
    }

    /// Counts the outcome of a refused request.
    fn refuse(&self, outcome: HttpOutcome, rejection: Rejection) -> Rejection {
        self.node.plain.count(outcome);
        rejection
    }
}

/// Logs why a client was refused, which no record says.
fn log_refused(peer: &SocketName, why: &dyn Display) {
    tracing::debug!(%peer, "a plain HTTP request was refused: {why}");
}

impl Forwarding for Proxying<'_> {
    type Route = PlainRoute;
    type Lease = ApplicationLease;

    fn route(&self, head: &Head<'_>) -> Option<PlainRoute> {
        if head.asks_for_websocket {
            return None;
        }
        let (host, path) = head.host_and_path()?;
        let route = (self.find)(host.as_deref(), &path)?;
        route.relay.takes_plain(head.method).then_some(route)
    }

    async fn admit(
        &self,
        route: &PlainRoute,
        request: &mut request::Parts,
    ) -> Result<(), Rejection> {
        let client = (self.client_of)(&request.headers).map_err(|text| {
            self.refuse(HttpOutcome::BadRequest, Rejection::new(StatusCode::BAD_REQUEST, text))
        })?;
        // Nobody has set it before: a request is admitted once.
        let _ = route.client.set(client);
        if self.node.is_draining() {
            let text = "this server is about to stop: try again in a moment";
            let rejection = Rejection::new(StatusCode::SERVICE_UNAVAILABLE, text);
            return Err(
                self.refuse(HttpOutcome::RefusedDraining, rejection.retry_after(RETRY_AFTER))
            );
        }
        self.node.plain.admit().map_err(|limit| {
            let text = format!(
                "{} is {}, and as many came in this second: try again later",
                limit.name, limit.limit
            );
            let rejection = Rejection::new(StatusCode::TOO_MANY_REQUESTS, text);
            self.refuse(HttpOutcome::RefusedRate, rejection.retry_after(RETRY_AFTER))
        })?;
        let peer = route.client(self.hop);
        self.check_revoked(peer, self.subject, None)?;
        if let Some(auth) = &route.auth {
            self.authenticate(auth, peer, request).await?;
        }
        let host = match (request.uri.authority(), request.headers.get(header::HOST)) {
            (Some(authority), _) => authority.to_string(),
            (None, Some(host)) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
            (None, None) => String::new(),
        };
        // In origin form (RFC 9112 section 3.2.1), as the application is not a proxy.
        let target = request.uri.path_and_query().cloned();
        let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
        headers::change_plain_request(&mut request.headers, &host, route.hop(self.hop));
        match HeaderValue::try_from(host) {
            Ok(host) if !host.is_empty() => request.headers.insert(header::HOST, host),
            _ => request.headers.remove(header::HOST),
        };
        request.uri = Uri::from(target);
        request.version = http::Version::HTTP_11;
        Ok(())
    }

    async fn connect(
        &self,
        route: &PlainRoute,
        kept: bool,
        headers: &mut HeaderMap,
    ) -> Result<UpstreamConnection<ApplicationLease>, Rejection> {
        let relay = &route.relay;
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        let client = route.client(self.hop);
        let reached = match relay.applications.connect_plain(client.ip(), kept).await {
            Ok(reached) => reached,
            Err(NotConnected::Draining) => {
                let text = "the application is about to stop: try again";
                let rejection = Rejection::new(unavailable, text).retry_after(RETRY_AFTER);
                return Err(self.refuse(HttpOutcome::RefusedDraining, rejection));
            }
            Err(NotConnected::TooMany(_)) => {
                let text = "too many requests wait for the application: try again";
                let rejection = Rejection::new(unavailable, text).retry_after(RETRY_AFTER);
                return Err(self.refuse(HttpOutcome::RefusedLimit, rejection));
            }
            Err(NotConnected::Failed(application, failed)) => {
                application.log_unanswered(&failed.detail);
                let rejection =
                    Rejection::new(status_of(&failed), "the application cannot be reached");
                return Err(self.refuse(HttpOutcome::Unreachable, rejection));
            }
        };
        let PlainConnection { application, connection, lease } = reached;
        if relay.settings.host == HostHeader::Upstream || !headers.contains_key(header::HOST) {
            headers.insert(header::HOST, application.upstream.authority());
        }
        let pool = Arc::clone(&application.pool);
        Ok(UpstreamConnection { connection, pool, lease })
    }

    fn count(&self, outcome: HttpOutcome) {
        self.node.plain.count(outcome);
    }

    fn answer(&self, lease: &ApplicationLease, answer: &mut response::Parts) {
        self.node.plain.count(HttpOutcome::Answered);
        // Any status counts as an answer: it is about one page, not about the application's health.
        lease.observe(Observation::Answered);
        headers::change_plain_answer(&mut answer.headers);
    }

    fn failed(&self, lease: &ApplicationLease, why: &str) {
        self.node.plain.count(HttpOutcome::Unanswered);
        if let Some(application) = lease.application() {
            application.log_unanswered(why);
        }
    }
}
