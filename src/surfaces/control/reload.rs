//! Reloading the configuration.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::access::Caller;
use super::api::{Api, json};
use super::problem::{Problem, Word};
use crate::contract::{LastReloadRecord, ProblemRecord, ReloadRecord, ReloadedListenersRecord};
use crate::surfaces::reloads::{LastReload, NotTaken, Reloaded};

/// Reads the configuration again, with all its files, and uses it.
///
/// If anything is wrong with it, nothing changes. Open connections keep the settings that they opened
/// with.
#[utoipa::path(post, path = "/v1/reload", tag = "node", responses(
    (status = 200, body = ReloadRecord),
    (status = 422, description = "Something is wrong with the configuration, and nothing has changed",
        body = ProblemRecord, content_type = "application/problem+json"),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
    (status = 503, body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn reload(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    match api.control.reloads.reload(caller.requester()).await {
        Ok(Ok(reloaded)) => Ok(json(StatusCode::OK, &record(&reloaded))),
        Ok(Err(wrong)) => Err(Problem::new(Word::InvalidConfiguration, wrong.to_string())),
        Err(why @ NotTaken::TooMany) => Err(Problem::new(Word::Busy, why.to_string())),
        Err(why @ NotTaken::Stopping) => Err(Problem::new(Word::Stopping, why.to_string())),
    }
}

fn record(reloaded: &Reloaded) -> ReloadRecord<'_> {
    let Reloaded { changed, needs_restart, added, removed } = reloaded;
    let [changed, needs_restart, added, removed] = [changed, needs_restart, added, removed]
        .map(|names| names.iter().map(|name| name.as_str().into()).collect());
    let listeners = ReloadedListenersRecord { added, removed };
    ReloadRecord { changed, needs_restart, listeners }
}

/// Returns the record of the last reload.
pub(super) fn last(reload: &LastReload) -> LastReloadRecord<'static> {
    LastReloadRecord {
        at: reload.at,
        by: reload.by.to_string().into(),
        ok: reload.error.is_none(),
        error: reload.error.as_ref().map(|error| error.to_string().into()),
    }
}
