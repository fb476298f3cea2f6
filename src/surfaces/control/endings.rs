//! Lists, shows and counts endings.

use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::api::{Api, json, json_text};
use super::parsing::{self, Explained, Named, Parameters};
use super::problem::{Problem, Word};
use crate::contract::{
    CountRecord, EndingPageRecord, EndingRecord, ExplainedEndingRecord, OverTimeRecord,
    OverTimeValue, ProblemRecord, SummaryRecord, millis,
};
use crate::explanation;
use crate::ledger::{EndingFilter, Property, Slots};
use crate::vocabulary::{Cause, Fault, Kind};

/// The maximum number of slots of a summary.
const MOST_SLOTS: u32 = 500;

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
    /// Those with this cause.
    cause: Option<String>,
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
    /// How many slots of equal length to divide the period into, from 1 to 500: `over_time` then has
    /// the counts of each. Only with `since`, and by `kind`, `fault` or `cause`.
    slots: Option<u32>,
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
    let Counted { since, until, by, slots } = counted;
    let now = SystemTime::now();
    let (since, until) = period(since.as_deref(), until.as_deref(), now)?;
    let by = parsing::word("by", by.as_deref(), &Property::ALL, Property::as_str)?;
    let by = by.unwrap_or(Property::Kind);
    if let Some(slots) = slots {
        // What ends in this very millisecond is included.
        let until = until.unwrap_or(now + Duration::from_millis(1));
        let slots = divide(since, until, by, slots)?;
        return over_time(&api, slots, by).await;
    }
    let summary = api.queries.run(move |archive| archive.summary(since, until, by)).await?;
    let counts = summary.counts.iter().map(|count| CountRecord {
        value: count.value.as_deref().map(Into::into),
        count: count.count,
    });
    let record = SummaryRecord {
        by: by.as_str().into(),
        counts: counts.collect(),
        total: summary.total,
        over_time: None,
    };
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

async fn over_time(api: &Api, slots: Slots, by: Property) -> Result<Response, Problem> {
    let asked = slots.clone();
    let timeline = api.queries.run(move |archive| archive.over_time(&asked, by)).await?;
    let counts = timeline
        .values
        .iter()
        .map(|one| CountRecord { value: Some((&*one.value).into()), count: one.total });
    let values = timeline
        .values
        .iter()
        .map(|one| OverTimeValue { value: (&*one.value).into(), counts: one.counts.clone() });
    let record = SummaryRecord {
        by: by.as_str().into(),
        counts: counts.collect(),
        total: timeline.values.iter().map(|one| one.total).sum(),
        over_time: Some(OverTimeRecord {
            since: slots.since(),
            until: slots.until(),
            step_ms: millis(slots.step()),
            values: values.collect(),
        }),
    };
    Ok(json(StatusCode::OK, &record))
}

fn divide(
    since: Option<SystemTime>,
    until: SystemTime,
    by: Property,
    slots: u32,
) -> Result<Slots, Problem> {
    let Some(since) = since else {
        return Err(Problem::invalid("slots: give since, too: the period must have a beginning"));
    };
    if !Property::OVER_TIME.contains(&by) {
        let detail = format!(
            "slots: endings are counted over time by kind, fault or cause, not by {}",
            by.as_str()
        );
        return Err(Problem::invalid(detail));
    }
    if !(1..=MOST_SLOTS).contains(&slots) {
        return Err(Problem::invalid(format!("slots: {slots} is not from 1 to {MOST_SLOTS}")));
    }
    Slots::new(since, until, slots as usize).ok_or_else(|| {
        Problem::invalid("slots: the period is empty: since must be before until, or before now")
    })
}

fn read(filter: Filter, now: SystemTime) -> Result<EndingFilter, Problem> {
    let Filter {
        since,
        until,
        kind,
        fault,
        cause,
        code,
        route,
        subject,
        peer,
        path,
        limit,
        cursor,
    } = filter;
    let (since, until) = period(since.as_deref(), until.as_deref(), now)?;
    let kinds: Vec<&'static str> = Kind::words().collect();
    let kind = parsing::word("kind", kind.as_deref(), &kinds, |kind| kind)?;
    let fault = parsing::word("fault", fault.as_deref(), Fault::ALL, Fault::as_str)?;
    let cause = parsing::word("cause", cause.as_deref(), Cause::ALL, Cause::as_str)?;
    Ok(EndingFilter {
        since,
        until,
        kind: kind.map(str::to_owned),
        fault,
        cause,
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
