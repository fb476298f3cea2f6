//! Dialers: how they fare, and what can be asked of them.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;

use super::access::Caller;
use super::problem::{Problem, Word};
use super::{Api, json};
use crate::contract::{DialerRecord, DialersRecord, ProblemRecord};

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

/// Pauses, resumes or rotates a dialer; how far it has come, `GET /v1/dialers` and the events say.
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
    let dialer = api.control.supervisor.dialer(&name);
    let dialer =
        dialer.ok_or_else(|| Problem::not_found(format!("there is no dialer {name:?}")))?;
    match &*command {
        "pause" => dialer.pause(Some(caller.requester())),
        "resume" => dialer.resume(),
        "rotate" if dialer.rotate() => {}
        "rotate" => {
            let phase = dialer.status().phase;
            let detail = format!("{name} is {phase}: only one that is ready can be rotated");
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
