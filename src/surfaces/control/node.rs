//! The node as a whole: status, probes, and the description of the API.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tokio::task::spawn_blocking;

use super::access::Caller;
use super::api::{Api, json};
use super::problem::{Problem, Word};
use super::reload;
use super::tokens::Scope;
use crate::contract::{
    AccountingRecord, CallerRecord, DrainRecord, LedgerRecord, MemoryRecord, MessagesRecord,
    ProblemRecord, StatusRecord, millis,
};
use crate::ledger::Health;
use crate::manager::{Accounting, NotAccepting};
use crate::vocabulary::{DrainPhase, DrainProgress, Ending};

/// Shows the state of the node.
#[utoipa::path(get, path = "/v1/status", tag = "node", responses(
    (status = 200, body = StatusRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn status(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let supervisor = &api.control.supervisor;
    // It visits every connection, which takes too long for this thread if there are many.
    let counting = spawn_blocking({
        let supervisor = supervisor.clone();
        move || supervisor.census()
    });
    let census = counting.await.map_err(|error| Problem::new(Word::Stopping, error.to_string()))?;
    let accounting = supervisor.accounting();
    let Accounting { opened, open, ended } = accounting;
    let figures = (api.control.ledger)();
    let problem = match supervisor.ledger_health() {
        Health::Good => None,
        Health::Failing { problem, refuse: _ } => Some(problem),
    };
    let state = match (figures.durable, &problem) {
        (false, _) => "off",
        (true, None) => "good",
        (true, Some(_)) => "degraded",
    };
    let drain = supervisor.drain_progress();
    let closed = supervisor.not_accepting();
    let record = StatusRecord {
        version: Ending::VERSION.into(),
        node: supervisor.node().into(),
        started_at: api.control.started.at,
        uptime_ms: millis(api.control.started.since.elapsed()),
        phase: if supervisor.is_draining() { "draining" } else { "running" }.into(),
        accepting: closed.is_none(),
        accepting_why: closed.map(|why| not_accepting(why, drain.as_deref()).into()),
        accounting: AccountingRecord { opened, open, ended, balanced: accounting.balances() },
        ledger: LedgerRecord {
            state: state.into(),
            problem: problem.map(Into::into),
            unrecorded: figures.unrecorded,
            recovered: figures.recovered,
        },
        drain: drain.as_deref().map(DrainRecord::from),
        last_reload: api.control.reloads.facts().last.as_ref().map(reload::last),
        messages: Some(MessagesRecord {
            incoming: census.messages_in,
            outgoing: census.messages_out,
        }),
        memory: Some(MemoryRecord { used: census.memory_used, limit: census.memory_limit }),
        caller: Some(who(&caller, api.settings().control.allow_dial)),
    };
    Ok(json(StatusCode::OK, &record))
}

fn who(caller: &Caller, allow_dial: bool) -> CallerRecord<'_> {
    let (name, scope) = match caller {
        Caller::Local => (None, Scope::Operate),
        Caller::Token(token) => (Some((&*token.name).into()), token.scope),
    };
    CallerRecord {
        name,
        scope: scope.as_str().into(),
        may_dial: allow_dial && scope == Scope::Operate,
    }
}

/// Returns why new connections are refused, and what makes the daemon accept them again.
fn not_accepting(why: NotAccepting, drain: Option<&DrainProgress>) -> &'static str {
    match why {
        NotAccepting::Drain if drain.is_some_and(|drain| drain.phase == DrainPhase::Running) => {
            "a drain of all connections is running: `lastword drain --cancel` cancels it"
        }
        NotAccepting::Drain => {
            "a drain with --stay has finished: `lastword drain --cancel` accepts new connections again"
        }
        NotAccepting::Ledger => {
            "the ledger cannot store endings, and ledger.on_failure is \"refuse\""
        }
        NotAccepting::Stopping => "the daemon is stopping",
        NotAccepting::Asked => "new connections are refused until the daemon is restarted",
    }
}

/// Returns the metrics as OpenMetrics text.
#[utoipa::path(get, path = "/metrics", tag = "probes", responses(
    (status = 200, body = String, content_type = "application/openmetrics-text"),
))]
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    probe(&api, "/metrics").await
}

/// Confirms that the process is alive.
#[utoipa::path(get, path = "/livez", tag = "probes", responses(
    (status = 200, body = String, content_type = "text/plain"),
))]
pub(super) async fn livez(State(api): State<Api>) -> Response {
    probe(&api, "/livez").await
}

/// Returns whether new connections are accepted, and why not.
#[utoipa::path(get, path = "/readyz", tag = "probes", responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = 503, body = String, content_type = "text/plain"),
))]
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    probe(&api, "/readyz").await
}

async fn probe(api: &Api, path: &str) -> Response {
    match api.control.probes.answer(path).await {
        Some(answer) => answer.map(Body::new),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
