//! Lists and shows live connections.

mod listing;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::api::{Api, json};
use super::parsing::{Explained, Named, Parameters};
use super::problem::Problem;
use crate::contract::{ConnectionPage, ConnectionRecord, ExplainedConnectionRecord, ProblemRecord};
use crate::explanation;
use crate::ledger::Stored;
use crate::manager::ConnectionHandle;
use crate::vocabulary::{CloseState, ConnectionName, ConnectionStatus};

use listing::{Filter, Wanted};

/// Lists live connections, oldest first unless `sort` says otherwise.
#[utoipa::path(get, path = "/v1/connections", tag = "connections", params(Filter), responses(
    (status = 200, body = ConnectionPage),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(api): State<Api>,
    Parameters(filter): Parameters<Filter>,
) -> Result<Response, Problem> {
    let wanted = Wanted::read(filter)?;
    let listed = wanted.page(api.control.supervisor.connections()).await;
    let statuses: Vec<ConnectionStatus> =
        listed.connections.iter().map(ConnectionHandle::status).collect();
    let page = ConnectionPage {
        connections: statuses.iter().map(ConnectionRecord::from).collect(),
        next: listed.next.map(|next| next.to_string().into()),
        total: listed.total as u64,
    };
    Ok(json(StatusCode::OK, &page))
}

/// Shows a live connection.
#[utoipa::path(get, path = "/v1/connections/{id}", tag = "connections", params(
    ("id" = String, Path, description = "The id, or its last 12 hexadecimal digits"),
    Explained,
), responses(
    (status = 200, body = ExplainedConnectionRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(api): State<Api>,
    Named(name): Named,
    Parameters(explained): Parameters<Explained>,
) -> Result<Response, Problem> {
    match find(&api, name).await? {
        Found::Live(connection) => {
            let status = connection.status();
            let connection = ConnectionRecord::from(&status);
            let explanation = explained.explain.then(|| explanation::of_connection(&connection));
            Ok(json(StatusCode::OK, &ExplainedConnectionRecord { connection, explanation }))
        }
        Found::Ended(_) => Err(Problem::not_found(format!(
            "the connection has ended: its ending is at /v1/endings/{}",
            name.short()
        ))),
    }
}

/// The connection that a name refers to.
pub(super) enum Found {
    /// A live connection.
    Live(ConnectionHandle),
    /// A connection that has ended.
    Ended(Stored),
}

/// Finds a live connection.
pub(super) async fn find_live(
    api: &Api,
    name: ConnectionName,
) -> Result<ConnectionHandle, Problem> {
    match find(api, name).await? {
        Found::Live(connection) => Ok(connection),
        Found::Ended(_) => {
            let detail = format!("the connection has ended: see /v1/endings/{}", name.short());
            Err(Problem::invalid_state(CloseState::Closed, detail))
        }
    }
}

/// Finds a connection, live or ended.
pub(super) async fn find(api: &Api, name: ConnectionName) -> Result<Found, Problem> {
    // In this order, since an ending is in the ledger before its connection leaves the registry.
    if let Some(connection) = api.control.supervisor.find(name) {
        return Ok(Found::Live(connection));
    }
    match api.queries.run(move |archive| archive.ending(name)).await? {
        Some(stored) if !stored.attempt => Ok(Found::Ended(stored)),
        Some(_) => Err(Problem::not_found(format!(
            "it never opened: the record of the attempt is at /v1/endings/{}",
            name.short()
        ))),
        None => Err(Problem::not_found(format!(
            "there is no connection {}, neither open nor in the ledger",
            name.short()
        ))),
    }
}
