//! Makes, lists and deletes revocations.

use std::time::SystemTime;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::Caller;
use super::api::{Api, created, json};
use super::parsing::{self, Json, Parameters};
use super::problem::{Problem, Word};
use crate::contract::{ProblemRecord, RevocationPage, RevocationRecord, RevocationRequest};
use crate::manager::{Revoke, RevokeError, Revoked};
use crate::vocabulary::{Revocation, RevocationTarget};

/// Which revocations to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Those of this subject.
    subject: Option<String>,
    /// Those of the token with this id.
    jti: Option<String>,
    /// The maximum number, from 1 to 1000; 100 by default.
    limit: Option<u32>,
    /// The `next` of the previous page.
    cursor: Option<String>,
}

/// Closes all connections of a subject or a token with 3000, and refuses new ones with 401 until the
/// revocation expires or is deleted.
///
/// It is answered once the revocation is recorded and the Closes are queued.
#[utoipa::path(post, path = "/v1/revocations", tag = "revocations",
request_body = RevocationRequest, responses(
    (status = 201, body = RevocationRecord, headers(("location" = String))),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
    (status = 503, body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn revoke(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<RevocationRequest<'static>>,
) -> Result<Response, Problem> {
    let revoke = read(request, SystemTime::now())?.by(caller.requester());
    let Revoked { revocation, closed, .. } = api.control.supervisor.revoke(revoke).await?;
    let closed = Some(closed as u64);
    let record = RevocationRecord { closed, ..RevocationRecord::from(&*revocation) };
    Ok(created(&format!("/v1/revocations/{}", revocation.number), &record))
}

/// Lists the revocations in force, newest first.
#[utoipa::path(get, path = "/v1/revocations", tag = "revocations", params(Filter), responses(
    (status = 200, body = RevocationPage),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(api): State<Api>,
    Parameters(filter): Parameters<Filter>,
) -> Result<Response, Problem> {
    let Filter { subject, jti, limit, cursor } = filter;
    let limit = parsing::limit(limit)?;
    let before: Option<u64> = parsing::cursor(cursor)?;
    let named = |revocation: &Revocation| match &revocation.target {
        RevocationTarget::Subject { subject: of, .. } => {
            jti.is_none() && subject.as_ref().is_none_or(|subject| subject == of)
        }
        RevocationTarget::Token { id } => {
            subject.is_none() && jti.as_ref().is_none_or(|jti| jti == id)
        }
    };
    let mut found = api.control.supervisor.revocations();
    found.retain(|revocation| before.is_none_or(|before| revocation.number < before));
    found.retain(|revocation| named(revocation));
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| more);
    let page = RevocationPage {
        revocations: found.iter().map(|revocation| (&**revocation).into()).collect(),
        next: last.map(|last| last.number.to_string().into()),
    };
    Ok(json(StatusCode::OK, &page))
}

/// Shows a revocation that is in force.
#[utoipa::path(get, path = "/v1/revocations/{n}", tag = "revocations", params(
    ("n" = u64, Path, description = "The number of the revocation"),
), responses(
    (status = 200, body = RevocationRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(api): State<Api>,
    Path(number): Path<String>,
) -> Result<Response, Problem> {
    let revocation = api.control.supervisor.revocation(parse_number(&number)?);
    let revocation = revocation.ok_or_else(|| not_there(&number))?;
    Ok(json(StatusCode::OK, &RevocationRecord::from(&*revocation)))
}

/// Deletes a revocation: those that it applied to may connect again.
#[utoipa::path(delete, path = "/v1/revocations/{n}", tag = "revocations", params(
    ("n" = u64, Path, description = "The number of the revocation"),
), responses(
    (status = 200, body = RevocationRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
    (status = 503, body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn delete(
    State(api): State<Api>,
    Path(number): Path<String>,
) -> Result<Response, Problem> {
    let withdrawn = api.control.supervisor.withdraw(parse_number(&number)?).await?;
    let revocation = withdrawn.ok_or_else(|| not_there(&number))?;
    Ok(json(StatusCode::OK, &RevocationRecord::from(&*revocation)))
}

fn read(request: RevocationRequest<'_>, now: SystemTime) -> Result<Revoke, Problem> {
    let RevocationRequest { subject, issued_before, jti, expires_at } = request;
    let issued_before = parsing::time("issued_before", issued_before.as_deref(), now)?;
    let revoke = match (subject, jti, issued_before) {
        (Some(subject), None, None) => Revoke::subject(subject),
        (Some(subject), None, Some(time)) => Revoke::subject_before(subject, time),
        (None, Some(jti), None) => Revoke::token(jti),
        (None, Some(_), Some(_)) => {
            return Err(Problem::invalid("issued_before: only a subject takes this: leave it out"));
        }
        (Some(_), Some(_), _) | (None, None, _) => {
            return Err(Problem::invalid("give either subject or jti, and not both"));
        }
    };
    match parsing::instant("expires_at", expires_at.as_deref())? {
        Some(time) => Ok(revoke.expires_at(time)),
        None => Ok(revoke),
    }
}

fn parse_number(text: &str) -> Result<u64, Problem> {
    let refuse = || Problem::invalid(format!("{text:?} is not the number of a revocation"));
    text.parse().map_err(|_| refuse())
}

fn not_there(number: &str) -> Problem {
    Problem::not_found(format!("there is no revocation {number}: it was deleted or has expired"))
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        let detail = error.to_string();
        match error {
            RevokeError::Name | RevokeError::Expired => Self::invalid(detail),
            RevokeError::TooMany(_) => {
                let detail = format!("{detail}; or raise control.max_revocations");
                Self::new(Word::TooManyRevocations, detail)
            }
            RevokeError::NotRecorded(_) => Self::new(Word::LedgerUnwritable, detail),
            RevokeError::ShutDown(_) => Self::new(Word::Stopping, detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn parse(json: &str) -> Result<Revoke, Problem> {
        read(serde_json::from_str(json).unwrap(), NOW)
    }

    #[test]
    fn either_a_subject_or_a_token_is_revoked() {
        let second = |n| NOW + Duration::from_secs(n);
        assert_eq!(parse(r#"{"subject":"ann"}"#).unwrap(), Revoke::subject("ann"));
        assert_eq!(
            parse(r#"{"subject":"ann","issued_before":"1970-01-01T00:00:07Z","jti":null}"#)
                .unwrap(),
            Revoke::subject_before("ann", second(7))
        );
        assert_eq!(
            parse(r#"{"jti":"t1","expires_at":"1970-01-01T00:00:09Z"}"#).unwrap(),
            Revoke::token("t1").expires_at(second(9))
        );
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for json in [
            "{}",
            r#"{"subject":"ann","jti":"t1"}"#,
            r#"{"jti":"t1","issued_before":"1h"}"#,
            r#"{"subject":"ann","issued_before":"yesterday"}"#,
            r#"{"subject":"ann","expires_at":"1h"}"#,
            r#"{"subject":"ann","expires_at":""}"#,
        ] {
            assert_eq!(parse(json).unwrap_err().kind(), "urn:lastword:invalid_request", "{json}");
        }
    }
}
