//! Starts, shows and cancels drains.

use std::num::NonZeroU32;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::access::Caller;
use super::api::{Api, json};
use super::commands::close_code;
use super::parsing::{self, Json};
use super::problem::Problem;
use crate::contract::{DrainRecord, DrainRequest, ProblemRecord};
use crate::manager::DrainOptions;
use crate::policy::drain::Pace;
use crate::settings;
use crate::settings::Spread;
use crate::vocabulary::{CloseReason, Requester};

/// Starts a drain, which continues by itself.
#[utoipa::path(post, path = "/v1/drain", tag = "drain", request_body = DrainRequest, responses(
    (status = 202, body = DrainRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn start(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<DrainRequest<'static>>,
) -> Result<Response, Problem> {
    let options = options(request, &api.settings().drain, caller.requester())?;
    let drain = api.control.supervisor.start_drain(options)?;
    Ok(json(StatusCode::ACCEPTED, &DrainRecord::from(&*drain)))
}

/// Shows the progress of the drain, or the result of the last one.
#[utoipa::path(get, path = "/v1/drain", tag = "drain", responses(
    (status = 200, body = DrainRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn show(State(api): State<Api>) -> Result<Response, Problem> {
    match api.control.supervisor.drain_progress() {
        Some(drain) => Ok(json(StatusCode::OK, &DrainRecord::from(&*drain))),
        None => Err(Problem::not_found("there has been no drain: start one with POST")),
    }
}

/// Cancels the drain; connections that have begun to close still do so.
#[utoipa::path(delete, path = "/v1/drain", tag = "drain", responses(
    (status = 200, body = DrainRecord),
    (status = "4XX", body = ProblemRecord, content_type = "application/problem+json"),
))]
pub(super) async fn cancel(State(api): State<Api>) -> Result<Response, Problem> {
    match api.control.supervisor.cancel_drain() {
        Some(drain) => Ok(json(StatusCode::OK, &DrainRecord::from(&*drain))),
        None => Err(Problem::not_found("there is no drain to cancel")),
    }
}

pub(super) fn options(
    request: DrainRequest<'_>,
    defaults: &settings::Drain,
    by: Requester,
) -> Result<DrainOptions, Problem> {
    let DrainRequest { within, spread, rate, code, reason, select, stay } = request;
    let within = within.map(|within| parsing::duration("within", &within)).transpose()?;
    let within = within.unwrap_or(defaults.within);
    let pace = match (spread.as_deref(), rate) {
        (Some(_), Some(_)) => return Err(Problem::invalid("give either spread or rate")),
        (None, Some(rate)) => match NonZeroU32::new(rate) {
            Some(rate) => Pace::PerSecond(rate),
            None => return Err(Problem::invalid("rate: a drain at 0 per second would never end")),
        },
        (Some("auto"), None) => Pace::Auto,
        (Some(spread), None) => {
            let spread = parsing::duration("spread", spread)?;
            if spread > within {
                return Err(Problem::invalid(format!(
                    "spread ({}) is above within ({}): lower it, or raise the other",
                    humantime::format_duration(spread),
                    humantime::format_duration(within)
                )));
            }
            Pace::Over(spread)
        }
        (None, None) => match defaults.spread {
            Spread::Auto => Pace::Auto,
            Spread::Over(spread) => Pace::Over(spread.min(within)),
        },
    };
    Ok(DrainOptions {
        within,
        pace,
        code: code.map_or(Ok(defaults.code), close_code)?,
        reason: match reason {
            Some(reason) => CloseReason::new(reason.into_owned())?,
            None => defaults.reason.clone(),
        },
        by: Some(by),
        select: select.selector()?,
        stay,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::vocabulary::CloseCode;

    fn read(json: &str) -> Result<DrainOptions, Problem> {
        let request = serde_json::from_str(json).unwrap();
        let spread = Spread::Over(Duration::from_secs(20));
        let defaults = settings::Drain { spread, ..settings::Drain::default() };
        options(request, &defaults, Requester::Api("ops".into()))
    }

    #[test]
    fn what_is_not_said_is_as_configured() {
        let drain = read("{}").unwrap();
        assert_eq!(drain.within, Duration::from_secs(60));
        assert_eq!(drain.pace, Pace::Over(Duration::from_secs(20)));
        assert_eq!(
            (drain.code, drain.reason.as_str()),
            (CloseCode::SERVICE_RESTART, "service restart")
        );
        assert_eq!(drain.by, Some(Requester::Api("ops".into())));
        assert!(drain.select.is_all());
        // What is configured may not fit what is asked for.
        assert_eq!(read(r#"{"within":"5s"}"#).unwrap().pace, Pace::Over(Duration::from_secs(5)));
    }

    #[test]
    fn what_is_said_holds() {
        let pace = |json| read(json).unwrap().pace;
        assert_eq!(pace(r#"{"spread":"auto"}"#), Pace::Auto);
        assert_eq!(pace(r#"{"spread":"1s","rate":null}"#), Pace::Over(Duration::from_secs(1)));
        assert_eq!(pace(r#"{"rate":100}"#), Pace::PerSecond(NonZeroU32::new(100).unwrap()));
        let drain =
            read(r#"{"code":1001,"reason":"bye","select":{"route":"chat","tag":"room:7"}}"#)
                .unwrap();
        assert_eq!((drain.code.get(), drain.reason.as_str()), (1001, "bye"));
        assert_eq!(drain.select.tag, Some(("room".to_owned(), "7".to_owned())));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (json, word) in [
            (r#"{"spread":"1s","rate":1}"#, "invalid_request"),
            (r#"{"rate":0}"#, "invalid_request"),
            (r#"{"within":"soon"}"#, "invalid_request"),
            (r#"{"within":"60"}"#, "invalid_request"),
            (r#"{"within":"4000d"}"#, "invalid_request"),
            (r#"{"within":"5s","spread":"6s"}"#, "invalid_request"),
            (r#"{"select":{"tag":"room"}}"#, "invalid_request"),
            (r#"{"code":1005}"#, "illegal_close"),
            (r#"{"code":70000}"#, "illegal_close"),
        ] {
            assert_eq!(read(json).unwrap_err().kind(), format!("urn:lastword:{word}"), "{json}");
        }
    }
}
