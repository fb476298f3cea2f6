//! A request to open a WebSocket, and its checks (RFC 6455 section 4.2.1). Pure.
//!
//! The caller decides which checks are made, and in which order (CONTRACT section 5).

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, ORIGIN, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::answer::Refusal;
use super::cut;
use super::names::{AcceptKey, EXTENSIONS, KEY, PROTOCOL, Subprotocol, VERSION};
use crate::protocol::uri_host::is_host_and_port;
use crate::settings::{OriginPattern, PageRequest, origin_allowed};
use crate::transport::handshake_key::derive_accept_key;
use crate::vocabulary::OpenFailure;

/// A parsed request: method, target and headers.
#[derive(Debug, Clone)]
pub struct Request {
    parts: http::request::Parts,
}

impl Request {
    /// Wraps a parsed request, which may come from another HTTP server.
    pub(crate) fn new(parts: http::request::Parts) -> Self {
        Self { parts }
    }

    /// Returns the method.
    pub fn method(&self) -> &Method {
        &self.parts.method
    }

    /// Returns the path and the query without decoding them.
    pub fn target(&self) -> &str {
        match self.parts.uri.path_and_query() {
            Some(target) => target.as_str(),
            None => self.parts.uri.authority().map_or("", |it| without_credentials(it.as_str())),
        }
    }

    /// Returns the path without decoding it.
    pub fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// Returns the query without decoding it.
    pub fn query(&self) -> Option<&str> {
        self.parts.uri.query()
    }

    /// Returns the host, and the port if there is one, of a target in absolute form (RFC 9112 section
    /// 3.2.2) or else of the `Host` line, without credentials.
    pub fn host(&self) -> Option<&str> {
        let host = match self.parts.uri.authority() {
            Some(authority) => authority.as_str(),
            None => self.parts.headers.get(HOST)?.to_str().ok()?,
        };
        Some(without_credentials(host))
    }

    /// Returns all header lines.
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Returns the `Origin`; several lines are joined with commas, which no allowed origin matches.
    pub fn origin(&self) -> Option<String> {
        text(&self.parts.headers, ORIGIN)
    }

    /// Returns the offered subprotocols in the client's order.
    pub fn subprotocols(&self) -> Vec<Subprotocol> {
        let names = tokens(&self.parts.headers, PROTOCOL).filter(|name| !name.is_empty());
        names.map(|name| Subprotocol(name.to_owned())).collect()
    }

    /// Takes the offered subprotocols that `is_taken` names out of the request, and returns them.
    pub(super) fn take_subprotocols(&mut self, is_taken: impl Fn(&str) -> bool) -> Vec<String> {
        let offered = tokens(&self.parts.headers, PROTOCOL).filter(|name| !name.is_empty());
        let (taken, kept): (Vec<String>, Vec<String>) =
            offered.map(str::to_owned).partition(|name| is_taken(name));
        if taken.is_empty() {
            return taken;
        }
        match HeaderValue::from_str(&kept.join(", ")) {
            Ok(kept) if !kept.is_empty() => drop(self.parts.headers.insert(PROTOCOL, kept)),
            Ok(_) | Err(_) => drop(self.parts.headers.remove(PROTOCOL)),
        }
        taken
    }

    /// Checks that the offered subprotocols can be passed on.
    ///
    /// # Errors
    ///
    /// 400 if they are not ASCII.
    pub fn check_subprotocols(&self) -> Result<(), Refusal> {
        let mut lines = self.parts.headers.get_all(PROTOCOL).into_iter();
        match lines.all(|line| line.to_str().is_ok()) {
            true => Ok(()),
            false => Err(bad_request("Sec-WebSocket-Protocol may have ASCII characters only")),
        }
    }

    /// Returns what is recorded of the request, each string cut to 1 KiB.
    pub fn facts(&self) -> RequestFacts {
        let text = |name| text(&self.parts.headers, name).as_deref().map(cut);
        RequestFacts {
            method: cut(self.parts.method.as_str()),
            target: cut(self.target()),
            host: self.host().map(cut),
            origin: text(ORIGIN),
            user_agent: text(http::header::USER_AGENT),
            traceparent: text(HeaderName::from_static("traceparent")),
            subprotocols: self.subprotocols(),
        }
    }

