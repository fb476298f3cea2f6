//! The control API for operators and programs: HTTP and JSON (CONTRACT.md section 5).
//!
//! Each request passes `access` first, which checks its host, its origin and its token. `parsing`
//! reads its parameters and body; a refusal is a `problem`.

mod access;
mod api;
mod backends;
mod commands;
mod connections;
mod description;
mod dialers;
mod drains;
mod endings;
mod events;
mod node;
mod parsing;
mod problem;
mod queries;
mod reload;
mod revocations;
mod strangers;
mod tokens;
mod ui;

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use axum::{Router, middleware};
use http::{Request, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use api::{Control, ControlSettings, LedgerFigures, LiveSettings, Started};
pub use tokens::{TokenFileError, TokenStore, Tokens};

use super::serving::{self, Door, ServingLimits};
use crate::runtime::tasks::Task;
use api::{Api, Shared, json};
use problem::Problem;

/// The buffer size for a request's head, and for an answer that the client has not read.
const BUFFER: usize = 64 * 1024;

/// Serves the API, and follows the token file, until `stop` is true or its sender is dropped; then
/// event streams send what is pending and end.
///
/// # Cancel safety
/// Dropping the future closes the listener and every connection. Commands in progress continue.
pub fn serve(
    door: Door,
    control: Control,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send {
    control.tokens.current().warn_if_exposed();
    let tokens = control.tokens.clone();
    let current = control.settings.current();
    let settings = &current.control;
    let limits = ServingLimits {
        max_connections: usize::try_from(settings.max_connections).unwrap_or(usize::MAX),
        header_timeout: settings.header_timeout,
        write_timeout: settings.write_timeout,
        buffer: BUFFER,
        one_request_within: None,
    };
    let listen = door.acceptor.local_addr().ok();
    let api = Api(Arc::new(Shared::new(control, listen.as_ref(), stop.clone())));
    let router = TowerToHyperService::new(router(api));
    let service = move |request: Request<Incoming>| {
        let response = router.call(request.map(Body::new));
        async { response.await.unwrap_or_else(|never| match never {}) }
    };
    async move {
        let mut following = Task::new("token file");
        tokio::select! {
            () = serving::serve(door, limits, service, stop) => {}
            never = following.keep(|| tokens.follow()) => match never {},
        }
    }
}

/// Returns the OpenAPI description of the API.
pub fn openapi() -> OpenApi {
    description::complete(described().into_openapi())
}

fn router(api: Api) -> Router {
    let (router, _) = described().split_for_parts();
    router
        .route("/ui", get(ui::redirect))
        .route(ui::PATH, get(ui::page))
        .route("/ui/{name}", get(ui::file))
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
        .routes(routes!(reload::reload))
        .routes(routes!(connections::list, commands::dial))
        .routes(routes!(connections::show, commands::abort))
        .routes(routes!(commands::send))
        .routes(routes!(commands::close))
        .routes(routes!(commands::renew))
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
        .routes(routes!(revocations::list, revocations::revoke))
        .routes(routes!(revocations::show, revocations::delete))
        .routes(routes!(node::metrics))
        .routes(routes!(node::livez))
        .routes(routes!(node::readyz))
        .routes(routes!(describe))
}

/// Returns the OpenAPI description of this API.
#[utoipa::path(get, path = "/openapi.json", tag = "node", responses(
    (status = 200, body = serde_json::Value, content_type = "application/json"),
))]
async fn describe() -> Response {
    json(StatusCode::OK, &openapi())
}
