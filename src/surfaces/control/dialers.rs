//! Dialers: lists, shows and controls them.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;

use super::access::Caller;
use super::api::{Api, created, json};
use super::problem::{Problem, Word};
use crate::contract::{DialRequest, DialerRecord, DialersRecord, ProblemRecord};
use crate::manager::{DialerHandle, DialerOptions, Relay};
use crate::settings::{ConnectionSettings, Dialer, DialerBackend, RelayBackend, SecretSource};
use crate::vocabulary::{ConnectionId, Requester, Secret};

/// Lists the dialers, by name.
#[utoipa::path(get, path = "/v1/dialers", tag = "dialers", responses(
    (status = 200, body = DialersRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(api): State<Api>) -> Response {
    let dialers = api.control.supervisor.dialers();
    let dialers = dialers.iter().map(DialerRecord::from).collect();
    json(StatusCode::OK, &DialersRecord { dialers })
}

/// Shows one dialer.
#[utoipa::path(get, path = "/v1/dialers/{name}", tag = "dialers", params(
    ("name" = String, Path, description = "The dialer's name"),
), responses(
    (status = 200, body = DialerRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    Ok(json(StatusCode::OK, &DialerRecord::from(&find(&api, &name)?.status())))
}

/// Removes a dialer that was created over the API: it stops dialling, and its connection is closed
/// with 1000. Its name is free at once.
#[utoipa::path(delete, path = "/v1/dialers/{name}", tag = "dialers", params(
    ("name" = String, Path, description = "The dialer's name"),
), responses(
    (status = 202, body = DialerRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn remove(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let dialer = find(&api, &name)?;
    let status = dialer.status();
    if !matches!(status.by, Some(Requester::Api(_))) {
        let detail = format!(
            "{name} was not created over the API: remove it from the configuration and reload, or \
             POST /v1/dialers/{name}/pause"
        );
        return Err(Problem::new(Word::InvalidState, detail));
    }
    if !api.control.supervisor.remove_dialer(&dialer, Some(caller.requester())) {
        return Err(not_there(&name));
    }
    Ok(json(StatusCode::ACCEPTED, &DialerRecord::from(&status)))
}

/// Creates a dialer for a dial with `reconnect`.
pub(super) fn keep(
    api: &Api,
    caller: &Caller,
    request: DialRequest<'static>,
) -> Result<Response, Problem> {
    let max = api.settings().control.max_dialers;
    let made = api.control.supervisor.dialers();
    if made.iter().filter(|dialer| dialer.by.is_some()).count() >= max as usize {
        let detail = format!(
            "there are {max} dialers from the API: remove one (DELETE /v1/dialers/{{name}}), or raise \
             control.max_dialers"
        );
        return Err(Problem::new(Word::TooManyDialers, detail));
    }
    let DialRequest {
        url,
        headers,
        subprotocols,
        tags,
        name,
        backend,
        reconnect,
        on_open,
        ready_on,
        reply,
    } = request;
    let name = match name {
        Some(name) if name.bytes().all(stands_in_a_path) => name.into_owned(),
        Some(name) => {
            let detail = format!("name: {name:?}: write letters, digits and -._~");
            return Err(Problem::invalid(detail));
        }
        None => format!("api-{}", ConnectionId::new().short()),
    };
    let literal = |(name, value): (String, String)| (name, SecretSource::Value(Secret::new(value)));
    let dialer = Dialer {
        headers: headers.into_iter().map(literal).collect(),
        subprotocols,
        tags,
        backend: backend.0,
        reconnect: reconnect.0.unwrap_or_default(),
        on_open: on_open.0,
        ready_on,
        reply: reply.0,
        ..Dialer::new(name, url)
    };
    check(&dialer)?;
    let options = DialerOptions::of(dialer, &ConnectionSettings::default())
        .settings(api.settings().dialled.clone())
        .by(caller.requester());
    let dialer = api.control.supervisor.keep(options)?;
    let status = dialer.status();
    let place = format!("/v1/dialers/{}", status.name);
    Ok(created(&place, &DialerRecord::from(&status)))
}

/// Returns the relay to the application of a single dial.
pub(super) fn application(settings: RelayBackend) -> Result<Arc<Relay>, Problem> {
    let backend = DialerBackend::Relay(Box::new(settings.clone()));
    check(&Dialer { backend, ..Dialer::new("dial", "ws://any") })?;
    Relay::new(settings).map_err(|error| Problem::invalid(format!("backend.url: {error}")))
}

/// Returns whether a name needs no escape in a path (RFC 3986 section 2.3), since later requests put
/// it there.
fn stands_in_a_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn check(dialer: &Dialer) -> Result<(), Problem> {
    dialer.check().map_err(|(key, violation)| Problem::invalid(format!("{key}: {violation}")))
}

fn find(api: &Api, name: &str) -> Result<DialerHandle, Problem> {
    api.control.supervisor.dialer(name).ok_or_else(|| not_there(name))
}

fn not_there(name: &str) -> Problem {
    Problem::not_found(format!("there is no dialer {name:?}"))
}

/// Pauses, resumes or rotates a dialer; `GET /v1/dialers` and the events show the progress.
#[utoipa::path(post, path = "/v1/dialers/{name}/{command}", tag = "dialers", params(
    ("name" = String, Path, description = "The dialer's name"),
    ("command" = String, Path, description = "`pause`, `resume` or `rotate`"),
), responses(
    (status = 202, body = DialerRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn command(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((name, command)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let dialer = find(&api, &name)?;
    match &*command {
        "pause" => dialer.pause(Some(caller.requester())),
        "resume" => dialer.resume(),
        "rotate" if dialer.rotate() => {}
        "rotate" => {
            let phase = dialer.status().phase;
            let detail = format!("{name} is {phase}: only a dialer that is ready can be rotated");
            return Err(Problem::new(Word::InvalidState, detail));
        }
        _ => {
            let detail = format!("{command:?} is not one of pause, resume, rotate");
            return Err(Problem::not_found(detail));
        }
    }
    let status = dialer.status();
    Ok(json(StatusCode::ACCEPTED, &DialerRecord::from(&status)))
}