    /// Returns whether it has `Upgrade: websocket`, even if the rest is wrong.
    pub fn asks_for_websocket(&self) -> bool {
        has_token(&self.parts.headers, UPGRADE, "websocket")
    }

    /// Checks the host (RFC 9112 section 3.2): exactly one `Host` of the form `uri-host [ ":" port ]`,
    /// and no credentials in a target of absolute form (RFC 9110 section 4.2.4).
    pub(super) fn check_host(&self) -> Result<(), Refusal> {
        let mut hosts = self.parts.headers.get_all(HOST).iter();
        let (host, second) = (hosts.next(), hosts.next());
        if second.is_some() {
            return Err(bad_request("there is more than one Host line: send one"));
        }
        if host.is_none() && self.parts.version >= Version::HTTP_11 {
            return Err(bad_request("there is no Host line: send one"));
        }
        // The value is not repeated, because it may hold a secret.
        if host.is_some_and(|host| !host.to_str().is_ok_and(is_host_and_port)) {
            return Err(bad_request(
                "the Host line is not a host name or address with an optional port",
            ));
        }
        if self.parts.uri.authority().is_some_and(|it| !is_host_and_port(it.as_str())) {
            return Err(bad_request(
                "the target has no host, or credentials before it: send those in a header",
            ));
        }
        Ok(())
    }
}

/// What is recorded of a request. Strings are cut to 1 KiB and not masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFacts {
    /// The method.
    pub method: String,
    /// The path and the query.
    pub target: String,
    /// The host of the request.
    pub host: Option<String>,
    /// The `Origin`.
    pub origin: Option<String>,
    /// The `User-Agent`.
    pub user_agent: Option<String>,
    /// The W3C trace context.
    pub traceparent: Option<String>,
    /// The subprotocols that were offered.
    pub subprotocols: Vec<Subprotocol>,
}

/// Checks that the method is GET.
///
/// # Errors
///
/// 405 with `Allow: GET`.
pub fn check_method(request: &Request) -> Result<(), Refusal> {
    if request.method() == Method::GET {
        return Ok(());
    }
    let text =
        format!("the method is {}: open a WebSocket with GET", cut(request.method().as_str()));
    Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, OpenFailure::BadRequest, text)
        .header("Allow", HeaderValue::from_static("GET")))
}

/// Checks that the request is a WebSocket opening handshake (RFC 6455 section 4.2.1), and derives the
/// answer to its key (section 4.2.2).
///
/// # Errors
///
/// 426 with `Sec-WebSocket-Version: 13` without `Upgrade`, or for another version; 400 for HTTP/1.0, a
/// bad key or a body.
pub fn check_upgrade(request: &Request) -> Result<AcceptKey, Refusal> {
    let headers = request.headers();
    // Section 4.2.1, number 3.
    if !has_token(headers, UPGRADE, "websocket") {
        return Err(upgrade_required(
            "this is a WebSocket endpoint: the request needs the line Upgrade: websocket",
        ));
    }
    // Number 4.
    if !has_token(headers, CONNECTION, "upgrade") {
        return Err(upgrade_required(
            "the line Connection: Upgrade is missing: a proxy that takes it away must be told to \
             pass WebSockets",
        ));
    }
    // Number 6.
    match only(headers, VERSION) {
        Some(version) if version.as_bytes() == b"13" => {}
        Some(_) => {
            return Err(upgrade_required(
                "only version 13 of the protocol is spoken here: send Sec-WebSocket-Version: 13",
            ));
        }
        None => {
            return Err(upgrade_required(
                "the line Sec-WebSocket-Version: 13 is missing, or there are several",
            ));
        }
    }
    // Number 1.
    if request.parts.version < Version::HTTP_11 {
        return Err(bad_request("HTTP/1.0 cannot open a WebSocket: use HTTP/1.1"));
    }
    // Number 5.
    let key = only(headers, KEY)
        .and_then(|key| key.to_str().ok())
        .filter(|key| is_base64_of_16_bytes(key))
        .ok_or_else(|| bad_request("send one Sec-WebSocket-Key: 16 random bytes in base64"))?;
    // A body would be read as frames.
    if has_body(headers) {
        return Err(bad_request("the request has a body: open a WebSocket with a GET without one"));
    }
    Ok(AcceptKey(derive_accept_key(key)))
}

