//! Lists, shows and counts endings.

use std::time::SystemTime;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::api::{Api, json, json_text};
use super::parsing::{self, Explained, Named, Parameters};
use super::problem::{Problem, Word};
use crate::contract::{
    CountRecord, EndingPageRecord, EndingRecord, ExplainedEndingRecord, ProblemRecord,
    SummaryRecord,
};
use crate::explanation;
use crate::ledger::{EndingFilter, Property};
use crate::vocabulary::{Fault, Kind};

/// Which endings to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Those that ended at this time or later: RFC 3339, or how long ago, such as `1h`.
    since: Option<String>,
    /// Those that ended before this time: RFC 3339, or how long ago, such as `1h`.
    until: Option<String>,
    /// Those of this kind.
    kind: Option<String>,
    /// Those with this fault.
    fault: Option<String>,
    /// Those with this close code, including 1005 and 1006.
    code: Option<u16>,
    /// Those of this route.
    route: Option<String>,
    /// Those of this subject.
    subject: Option<String>,
    /// Those of this peer: an address with or without port.
    peer: Option<String>,
    /// Those of this path, as recorded.
    path: Option<String>,
    /// The maximum number, from 1 to 1000; 100 by default.
    limit: Option<u32>,
    /// The `next` of the previous page.
    cursor: Option<String>,
}

/// Which endings to count, and by which property.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Counted {
    /// Those that ended at this time or later: RFC 3339, or how long ago, such as `1h`.
    since: Option<String>,
    /// Those that ended before this time: RFC 3339, or how long ago, such as `1h`.
    until: Option<String>,
    /// `kind`, `fault`, `cause`, `code`, `route` or `user_agent`; `kind` by default.
    by: Option<String>,
}

/// Lists endings, newest first, including failed attempts.
#[utoipa::path(get, path = "/v1/endings", tag = "endings", params(Filter), responses(
    (status = 200, body = EndingPageRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
    (status = 503, body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(api): State<Api>,
    Parameters(filter): Parameters<Filter>,
) -> Result<Response, Problem> {
    let filter = read(filter, SystemTime::now())?;
    let page = api.queries.run(move |archive| archive.endings(&filter)).await?;
    let next = page.next.map(|next| next.to_string());
    let endings = page.endings.iter().map(|stored| &*stored.json);
    let written = EndingPageRecord::of_stored(endings, next.as_deref());
    let json = written.map_err(|error| unreadable(&error))?;
    Ok(json_text(StatusCode::OK, json))
}

/// Shows an ending.
#[utoipa::path(get, path = "/v1/endings/{id}", tag = "endings", params(
    ("id" = String, Path, description = "The id, or its last 12 hexadecimal digits"),
    Explained,
), responses(
    (status = 200, body = ExplainedEndingRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
    (status = 503, body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(api): State<Api>,
    Named(name): Named,
    Parameters(explained): Parameters<Explained>,
) -> Result<Response, Problem> {
    // Looked up before the ledger is queried, so that a connection that ends meanwhile is found.
    let live = api.control.supervisor.find(name).is_some();
    match api.queries.run(move |archive| archive.ending(name)).await? {
        Some(stored) if explained.explain => {
            let json =
                explain(&stored.json, SystemTime::now()).map_err(|error| unreadable(&error))?;
            Ok(json_text(StatusCode::OK, json))
        }
        Some(stored) => Ok(json_text(StatusCode::OK, stored.json)),
        None if live => Err(Problem::not_found(format!(
            "the connection is still open: see /v1/connections/{}",
            name.short()
        ))),
        None => Err(Problem::not_found(format!("the ledger has no ending of {}", name.short()))),
    }
}

/// Counts endings by one of their properties, largest count first.
#[utoipa::path(get, path = "/v1/endings/summary", tag = "endings", params(Counted), responses(
    (status = 200, body = SummaryRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
    (status = 503, body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn summary(
    State(api): State<Api>,
    Parameters(counted): Parameters<Counted>,
) -> Result<Response, Problem> {
    let Counted { since, until, by } = counted;
    let (since, until) = period(since.as_deref(), until.as_deref(), SystemTime::now())?;
    let by = parsing::word("by", by.as_deref(), &Property::ALL, Property::as_str)?;
    let by = by.unwrap_or(Property::Kind);
    let summary = api.queries.run(move |archive| archive.summary(since, until, by)).await?;
    let counts = summary.counts.iter().map(|count| CountRecord {
        value: count.value.as_deref().map(Into::into),
        count: count.count,
    });
    let record =
        SummaryRecord { by: by.as_str().into(), counts: counts.collect(), total: summary.total };
    Ok(json(StatusCode::OK, &record))
}

/// Returns a stored ending with its explanation.
fn explain(json: &str, now: SystemTime) -> serde_json::Result<String> {
    let ending: EndingRecord<'_> = serde_json::from_str(json)?;
    ExplainedEndingRecord::of_stored(json, &explanation::of_ending(&ending, now))
}

fn unreadable(error: &serde_json::Error) -> Problem {
    Problem::new(Word::LedgerUnreadable, format!("a stored ending cannot be read: {error}"))
}

fn read(filter: Filter, now: SystemTime) -> Result<EndingFilter, Problem> {
    let Filter { since, until, kind, fault, code, route, subject, peer, path, limit, cursor } =
        filter;
    let (since, until) = period(since.as_deref(), until.as_deref(), now)?;
    let kinds: Vec<&'static str> = Kind::words().collect();
    let kind = parsing::word("kind", kind.as_deref(), &kinds, |kind| kind)?;
    let fault = parsing::word("fault", fault.as_deref(), Fault::ALL, Fault::as_str)?;
    Ok(EndingFilter {
        since,
        until,
        kind: kind.map(str::to_owned),
        fault,
        code,
        route,
        subject,
        peer,
        path,
        before: parsing::cursor(cursor)?,
        limit: parsing::limit(limit)?,
    })
}

fn period(
    since: Option<&str>,
    until: Option<&str>,
    now: SystemTime,
) -> Result<(Option<SystemTime>, Option<SystemTime>), Problem> {
    let (since, until) = (parsing::time("since", since, now)?, parsing::time("until", until, now)?);
    match (since, until) {
        (Some(since), Some(until)) if until < since => {
            Err(Problem::invalid("until: it is before since: swap them"))
        }
        period => Ok(period),
    }
}
