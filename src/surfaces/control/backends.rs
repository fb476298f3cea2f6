//! The applications behind relays: their state, and draining one of them.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;

use super::access::Caller;
use super::api::{Api, json};
use super::drains;
use super::parsing::Json;
use super::problem::Problem;
use crate::contract::{
    BackendRecord, BackendsRecord, DrainRecord, DrainRequest, ProblemRecord, SelectorRecord,
};
use crate::manager::{DrainBackendError, NoBackend};
use crate::vocabulary::{BackendStatus, DrainPhase, Selector};

/// Lists the applications, by route.
#[utoipa::path(get, path = "/v1/backends", tag = "backends", responses(
    (status = 200, body = BackendsRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(api): State<Api>) -> Response {
    let backends = api.control.supervisor.backends();
    let backends = backends.iter().map(BackendRecord::from).collect();
    json(StatusCode::OK, &BackendsRecord { backends })
}

/// Drains an application: sends it no new clients, and closes those that it has, paced like any
/// drain.
///
/// `GET /v1/drain` shows the progress. The application gets no new clients until it is resumed.
#[utoipa::path(post, path = "/v1/backends/{route}/{number}/drain", tag = "backends", params(
    ("route" = String, Path, description = "The name of the route"),
    ("number" = usize, Path, description = "The number of the application within its `urls`, from 0"),
), request_body = DrainRequest, responses(
    (status = 202, body = DrainRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn drain(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((route, number)): Path<(String, String)>,
    Json(request): Json<DrainRequest<'static>>,
) -> Result<Response, Problem> {
    let number = parse(&number)?;
    if request.select != SelectorRecord::default() {
        return Err(Problem::invalid("select: the application is in the path; leave it out"));
    }
    let options = drains::options(request, &api.settings().drain, caller.requester())?;
    let drain = api.control.supervisor.drain_backend(&route, number, options);
    Ok(json(StatusCode::ACCEPTED, &DrainRecord::from(&*drain?)))
}

/// Sends clients to an application again, and cancels its drain if that is still running.
#[utoipa::path(delete, path = "/v1/backends/{route}/{number}/drain", tag = "backends", params(
    ("route" = String, Path, description = "The name of the route"),
    ("number" = usize, Path, description = "The number of the application within its `urls`, from 0"),
), responses(
    (status = 200, body = BackendRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn resume(
    State(api): State<Api>,
    Path((route, number)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let number = parse(&number)?;
    let supervisor = &api.control.supervisor;
    supervisor.resume_backend(&route, number)?;
    let backends = supervisor.backends();
    let mut of_it = backends.iter().filter(|at| at.route == route && at.number == number);
    let status = of_it.next().ok_or_else(|| Problem::from(NoBackend::NoRoute(route.clone())))?;
    if supervisor
        .drain_progress()
        .is_some_and(|drain| drain.phase == DrainPhase::Running && is_of(status, &drain.select))
    {
        supervisor.cancel_drain();
    }
    Ok(json(StatusCode::OK, &BackendRecord::from(status)))
}

/// Returns whether a drain is that of this application; two may have the same URL as it is recorded.
fn is_of(status: &BackendStatus, select: &Selector) -> bool {
    select.route.as_ref() == Some(&status.route) && select.upstream_number == Some(status.number)
}

fn parse(number: &str) -> Result<usize, Problem> {
    number.parse().map_err(|_| {
        Problem::not_found(format!(
            "{number:?} is not the number of an application: 0 is the first"
        ))
    })
}

impl From<NoBackend> for Problem {
    fn from(error: NoBackend) -> Self {
        Self::not_found(format!("{error}: see GET /v1/backends"))
    }
}

impl From<DrainBackendError> for Problem {
    fn from(error: DrainBackendError) -> Self {
        match error {
            DrainBackendError::NoBackend(error) => error.into(),
            DrainBackendError::UnderWay(error) => error.into(),
        }
    }
}
