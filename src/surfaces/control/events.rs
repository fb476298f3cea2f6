//! Streams events as Server-Sent Events, including those that a reader missed.

mod follower;

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::Caller;
use super::api::Api;
use super::parsing::{self, Parameters};
use super::problem::{Problem, Word};
use crate::contract::{EventRecord, ProblemRecord};
use crate::surfaces::serving::Client;
use follower::{Follower, Wanted};

/// Which events to follow.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Their types, separated by commas: `opened`, `closing`, `ended`, `open_failed`,
    /// `reconnecting`, `dialer`, `drain`, `gap`; all by default. A `gap` is always sent.
    types: Option<String>,
    /// The `id` of the last event read; a `Last-Event-ID` header overrides it.
    last_event_id: Option<String>,
}

/// Streams events as Server-Sent Events; the `data` of each is an `EventRecord`.
///
/// `Last-Event-ID` resumes after the event with this `id`: endings that were missed come from the
/// ledger. A `gap` marks events that are missing.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(
    Filter,
    ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event read"),
), responses(
    (status = 200, body = String, content_type = "text/event-stream"),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
    (status = 503, body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn follow(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    client: Option<Extension<Client>>,
    headers: HeaderMap,
    Parameters(filter): Parameters<Filter>,
) -> Result<Response, Problem> {
    let wanted = read_types(filter.types.as_deref())?;
    let header = headers.get("last-event-id").map(|id| id.to_str().unwrap_or("?").to_owned());
    let last = read_last(header.or(filter.last_event_id).as_deref())?;
    let place = Arc::clone(&api.streams).try_acquire_owned().map_err(|_| {
        let detail = "half of control.max_connections are event streams already: raise the limit";
        Problem::new(Word::TooManyStreams, detail)
    })?;
    let name = client.map_or_else(String::new, |Extension(client)| client.peer.to_string());
    let follower = Follower::new(api, caller, wanted, last, place, name);
    let chunks = stream::unfold(follower, |mut follower| async {
        let chunk = follower.next().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(chunk)), follower))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Keeps nginx from buffering events.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn read_types(types: Option<&str>) -> Result<Wanted, Problem> {
    let Some(types) = types else { return Ok(Wanted::all()) };
    let mut wanted = Wanted::none();
    for asked in types.split(',') {
        if let Some(word) = parsing::word("types", Some(asked), &EventRecord::WORDS, |word| word)? {
            wanted.add(word);
        }
    }
    Ok(wanted)
}

fn read_last(id: Option<&str>) -> Result<Option<u64>, Problem> {
    match id {
        // Browsers that have read no event may send an empty id.
        None | Some("") => Ok(None),
        Some(id) => id.parse().map(Some).map_err(|_| {
            Problem::invalid(format!("Last-Event-ID: {id:?} is not the id of an event"))
        }),
    }
}
