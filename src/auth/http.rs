//! Admission by an HTTP endpoint, which is asked about each client. It fails closed: what is no clear
//! yes or no is 503.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::uri::PathAndQuery;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::answer::{Admitted, Denied};
use super::ask::Ask;
use crate::runtime::wall_clock;
use crate::settings::{ByteSize, ConnectionLimits, HttpAuth, HttpUrl};
use crate::transport::http_get::{HttpAnswer, HttpGet};
use crate::transport::tls::Trust;
use crate::vocabulary::timestamp::parse_rfc3339;
use crate::vocabulary::{Grant, LONGEST_TAG, OpenFailure, check_tags, is_label};

const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Admission by an endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    client: HttpGet,
    /// What is asked for; without it the client's own path.
    target: Option<PathAndQuery>,
    timeout: Duration,
    waiting_room: Semaphore,
    max_pending: u32,
    pass_headers: Vec<HeaderName>,
    max_answer: usize,
}

impl Endpoint {
    pub(super) fn new(settings: &HttpAuth) -> Self {
        let trust = Trust::of(settings.ca_file.as_deref());
        let target = match &settings.url {
            HttpUrl::Tcp(url) if url.target() != "/" => Some(url.target().clone()),
            HttpUrl::Tcp(_) | HttpUrl::Unix(_) => None,
        };
        Self {
            client: HttpGet::new(&settings.url, trust),
            target,
            timeout: settings.timeout,
            waiting_room: Semaphore::new(settings.max_pending as usize),
            max_pending: settings.max_pending,
            pass_headers: settings.pass_headers.clone(),
            max_answer: usize::try_from(settings.max_answer.0).unwrap_or(usize::MAX),
        }
    }

    /// Asks about a client.
    pub(super) async fn admit(&self, ask: Ask<'_>) -> Result<Admitted, Denied> {
        let Ok(_place) = self.waiting_room.try_acquire() else {
            let max_pending = self.max_pending;
            return Err(Denied::unavailable(format!(
                "auth.max_pending is {max_pending}, and that many requests to auth.url are under way"
            )));
        };
        let own = ask.target.parse().ok();
        let target = self.target.clone().or(own);
        let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let answer = self.client.get(&target, self.headers(&ask), self.max_answer, self.timeout);
        match answer.await {
            Ok(answer) => judge(&answer),
            Err(error) => Err(Denied::unavailable(format!("auth.url was asked, and {error}"))),
        }
    }

