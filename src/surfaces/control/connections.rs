//! Lists and shows live connections.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::api::{Api, json};
use super::parsing::{self, Explained, Named, Parameters};
use super::problem::Problem;
use crate::contract::{
    ConnectionPage, ConnectionRecord, ExplainedConnectionRecord, ProblemRecord, SelectorRecord,
};
use crate::explanation;
use crate::ledger::Stored;
use crate::manager::ConnectionHandle;
use crate::vocabulary::{
    CloseState, ConnectionId, ConnectionName, ConnectionStatus, Direction, PeerFilter, Selector,
};

/// Which connections to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Those of this route.
    route: Option<String>,
    /// Those in this state: `open`, `close_sent`, `close_received` or `closed`.
    state: Option<String>,
    /// Those in this direction: `inbound` or `outbound`.
    direction: Option<String>,
    /// Those of this subject.
    subject: Option<String>,
    /// Those of this path, as recorded.
    path: Option<String>,
    /// Those of this peer: an address with or without port.
    peer: Option<String>,
    /// Those with this tag, as `name:value`.
    tag: Option<String>,
    /// Those relayed to this application, by its URL as recorded.
    upstream: Option<String>,
    /// Those relayed to the application with this number in its route, from 0.
    upstream_number: Option<u64>,
    /// The maximum number, from 1 to 1000; 100 by default.
    limit: Option<u32>,
    /// The `next` of the previous page.
    cursor: Option<String>,
}

/// Lists live connections, oldest first.
#[utoipa::path(get, path = "/v1/connections", tag = "connections", params(Filter), responses(
    (status = 200, body = ConnectionPage),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(api): State<Api>,
    Parameters(filter): Parameters<Filter>,
) -> Result<Response, Problem> {
    let limit = parsing::limit(filter.limit)?;
    let wanted = Wanted::read(filter)?;
    let mut found = api.control.supervisor.connections();
    found.retain(|connection| wanted.includes(connection));
    // Ids begin with their creation time, so this is the order of opening.
    found.sort_unstable_by_key(ConnectionHandle::id);
    let more = found.len() > limit;
    found.truncate(limit);
    let statuses: Vec<ConnectionStatus> = found.iter().map(ConnectionHandle::status).collect();
    let last = found.last().filter(|_| more);
    let page = ConnectionPage {
        connections: statuses.iter().map(ConnectionRecord::from).collect(),
        next: last.map(|last| last.id().to_string().into()),
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

/// A validated filter.
struct Wanted {
    select: Selector,
    state: Option<CloseState>,
    direction: Option<Direction>,
    path: Option<String>,
    peer: Option<PeerFilter>,
    after: Option<ConnectionId>,
}

impl Wanted {
    fn read(filter: Filter) -> Result<Self, Problem> {
        let Filter { state, direction, path, peer, cursor, .. } = filter;
        let state = parsing::word("state", state.as_deref(), CloseState::ALL, CloseState::as_str)?;
        let direction =
            parsing::word("direction", direction.as_deref(), Direction::ALL, Direction::as_str)?;
        let peer = peer.as_deref().map(PeerFilter::parse);
        let after = parsing::cursor(cursor)?;
        let select = SelectorRecord {
            route: filter.route.map(Into::into),
            subject: filter.subject.map(Into::into),
            tag: filter.tag.map(Into::into),
            upstream: filter.upstream.map(Into::into),
            upstream_number: filter.upstream_number,
        };
        Ok(Self { select: select.selector()?, state, direction, path, peer, after })
    }

    fn includes(&self, connection: &ConnectionHandle) -> bool {
        let origin = connection.origin();
        self.after.is_none_or(|after| connection.id() > after)
            && self.select.matches(origin)
            && self.direction.is_none_or(|direction| origin.direction == direction)
            && (self.path.is_none() || self.path == origin.path)
            && self.peer.as_ref().is_none_or(|peer| {
                origin.peer.as_deref().is_some_and(|recorded| peer.matches(recorded))
            })
            && self.state.is_none_or(|state| connection.state() == state)
    }
}
