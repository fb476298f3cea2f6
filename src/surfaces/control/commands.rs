//! Commands for connections: dial, send, close, abort, broadcast.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode};

use super::access::Caller;
use super::api::{Api, created, json, json_text};
use super::connections::{Found, find, find_live};
use super::dialers;
use super::parsing::{Json, Named};
use super::problem::{Problem, Word};
use crate::contract::{
    AcceptedRecord, BroadcastRecord, BroadcastRequest, CloseRequest, ConnectionRecord, DialRequest,
    DialedRecord, EndingRecord, MessageRequest, ProblemRecord, TokenRequest,
};
use crate::ledger::Stored;
use crate::manager::{Backend, ConnectionHandle, DialError, RenewError, SendError};
use crate::settings::DialerBackend;
use crate::vocabulary::{
    self, Cause, CloseCode, CloseFrame, CloseReason, CloseState, IllegalClose,
};

/// How long to wait until an ending that is due is recorded.
const RECORDED_WITHIN: Duration = Duration::from_secs(5);

/// Dials once, or, with `reconnect`, creates a dialer; then the answer is the dialer's record and
/// does not wait for a connection.
#[utoipa::path(post, path = "/v1/connections", tag = "connections", request_body = DialRequest,
responses(
    (status = 201, body = DialedRecord, headers(("location" = String))),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
    (status = 502, body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn dial(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<DialRequest<'static>>,
) -> Result<Response, Problem> {
    if !api.settings().control.allow_dial {
        let detail = "dialling is not allowed: set control.allow_dial = true";
        return Err(Problem::new(Word::Forbidden, detail));
    }
    check_tags(&request.tags)?;
    let headers = request.headers.iter().map(|(name, value)| header(name, value));
    let headers = headers.collect::<Result<Vec<_>, _>>()?;
    if request.reconnect.0.is_some() {
        return dialers::keep(&api, &caller, request);
    }
    let of_dialers = [
        ("name", request.name.is_some()),
        ("on_open", !request.on_open.0.is_empty()),
        ("ready_on", request.ready_on.is_some()),
        ("reply", !request.reply.0.is_empty()),
    ];
    if let Some((key, _)) = of_dialers.iter().find(|(_, set)| *set) {
        let detail = format!("{key}: only a dialer takes this: set reconnect, or leave it out");
        return Err(Problem::invalid(detail));
    }
    let DialRequest { url, subprotocols, tags, backend, .. } = request;
    let mut dial = api.control.supervisor.dial(&url).settings(api.settings().dialled.clone());
    dial = headers.into_iter().fold(dial, |dial, (name, value)| dial.header(name, value));
    dial = subprotocols.iter().fold(dial, |dial, name| dial.subprotocol(name));
    dial = tags.iter().fold(dial, |dial, (name, value)| dial.tag(name, value));
    let opened = match backend.0 {
        DialerBackend::None => dial.open(Backend::none()).await,
        DialerBackend::Echo => dial.open(Backend::echo()).await,
        DialerBackend::Relay(settings) => dial.relay(&dialers::application(*settings)?).await,
    };
    let connection = match opened {
        Ok(connection) => connection,
        Err(DialError::Failed(ending)) => return Err(Problem::open_failed(&ending)),
        Err(DialError::ShutDown(error)) => return Err(error.into()),
    };
    let status = connection.status();
    let place = format!("/v1/connections/{}", status.id);
    Ok(created(&place, &ConnectionRecord::from(&status)))
}

/// Queues a message.
#[utoipa::path(post, path = "/v1/connections/{id}/messages", tag = "connections", params(
    ("id" = String, Path, description = "The id, or its last 12 hexadecimal digits"),
), request_body = MessageRequest, responses(
    (status = 202, body = AcceptedRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn send(
    State(api): State<Api>,
    Named(name): Named,
    Json(request): Json<MessageRequest<'static>>,
) -> Result<Response, Problem> {
    let message = request.into_message()?;
    let connection = find_live(&api, name).await?;
    match connection.try_send(message).map_err(|refused| refused.error) {
        Ok(()) => Ok(accepted(&connection)),
        Err(error @ SendError::InvalidState { state }) => {
            Err(Problem::invalid_state(state, error.to_string()))
        }
        Err(error @ SendError::Ending) => {
            Err(Problem::invalid_state(CloseState::Open, error.to_string()))
        }
        Err(error @ SendError::Ended { .. }) => {
            Err(Problem::invalid_state(CloseState::Closed, error.to_string()))
        }
        Err(error @ SendError::Relayed) => Err(Problem::new(Word::Forbidden, error.to_string())),
        Err(error @ SendError::Full { queued, limit }) => {
            Err(Problem::outbox_full(queued, limit, error.to_string()))
        }
    }
}

/// Lets a connection live as long as a new token of the same subject, which is checked as the one at its
/// opening was. If it is refused, nothing changes.
#[utoipa::path(post, path = "/v1/connections/{id}/token", tag = "connections", params(
    ("id" = String, Path, description = "The id, or its last 12 hexadecimal digits"),
), request_body = TokenRequest, responses(
    (status = 200, body = ConnectionRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
    (status = 503, body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn renew(
    State(api): State<Api>,
    Named(name): Named,
    Json(request): Json<TokenRequest>,
) -> Result<Response, Problem> {
    let connection = find_live(&api, name).await?;
    match api.control.supervisor.renew_token(&connection, &request.token).await {
        Ok(()) => Ok(json(StatusCode::OK, &ConnectionRecord::from(&connection.status()))),
        Err(error) => {
            let detail = error.to_string();
            Err(match error {
                RenewError::NoToken => Problem::new(Word::NoToken, detail),
                RenewError::InvalidState(state) => Problem::invalid_state(state, detail),
                RenewError::OtherSubject | RenewError::Refused(_) => {
                    Problem::new(Word::TokenRefused, detail)
                }
                RenewError::Unavailable(_) => Problem::new(Word::AuthUnavailable, detail),
            })
        }
    }
}

/// Closes a connection, and waits for its ending unless `wait` is false, or a quarter of
/// `control.max_connections` are waiting for one already.
///
/// For a connection that has ended, returns its recorded ending.
#[utoipa::path(post, path = "/v1/connections/{id}/close", tag = "connections", params(
    ("id" = String, Path, description = "The id, or its last 12 hexadecimal digits"),
), request_body = CloseRequest, responses(
    (status = 200, body = EndingRecord),
    (status = 202, body = AcceptedRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn close(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
    Json(request): Json<CloseRequest<'static>>,
) -> Result<Response, Problem> {
    let CloseRequest { code, reason, wait } = request;
    let code = code.map_or(Ok(CloseCode::NORMAL), close_code)?;
    let reason = CloseReason::new(reason.unwrap_or_default().into_owned())?;
    let connection = match find(&api, name).await? {
        Found::Live(connection) => connection,
        Found::Ended(stored) => return Ok(recorded(stored)),
    };
    connection.close_with(CloseFrame::Coded { code, reason }, Cause::Api, Some(caller.requester()));
    if wait == Some(false) {
        return Ok(accepted(&connection));
    }
    // Too many requests wait already: the connection closes, but the answer does not wait for it.
    let Ok(_place) = api.waits.try_acquire() else { return Ok(accepted(&connection)) };
    Ok(ended(&connection, connection.closes_within()).await)
}

/// Aborts a connection: no Close is sent, TCP is reset.
///
/// For a connection that has ended, returns its recorded ending.
#[utoipa::path(delete, path = "/v1/connections/{id}", tag = "connections", params(
    ("id" = String, Path, description = "The id, or its last 12 hexadecimal digits"),
), responses(
    (status = 200, body = EndingRecord),
    (status = 202, body = AcceptedRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn abort(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
) -> Result<Response, Problem> {
    let connection = match find(&api, name).await? {
        Found::Live(connection) => connection,
        Found::Ended(stored) => return Ok(recorded(stored)),
    };
    connection.abort_with(Cause::Api, Some(caller.requester()));
    Ok(ended(&connection, Duration::ZERO).await)
}

/// Sends one message to all selected connections.
#[utoipa::path(post, path = "/v1/broadcast", tag = "connections", request_body = BroadcastRequest,
responses(
    (status = 200, body = BroadcastRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn broadcast(
    State(api): State<Api>,
    Json(request): Json<BroadcastRequest<'static>>,
) -> Result<Response, Problem> {
    let (message, select) = request.into_parts()?;
    let supervisor = api.control.supervisor.clone();
    // It writes to every socket that is ready, which takes too long for this thread if there are
    // many.
    let told = tokio::task::spawn_blocking(move || {
        supervisor.broadcast(message, |origin| select.matches(origin))
    });
    let report = told.await.map_err(|error| Problem::new(Word::Stopping, error.to_string()))?;
    let record = BroadcastRecord {
        matched: report.matched as u64,
        queued: report.queued as u64,
        refused: report.refused as u64,
    };
    Ok(json(StatusCode::OK, &record))
}

/// Parses a close code that may be sent.
pub(super) fn close_code(code: u64) -> Result<CloseCode, Problem> {
    let Ok(code) = u16::try_from(code) else {
        let detail = format!("code: {code} is not a close code: the largest is 4999");
        return Err(Problem::new(Word::IllegalClose, detail));
    };
    CloseCode::new(code).map_err(|error: IllegalClose| error.into())
}

/// Answers with the ending of a connection that must end within this time.
async fn ended(connection: &ConnectionHandle, within: Duration) -> Response {
    match tokio::time::timeout(within + RECORDED_WITHIN, connection.ended()).await {
        Ok(ending) => json(StatusCode::OK, &EndingRecord::from(&*ending)),
        // It has ended or is about to, but the ledger has not reported it yet.
        Err(_) => accepted(connection),
    }
}

fn recorded(stored: Stored) -> Response {
    json_text(StatusCode::OK, stored.json)
}

fn accepted(connection: &ConnectionHandle) -> Response {
    let record = AcceptedRecord {
        id: connection.id().to_string().into(),
        state: connection.state().as_str().into(),
        queued_bytes: connection.queued_bytes() as u64,
    };
    json(StatusCode::ACCEPTED, &record)
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Problem> {
    let refuse = |what| Problem::invalid(format!("headers.{name}: not {what} of HTTP"));
    let parsed_name: HeaderName = name.parse().map_err(|_| refuse("a name"))?;
    let mut value: HeaderValue = value.parse().map_err(|_| refuse("a value"))?;
    value.set_sensitive(true);
    Ok((parsed_name, value))
}

fn check_tags(tags: &std::collections::BTreeMap<String, String>) -> Result<(), Problem> {
    let tags = tags.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    vocabulary::check_tags(tags).map_err(|(name, error)| match name {
        Some(name) => Problem::invalid(format!("tags.{}: {error}", name.escape_debug())),
        None => Problem::invalid(format!("tags: {error}")),
    })
}