/// Checks that the page that sent the request is among those `allowed`. `host` is the host that the
/// client asked for, which a proxy in front may have changed in the request.
///
/// A request without `Origin` passes: browsers always send one, and other clients could forge it (RFC
/// 6455 section 10.2).
///
/// # Errors
///
/// 403.
pub fn check_origin(
    request: &Request,
    allowed: &[OriginPattern],
    host: Option<&str>,
    over_tls: bool,
) -> Result<(), Refusal> {
    let Some(origin) = request.origin() else { return Ok(()) };
    let page = PageRequest {
        origin: Some(&origin),
        host,
        has_cookie: request.headers().contains_key(COOKIE),
        over_tls,
    };
    if origin_allowed(allowed, &page) {
        return Ok(());
    }
    // Anything else may hold a secret, such as credentials before the host.
    let shown = match origin.parse() {
        Ok(OriginPattern::Exact(origin)) => Some(cut(&origin)),
        Ok(OriginPattern::Null) => Some(origin.clone()),
        Ok(_) | Err(_) => None,
    };
    let would_pass_in_clear = || origin_allowed(allowed, &PageRequest { over_tls: false, ..page });
    let text = match (&shown, allowed.contains(&OriginPattern::Same)) {
        (Some(shown), true) if over_tls && would_pass_in_clear() => format!(
            "the request carries a cookie over TLS and comes from a page of {shown}, which did not \
             come over TLS: load the page from https://, or set origins = [\"same\", {shown:?}] in the \
             route"
        ),
        (Some(shown), true) => format!(
            "the request carries a cookie and comes from a page of {shown}, which is not this host: to \
             allow it, set origins = [\"same\", {shown:?}] in the route"
        ),
        (Some(shown), false) => {
            format!(
                "pages of {shown} may not connect here: to allow it, add it to the route's origins"
            )
        }
        (None, _) => "the Origin line is not a web origin: send scheme://host or none".to_owned(),
    };
    Err(Refusal::new(StatusCode::FORBIDDEN, OpenFailure::RefusedOrigin, text))
}

/// Chooses the first of our subprotocols that the client offered.
pub fn choose_subprotocol(offered: &[Subprotocol], supported: &[String]) -> Option<Subprotocol> {
    let offers = |ours: &&String| offered.iter().any(|theirs| theirs.as_str() == ours.as_str());
    supported.iter().find(offers)?.parse().ok()
}

/// Returns the extensions in the `Sec-WebSocket-Extensions` lines, with their parameters. A comma
/// inside a quoted parameter is not a separator.
pub fn extensions(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let lines = headers.get_all(EXTENSIONS).into_iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| {
        let mut quoted = false;
        let parts = line.split(move |c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        parts.map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned)
    })
}

/// Returns the name of an extension without its parameters.
pub fn extension_name(extension: &str) -> &str {
    extension.split(';').next().unwrap_or_default().trim()
}

/// Returns whether one of the lines of this name, each a comma-separated list, has this token,
/// ignoring case.
pub(super) fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

/// Returns the line of this name, if there is exactly one.
pub(super) fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let mut lines =
        headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    let mut text = lines.next()?.into_owned();
    for line in lines {
        text.push_str(", ");
        text.push_str(&line);
    }
    Some(text)
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0")
}

/// 16 bytes are 22 characters and two of padding. The four excess bits of the last character are not
/// checked: decoders disagree on them, and the key is never decoded.
fn is_base64_of_16_bytes(key: &str) -> bool {
    let Some(characters) = key.strip_suffix("==") else { return false };
    characters.len() == 22
        && characters.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/')
}

/// Strips the user information from an authority (RFC 3986 section 3.2.1).
fn without_credentials(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

fn bad_request(text: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, OpenFailure::BadRequest, text)
}

/// RFC 9110 section 15.5.22 requires `Upgrade`, and section 7.8 `Connection: Upgrade`.
fn upgrade_required(text: &str) -> Refusal {
    Refusal::new(StatusCode::UPGRADE_REQUIRED, OpenFailure::BadRequest, text)
        .header("Sec-WebSocket-Version", HeaderValue::from_static("13"))
        .header("Upgrade", HeaderValue::from_static("websocket"))
        .header("Connection", HeaderValue::from_static("Upgrade"))
}

#[cfg(test)]
mod tests;
