//! Checks every request: its host, its origin, its token and the token's scope.
//!
//! A browser on this machine can reach loopback for any web page, but its `Host` and `Origin` name
//! the page's site. A page under its own name (DNS rebinding) gets 421, and a change from another
//! site gets 403.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, Method, StatusCode, Uri};

use super::api::Api;
use super::problem::{PROBLEM_JSON, Problem, Word};
use super::tokens::{Scope, Token, Tokens};
use super::ui;
use crate::surfaces::serving::Client;
use crate::transport::socket::SocketName;
use crate::vocabulary::{Requester, ip_of};

/// Who sends a request.
#[derive(Clone)]
pub(super) enum Caller {
    /// Anyone, where no token is needed.
    Local,
    /// The holder of this token.
    Token(Arc<Token>),
}

impl Caller {
    /// Returns the requester to record.
    pub(super) fn requester(&self) -> Requester {
        Requester::Api(match self {
            Self::Local => "local".into(),
            Self::Token(token) => Arc::clone(&token.name),
        })
    }

    /// Returns whether the caller would be let in with these tokens.
    pub(super) fn is_admitted_by(&self, tokens: &Tokens) -> bool {
        match self {
            Self::Local => !tokens.are_required(),
            Self::Token(token) => tokens.still_hold(token),
        }
    }
}

/// Passes permitted requests on, and turns the router's refusals into problems.
pub(super) async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let caller = match admit(&api, &request) {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    request.extensions_mut().insert(caller);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    explain(next.run(request).await, &method, &path)
}

/// Returns whether a request is answered even when all connections are busy.
const PROBES: [&str; 2] = ["/livez", "/readyz"];

fn admit(api: &Api, request: &Request) -> Result<Caller, Problem> {
    let headers = request.headers();
    let is_spare = request.extensions().get().is_some_and(|client: &Client| client.is_spare);
    if is_spare && !PROBES.contains(&request.uri().path()) {
        let detail = "all control.max_connections are busy: try again, or raise the limit";
        return Err(Problem::new(Word::Busy, detail));
    }
    let host = host(request.uri(), headers)?;
    let client = request.extensions().get::<Client>();
    let site = Site { api, client, host };
    site.check_host()?;
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    if !reads {
        site.check_origin(headers)?;
    }
    let tokens = api.control.tokens.current();
    let holds_no_data = reads && ui::is_path(request.uri().path());
    if holds_no_data || !tokens.are_required() {
        return Ok(Caller::Local);
    }
    let secret = bearer(headers);
    let Some(token) = secret.and_then(|secret| tokens.find(secret)) else {
        api.strangers.refused(client, request, secret.is_some());
        let detail = "send Authorization: Bearer with a token from the token file";
        return Err(Problem::new(Word::Unauthorized, detail));
    };
    match token.scope {
        Scope::Read if !reads => {
            let detail = format!(
                "the token {:?} may only read: use one whose line in the token file is \
                 name:operate:token",
                token.name
            );
            Err(Problem::new(Word::Scope, detail))
        }
        Scope::Read | Scope::Operate => Ok(Caller::Token(Arc::clone(token))),
    }
}

/// Returns the host that a request is for.
fn host<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Result<&'r str, Problem> {
    // RFC 9112 section 3.2.2: a host in the target overrides the header.
    if let Some(authority) = uri.authority() {
        return Ok(authority.as_str());
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            host.to_str().map_err(|_| Problem::invalid("Host: not readable as text"))
        }
        (None, _) => Err(Problem::invalid("send one Host header")),
        (Some(_), Some(_)) => Err(Problem::invalid("there are two Host headers: send one")),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let (scheme, secret) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| secret.trim_ascii())
}

/// The host under which a client has reached the API.
struct Site<'a> {
    api: &'a Api,
    client: Option<&'a Client>,
    host: &'a str,
}

impl Site<'_> {
    fn check_host(&self) -> Result<(), Problem> {
        // Only programs on this machine reach a Unix socket.
        if self.is_unix() || self.is_listed(self.host) {
            return Ok(());
        }
        let detail = format!(
            "{:?} is not a host of this API: use its address, or add the name to control.hosts",
            self.host
        );
        Err(Problem::new(Word::UnlistedHost, detail))
    }

    /// Refuses changes that a page of another site requests.
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let refuse = |what: &str| {
            let detail = format!("{what}: only pages of this API's own hosts may make changes");
            Err(Problem::new(Word::CrossSite, detail))
        };
        match headers.get("sec-fetch-site").map(http::HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => {}
            Some(_) => return refuse("Sec-Fetch-Site"),
        }
        for origin in headers.get_all(ORIGIN) {
            let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            let known = authority
                .is_some_and(|(_, authority)| authority == self.host || self.is_listed(authority));
            if !known {
                return refuse("Origin");
            }
        }
        Ok(())
    }

    /// Returns whether a host, whatever its port, is one of ours.
    fn is_listed(&self, host: &str) -> bool {
        self.api.hosts.iter().any(|own| own.matches(host))
            || self.api.settings().control.hosts.iter().any(|listed| listed.matches(host))
            // A wildcard listener is reached by every local address.
            || self.local_ip().is_some_and(|ip| ip_of(host) == Some(ip))
    }

    fn is_unix(&self) -> bool {
        self.client.is_some_and(|client| matches!(client.local, Some(SocketName::Unix(_))))
    }

    /// The local address that the client reached; `None` on a Unix socket.
    fn local_ip(&self) -> Option<IpAddr> {
        match &self.client?.local {
            Some(SocketName::Tcp(address)) => Some(address.ip()),
            Some(SocketName::Ip(ip)) => Some(*ip),
            Some(SocketName::Unix(_)) | None => None,
        }
    }
}

/// Turns the router's own 405 into a problem; keeps its `Allow`.
fn explain(mut response: Response, method: &Method, path: &str) -> Response {
    let plain = |response: &Response| {
        response.headers().get(http::header::CONTENT_TYPE).is_none_or(|t| t != PROBLEM_JSON)
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED && plain(&response) {
        let detail = format!("{path} does not take {method}");
        let mut explained = Problem::new(Word::MethodNotAllowed, detail).into_response();
        if let Some(allow) = response.headers_mut().remove(http::header::ALLOW) {
            explained.headers_mut().insert(http::header::ALLOW, allow);
        }
        return explained;
    }
    response
}