    fn headers(&self, ask: &Ask<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for name in &self.pass_headers {
            for value in ask.headers.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        let peer = ask.peer.ip().map_or("unknown".to_owned(), |ip| ip.to_string());
        // Ours, whatever the client sent.
        for (name, value) in [
            (ORIGINAL_URI, Some(ask.target)),
            (ORIGINAL_METHOD, Some(ask.method)),
            (FORWARDED_FOR, Some(&peer)),
            (FORWARDED_HOST, ask.host),
        ] {
            headers.remove(&name);
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        headers
    }
}

fn judge(answer: &HttpAnswer) -> Result<Admitted, Denied> {
    let status = answer.status;
    match status.as_u16() {
        200..=299 => read(answer).map_err(|what| {
            Denied::unavailable(format!("auth.url answered {}, and {what}", status.as_u16()))
        }),
        401 | 403 => {
            let text = match status {
                StatusCode::UNAUTHORIZED => "you are not authenticated: send valid credentials",
                _ => "you may not connect here",
            };
            let mut denied = Denied::new(status, OpenFailure::Unauthorized, text);
            denied.detail = Some(format!("auth.url answered {}", status.as_u16()));
            denied.challenges.extend(answer.headers.get_all(WWW_AUTHENTICATE).into_iter().cloned());
            Err(denied)
        }
        other => Err(Denied::unavailable(format!(
            "auth.url answered {other}: only 2xx, 401 and 403 are an answer"
        ))),
    }
}

/// Reads what the endpoint says of a client that may connect; an answer that is no JSON says nothing.
fn read(answer: &HttpAnswer) -> Result<Admitted, String> {
    let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    if answer.body.is_empty() || !(kind == "application/json" || kind.ends_with("+json")) {
        return Ok(Admitted::default());
    }
    let json: Value = serde_json::from_slice(&answer.body)
        .map_err(|_| "its body is no JSON, as its Content-Type says".to_owned())?;
    let Value::Object(mut fields) = json else {
        return Err("its body is no JSON object".to_owned());
    };
    let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_null());
    let subject = match take("subject") {
        None => None,
        Some(Value::String(text)) if !text.is_empty() && is_label(&text) => Some(text),
        Some(_) => return Err(format!("its subject is not 1 to {LONGEST_TAG} printable bytes")),
    };
    let tags: BTreeMap<String, String> = match take("tags") {
        None => BTreeMap::new(),
        Some(tags) => serde_json::from_value(tags)
            .map_err(|_| "its tags are no object of texts".to_owned())?,
    };
    let pairs = tags.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    check_tags(pairs).map_err(|(_, error)| format!("its tags cannot be used: {error}"))?;
    let expires_at =
        match take("expires_at") {
            None => None,
            Some(Value::String(text)) => Some(parse_rfc3339(&text).ok_or_else(|| {
                "its expires_at is no time such as 2026-03-01T12:00:00Z".to_owned()
            })?),
            Some(_) => return Err("its expires_at is no text".to_owned()),
        };
    let limits: Option<ConnectionLimits> = match take("limits") {
        None => None,
        Some(limits) => {
            Some(serde_json::from_value(limits).map_err(|error| format!("its limits: {error}"))?)
        }
    };
    if let Some(limits) = &limits {
        check_limits(limits)?;
    }
    let grant = expires_at.map(Grant::until);
    if grant.as_ref().is_some_and(|grant| grant.has_expired(wall_clock::now())) {
        return Err("its expires_at has passed".to_owned());
    }
    Ok(Admitted { subject, tags, grant, limits })
}

/// Refuses what the configuration refuses: a wait without an end, and no room at all.
fn check_limits(limits: &ConnectionLimits) -> Result<(), String> {
    let durations =
        [("inbox_timeout", limits.inbox_timeout), ("write_timeout", limits.write_timeout)];
    let sizes = [
        ("max_message_size", limits.max_message_size),
        ("max_frame_size", limits.max_frame_size),
        ("inbox_bytes", limits.inbox_bytes),
        ("outbox_bytes", limits.outbox_bytes),
    ];
    let zero = durations.iter().find(|(_, set)| set.is_some_and(|set| set.is_zero()));
    let zero = zero.map(|(name, _)| name);
    let none = sizes.iter().find(|(_, set)| *set == Some(ByteSize(0))).map(|(name, _)| name);
    match zero.or(none) {
        Some(name) => Err(format!("its limits.{name} is not above zero")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;

    use super::*;
    fn answer(status: u16, kind: &'static str, body: &str) -> HttpAnswer {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"x\""));
        let body = Bytes::copy_from_slice(body.as_bytes());
        HttpAnswer { status: StatusCode::from_u16(status).unwrap(), headers, body }
    }

    const JSON: &str = "application/json; charset=utf-8";

    #[test]
    fn a_yes_may_say_more() {
        let body = r#"{"subject": "ann", "tags": {"plan": "gold"}, "expires_at": "2999-01-01T00:00:00Z",
            "limits": {"max_message_size": "4KiB", "write_timeout": "3s"}, "roles": ["x"]}"#;
        let admitted = judge(&answer(200, JSON, body)).unwrap();
        assert_eq!(admitted.subject.as_deref(), Some("ann"));
        assert_eq!(admitted.tags["plan"], "gold");
        let grant = admitted.grant.unwrap();
        assert!(grant.expires_at.unwrap() > SystemTime::now());
        let limits = admitted.limits.unwrap();
        assert_eq!(limits.max_message_size, Some(ByteSize::kib(4)));
        assert_eq!(limits.write_timeout, Some(Duration::from_secs(3)));
        for (kind, body) in
            [("text/html", "<p>yes"), (JSON, ""), (JSON, "{}"), (JSON, r#"{"subject":null}"#)]
        {
            assert_eq!(judge(&answer(204, kind, body)).unwrap(), Admitted::default());
        }
    }

    #[test]
    fn an_expiry_may_have_an_offset() {
        let expiry = |text: &str| {
            let body = format!(r#"{{"expires_at": "{text}"}}"#);
            judge(&answer(200, JSON, &body)).unwrap().grant.unwrap().expires_at
        };
        let utc = expiry("2999-01-01T00:00:00Z");
        assert_eq!(expiry("2999-01-01T02:00:00+02:00"), utc);
        assert_eq!(expiry("2998-12-31T18:30:00.000-05:30"), utc);
    }

    #[test]
    fn a_no_passes_on_and_anything_else_is_unavailable() {
        for status in [401, 403] {
            let denied = judge(&answer(status, JSON, "{}")).unwrap_err();
            assert_eq!(denied.status.as_u16(), status);
            assert_eq!(denied.failure, OpenFailure::Unauthorized);
            assert_eq!(denied.challenges[0], "Basic realm=\"x\"");
        }
        for status in [301, 302, 304, 400, 404, 429, 500, 503] {
            let denied = judge(&answer(status, JSON, "{}")).unwrap_err();
            assert_eq!(denied.status, StatusCode::SERVICE_UNAVAILABLE, "{status}");
            assert_eq!(denied.failure, OpenFailure::AuthUnavailable);
            assert!(denied.retry_after.is_some());
        }
    }

    #[test]
    fn a_yes_that_cannot_be_read_is_no_yes() {
        for body in [
            "{",
            "[]",
            "7",
            r#"{"subject": ""}"#,
            r#"{"subject": 7}"#,
            r#"{"subject": "a\nb"}"#,
            r#"{"tags": ["a"]}"#,
            r#"{"tags": {"a": 1}}"#,
            r#"{"tags": {"a:b": "c"}}"#,
            r#"{"expires_at": "tomorrow"}"#,
            r#"{"expires_at": 1800000000}"#,
            r#"{"expires_at": "2999-01-01T00:00:00"}"#,
            r#"{"expires_at": "2999-01-01T00:00:00 02:00"}"#,
            r#"{"expires_at": "2001-01-01T00:00:00Z"}"#,
            r#"{"limits": {"max_connections": 1}}"#,
            r#"{"limits": {"max_message_size": "many"}}"#,
            r#"{"limits": {"max_message_size": 0}}"#,
            r#"{"limits": {"write_timeout": "0s"}}"#,
        ] {
            let denied = judge(&answer(200, JSON, body)).unwrap_err();
            assert_eq!(denied.failure, OpenFailure::AuthUnavailable, "{body}");
            assert!(denied.detail.is_some());
        }
    }
}
