//! Parses requests: names, parameters and bodies.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::api::Api;
use super::problem::{Problem, Word};
use crate::vocabulary::ConnectionName;
use crate::vocabulary::timestamp::parse_rfc3339;

/// The connection named in the path.
pub(super) struct Named(pub(super) ConnectionName);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) = name.map_err(|error| Problem::invalid(error.body_text()))?;
        name.parse()
            .map(Self)
            .map_err(|error: crate::vocabulary::InvalidName| Problem::invalid(error.to_string()))
    }
}

/// The parameters of a query.
pub(super) struct Parameters<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(error) => Err(Problem::invalid(error.body_text())),
        }
    }
}

/// Whether the answer explains the record.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Explained {
    /// With `true`, the answer also has `explanation`: what `lastword why` tells of it.
    #[serde(default)]
    #[param(required = false)]
    pub(super) explain: bool,
}

/// A JSON body; an empty body counts as an empty object.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, api: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let current = api.settings();
        let settings = &current.control;
        let limit = usize::try_from(settings.max_body.0).unwrap_or(usize::MAX);
        let read = tokio::time::timeout(settings.body_timeout, Limited::new(body, limit).collect());
        let bytes = match read.await {
            Ok(Ok(read)) => read.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let detail =
                    format!("the body has more than {} (control.max_body)", settings.max_body);
                return Err(Problem::new(Word::TooLarge, detail));
            }
            Ok(Err(error)) => {
                return Err(Problem::invalid(format!("the body cannot be read: {error}")));
            }
            Err(_) => {
                let within = humantime::format_duration(settings.body_timeout);
                let detail =
                    format!("the body did not arrive within {within} (control.body_timeout)");
                return Err(Problem::new(Word::Timeout, detail));
            }
        };
        if bytes.is_empty() {
            return parse(b"{}");
        }
        if !is_json(&parts.headers) {
            let detail = "send Content-Type: application/json with a body";
            return Err(Problem::new(Word::UnsupportedMediaType, detail));
        }
        parse(&bytes)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Json<T>, Problem> {
    // serde would accept an array, with its elements as the fields in order.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::invalid("the body is not a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        let why = error.into_inner();
        // An error about the whole body has no field.
        if field == "." { why.to_string() } else { format!("{field}: {why}") }
    });
    let read = read.and_then(|read| json.end().map(|()| read).map_err(|error| error.to_string()));
    read.map(Json).map_err(Problem::invalid)
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| {
        let media_type = value.split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case("application/json")
    })
}

/// The maximum number of items in a page.
const MAX_LIMIT: u32 = 1000;

/// Parses the number of items in a page.
pub(super) fn limit(asked: Option<u32>) -> Result<usize, Problem> {
    match asked.unwrap_or(100) {
        limit @ 1..=MAX_LIMIT => Ok(limit as usize),
        limit => Err(Problem::invalid(format!("limit: {limit} is not from 1 to {MAX_LIMIT}"))),
    }
}

/// Parses a cursor.
pub(super) fn cursor<T: FromStr>(asked: Option<String>) -> Result<Option<T>, Problem> {
    asked.map(|cursor| cursor.parse()).transpose().map_err(|_| {
        Problem::invalid(
            "cursor: not the `next` of a page: leave it out to start from the beginning",
        )
    })
}

/// Parses one of a closed set of values.
pub(super) fn word<T: Copy>(
    name: &str,
    asked: Option<&str>,
    known: &[T],
    written: impl Fn(T) -> &'static str,
) -> Result<Option<T>, Problem> {
    let Some(asked) = asked else { return Ok(None) };
    let found = known.iter().copied().find(|word| written(*word) == asked);
    found.map(Some).ok_or_else(|| {
        let known: Vec<&str> = known.iter().map(|word| written(*word)).collect();
        Problem::invalid(format!("{name}: {asked:?} is not one of {}", known.join(", ")))
    })
}

/// Parses a time: RFC 3339, or a duration before now.
pub(super) fn time(
    name: &str,
    asked: Option<&str>,
    now: SystemTime,
) -> Result<Option<SystemTime>, Problem> {
    let Some(text) = asked else { return Ok(None) };
    if let Some(time) = rfc3339(text) {
        return Ok(Some(time));
    }
    match humantime::parse_duration(text) {
        // Clamp times that `SystemTime` cannot represent.
        Ok(ago) => {
            let epoch = SystemTime::UNIX_EPOCH;
            Ok(Some(now.checked_sub(ago).unwrap_or(epoch).max(epoch)))
        }
        Err(_) => Err(Problem::invalid(format!(
            "{name}: {text:?} is not a time: write RFC 3339, such as 2026-11-22T15:00:00Z, or how \
             long ago such as 1h"
        ))),
    }
}

/// Parses a point in time: RFC 3339.
pub(super) fn instant(name: &str, asked: Option<&str>) -> Result<Option<SystemTime>, Problem> {
    let Some(text) = asked else { return Ok(None) };
    rfc3339(text).map(Some).ok_or_else(|| {
        Problem::invalid(format!(
            "{name}: {text:?} is not a time: write RFC 3339, such as 2026-11-22T15:00:00Z"
        ))
    })
}

/// Parses an RFC 3339 time; accepts a `+` that a query turned into a space.
fn rfc3339(text: &str) -> Option<SystemTime> {
    parse_rfc3339(text).or_else(|| parse_rfc3339(&text.replace(' ', "+")))
}

/// The longest duration: deadlines are `now` plus a duration, and that must not overflow.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Parses a duration.
pub(super) fn duration(name: &str, text: &str) -> Result<Duration, Problem> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err(Problem::invalid(format!("{name}: {text:?} is longer than 3650d"))),
        Err(error) => Err(Problem::invalid(format!(
            "{name}: {text:?} is not a duration: {error}; write \"5s\", \"250ms\" or \"2h\""
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_absolute_or_relative() {
        let now = humantime::parse_rfc3339("2026-11-22T15:00:00Z").unwrap();
        let read = |text| {
            time("since", Some(text), now)
                .map(Option::unwrap)
                .map(|time| humantime::format_rfc3339_seconds(time).to_string())
        };
        for (text, expected) in [
            ("2026-11-22T14:00:00Z", "2026-11-22T14:00:00Z"),
            ("2026-11-22T14:00:00.123Z", "2026-11-22T14:00:00Z"),
            ("2026-11-22T16:00:00+02:00", "2026-11-22T14:00:00Z"),
            ("2026-11-22T16:00:00 02:00", "2026-11-22T14:00:00Z"),
            ("2026-11-22T08:30:00-05:30", "2026-11-22T14:00:00Z"),
            ("1h", "2026-11-22T14:00:00Z"),
            ("1h 30m", "2026-11-22T13:30:00Z"),
            ("1000000d", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
        for wrong in ["", "yesterday", "1", "2026-11-22", "-1h", "2026-11-22T14:00:00+2", "üüüüüü"]
        {
            assert_eq!(read(wrong).unwrap_err().kind(), "urn:lastword:invalid_request", "{wrong}");
        }
    }
}
