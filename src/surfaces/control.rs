//! The control API: what operators and programs ask of the daemon, as HTTP and JSON (CONTRACT.md
//! section 5).
//!
//! Each request passes `access` first: the host it was meant for, the site it comes from, its
//! token. What it says is read in `reading`, what it is refused for is a `problem`.

mod access;
mod backends;
mod commands;
mod connections;
mod description;
mod dialers;
mod drains;
mod endings;
mod events;
mod node;
mod problem;
mod queries;
mod reading;
mod tokens;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use tokens::{TokenFileError, Tokens};

use super::probes::Probes;
use super::serving::{self, ServingLimits};
use crate::config::{self, ConnectionSettings, HostName};
use crate::contract::plain_json;
use crate::ledger::Archive;
use crate::manager::Supervisor;
use crate::transport::bind::Acceptor;
use crate::vocabulary::ListenAddress;
use access::Strangers;
use problem::Problem;
use queries::Queries;

/// What the API shows and commands.
pub struct Control {
    /// The connections.
    pub supervisor: Supervisor,
    /// The readable side of the supervisor's ledger.
    pub archive: Arc<dyn Archive>,
    /// What the ledger has to say of itself.
    pub ledger: Arc<dyn Fn() -> LedgerFigures + Send + Sync>,
    /// What probes and scrapers are told.
    pub probes: Probes,
    /// Who may use it; anybody who reaches it, if there are none.
    pub tokens: Tokens,
    /// The section `[control]`.
    pub settings: config::Control,
    /// The section `[drain]`: what holds where a request says nothing else.
    pub drain: config::Drain,
    /// What holds for connections that it dials.
    pub dialled: ConnectionSettings,
}

/// What a ledger has to say of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerFigures {
    /// Whether endings outlive the process.
    pub durable: bool,
    /// Endings that could not be stored since the start.
    pub unrecorded: u64,
    /// Connections that the process before left open.
    pub recovered: u64,
}

/// Of a request's head, and of an answer that was not taken.
const BUFFER: usize = 64 * 1024;

/// Serves the API until `stop` is true, or its sender is gone; then streams of events say what has
/// happened, and end.
///
/// # Cancel safety
/// Dropping the future closes the listener and every connection with it. What was commanded goes on.
pub fn serve(
    acceptor: Acceptor,
    control: Control,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send {
    control.tokens.warn_if_exposed();
    let settings = &control.settings;
    let limits = ServingLimits {
        max_connections: usize::try_from(settings.max_connections).unwrap_or(usize::MAX),
        header_timeout: settings.header_timeout,
        write_timeout: settings.write_timeout,
        buffer: BUFFER,
        one_request_within: None,
    };
    let listen = acceptor.local_addr().ok();
    let api = Api(Arc::new(Shared::new(control, listen.as_ref(), stop.clone())));
    let router = TowerToHyperService::new(router(api));
    let service = move |request: Request<Incoming>| {
        let response = router.call(request.map(Body::new));
        async { response.await.unwrap_or_else(|never| match never {}) }
    };
    serving::serve(acceptor, limits, service, stop)
}

/// Describes the API in the terms of OpenAPI.
pub fn openapi() -> OpenApi {
    description::complete(described().into_openapi())
}

/// What all requests share. Cloning is cheap.
#[derive(Clone)]
struct Api(Arc<Shared>);

struct Shared {
    control: Control,
    started_at: SystemTime,
    started: Instant,
    /// The hosts that are always listed.
    hosts: Vec<HostName>,
    queries: Queries,
    strangers: Strangers,
    /// Places for streams of events, so that they leave some for everything else.
    streams: Arc<Semaphore>,
    /// Likewise for calls that wait for an ending.
    waits: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

impl Shared {
    fn new(control: Control, listen: Option<&ListenAddress>, stop: watch::Receiver<bool>) -> Self {
        let own = match listen {
            Some(ListenAddress::Tcp(address)) if address.is_ipv6() => format!("[{}]", address.ip()),
            Some(ListenAddress::Tcp(address)) => address.ip().to_string(),
            Some(ListenAddress::Unix(_)) | None => String::new(),
        };
        let hosts = ["localhost", "127.0.0.1", "[::1]", &own];
        let hosts = hosts.iter().filter_map(|host| host.parse().ok()).collect();
        let places = |part: u32| {
            let places = usize::try_from((control.settings.max_connections / part).max(1));
            Arc::new(Semaphore::new(places.unwrap_or(usize::MAX >> 3)))
        };
        let (streams, waits) = (places(2), places(4));
        Self {
            queries: Queries::new(Arc::clone(&control.archive)),
            control,
            started_at: SystemTime::now(),
            started: Instant::now(),
            hosts,
            strangers: Strangers::default(),
            streams,
            waits,
            stop,
        }
    }
}

impl std::ops::Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

fn router(api: Api) -> Router {
    let (router, _) = described().split_for_parts();
    router
        .fallback(
            |uri: Uri| async move { Problem::not_found(format!("there is no {}", uri.path())) },
        )
        .layer(middleware::from_fn_with_state(api.clone(), access::guard))
        .with_state(api)
}

/// Every route, with its description.
fn described() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(description::empty())
        .routes(routes!(node::status))
        .routes(routes!(connections::list, commands::dial))
        .routes(routes!(connections::show, commands::abort))
        .routes(routes!(commands::send))
        .routes(routes!(commands::close))
        .routes(routes!(commands::broadcast))
        .routes(routes!(endings::list))
        .routes(routes!(endings::summary))
        .routes(routes!(endings::show))
        .routes(routes!(events::follow))
        .routes(routes!(drains::start, drains::show, drains::cancel))
        .routes(routes!(backends::list))
        .routes(routes!(backends::drain, backends::resume))
        .routes(routes!(dialers::list))
        .routes(routes!(dialers::show, dialers::remove))
        .routes(routes!(dialers::command))
        .routes(routes!(node::metrics))
        .routes(routes!(node::livez))
        .routes(routes!(node::readyz))
        .routes(routes!(node::describe))
}

/// Answers with a record.
fn json(status: StatusCode, record: &impl Serialize) -> Response {
    match plain_json::write(record) {
        Ok(json) => json_text(status, json),
        // No record of ours can refuse to be written.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Answers with JSON that is written already.
fn json_text(status: StatusCode, json: String) -> Response {
    // What was stored by an older version may hold more than is safe to look at.
    let mut response = Response::new(Body::from(plain_json::escaped(json)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
