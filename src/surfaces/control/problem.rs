//! Refusals: `application/problem+json` of RFC 9457, each with a type for programs.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use crate::contract::{EndingRecord, ProblemRecord, plain_json};
use crate::ledger::QueryError;
use crate::manager::{DrainUnderWay, KeepError, ShutDown};
use crate::vocabulary::{CloseState, Ending, IllegalClose};

/// The type of a refusal: `type = "urn:lastword:<word>"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Word {
    InvalidRequest,
    IllegalClose,
    Unauthorized,
    TokenRefused,
    Forbidden,
    CrossSite,
    Scope,
    NotFound,
    MethodNotAllowed,
    Timeout,
    InvalidState,
    NoToken,
    DrainUnderWay,
    NameTaken,
    TooLarge,
    UnsupportedMediaType,
    UnlistedHost,
    InvalidConfiguration,
    OutboxFull,
    TooManyStreams,
    Busy,
    TooManyDialers,
    TooManyRevocations,
    OpenFailed,
    AuthUnavailable,
    LedgerUnreadable,
    LedgerUnwritable,
    Stopping,
}

impl Word {
    const fn facts(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::InvalidRequest => ("invalid_request", 400, "The request is invalid"),
            Self::IllegalClose => ("illegal_close", 400, "This Close must not be sent"),
            Self::Unauthorized => ("unauthorized", 401, "A token is required"),
            Self::TokenRefused => ("token_refused", 401, "The new token was refused"),
            Self::Forbidden => ("forbidden", 403, "This is not allowed"),
            Self::CrossSite => ("cross_site", 403, "Other sites must not make changes"),
            Self::Scope => ("scope", 403, "The token may only read"),
            Self::NotFound => ("not_found", 404, "Not found"),
            Self::MethodNotAllowed => ("method_not_allowed", 405, "The method is not allowed here"),
            Self::Timeout => ("timeout", 408, "The request took too long"),
            Self::InvalidState => ("invalid_state", 409, "The state does not allow this"),
            Self::NoToken => ("no_token", 409, "The connection takes no token"),
            Self::DrainUnderWay => ("drain_under_way", 409, "A drain is already running"),
            Self::NameTaken => ("name_taken", 409, "The name is taken"),
            Self::TooLarge => ("too_large", 413, "The request is too large"),
            Self::UnsupportedMediaType => ("unsupported_media_type", 415, "The body is not JSON"),
            Self::UnlistedHost => ("unlisted_host", 421, "The host is not allowed"),
            Self::InvalidConfiguration => ("invalid_configuration", 422, "Nothing was changed"),
            Self::OutboxFull => ("outbox_full", 429, "The outbox is full"),
            Self::TooManyStreams => ("too_many_streams", 503, "There are too many event streams"),
            Self::Busy => ("busy", 503, "All connections to the API are busy"),
            Self::TooManyDialers => ("too_many_dialers", 429, "There are too many dialers"),
            Self::TooManyRevocations => ("too_many_revocations", 429, "Too many are in force"),
            Self::OpenFailed => ("open_failed", 502, "The connection did not open"),
            Self::AuthUnavailable => ("auth_unavailable", 503, "The token cannot be checked"),
            Self::LedgerUnreadable => ("ledger_unreadable", 503, "The ledger cannot be read"),
            Self::LedgerUnwritable => ("ledger_unwritable", 503, "The ledger cannot be written"),
            Self::Stopping => ("stopping", 503, "The daemon is stopping"),
        }
    }
}

/// A refusal.
#[derive(Debug)]
pub(super) struct Problem(Box<ProblemRecord<'static>>);

impl Problem {
    /// Makes a refusal of this type; `detail` says what is wrong, and the remedy.
    pub(super) fn new(word: Word, detail: impl Into<String>) -> Self {
        let (word, status, title) = word.facts();
        Self(Box::new(ProblemRecord {
            kind: format!("urn:lastword:{word}").into(),
            title: title.into(),
            status,
            detail: detail.into().into(),
            ending: None,
            state: None,
            queued: None,
            limit: None,
            drain: None,
        }))
    }

    /// Refuses an invalid request.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Word::InvalidRequest, detail)
    }

    /// Refuses a request for something that does not exist.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Word::NotFound, detail)
    }

    /// Refuses a message, because nothing may follow a Close.
    pub(super) fn invalid_state(state: CloseState, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(Word::InvalidState, detail);
        problem.0.state = Some(state.as_str().into());
        problem
    }

    /// Refuses a message, because the outbox is full.
    pub(super) fn outbox_full(queued: usize, limit: usize, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(Word::OutboxFull, detail);
        problem.0.queued = Some(queued as u64);
        problem.0.limit = Some(limit as u64);
        problem
    }

    /// Reports a dial that failed.
    pub(super) fn open_failed(ending: &Arc<Ending>) -> Self {
        let mut problem = Self::new(Word::OpenFailed, ending.outcome.detail.clone());
        // The record borrows from the ending; parsing its JSON yields an owned one.
        let json = EndingRecord::from(&**ending).to_json();
        problem.0.ending = serde_json::from_str(&json).ok();
        problem
    }

    /// Returns the type.
    #[cfg(test)]
    pub(super) fn kind(&self) -> &str {
        &self.0.kind
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        Self::new(Word::LedgerUnreadable, error.to_string())
    }
}

impl From<ShutDown> for Problem {
    fn from(error: ShutDown) -> Self {
        Self::new(Word::Stopping, error.to_string())
    }
}

impl From<KeepError> for Problem {
    fn from(error: KeepError) -> Self {
        let detail = error.to_string();
        match error {
            KeepError::NameTaken(_) => Self::new(Word::NameTaken, detail),
            KeepError::Url(_) => Self::invalid(format!("url: {detail}")),
            KeepError::ShutDown(_) => Self::new(Word::Stopping, detail),
        }
    }
}

impl From<IllegalClose> for Problem {
    fn from(error: IllegalClose) -> Self {
        Self::new(Word::IllegalClose, error.to_string())
    }
}

impl From<DrainUnderWay> for Problem {
    fn from(error: DrainUnderWay) -> Self {
        let mut problem = Self::new(Word::DrainUnderWay, error.to_string());
        problem.0.drain = Some(error.id.to_string().into());
        problem
    }
}

impl From<crate::contract::RequestError> for Problem {
    fn from(error: crate::contract::RequestError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Nothing in it can refuse to be written.
        let json = plain_json::write(&self.0).unwrap_or_default();
        let status = StatusCode::from_u16(self.0.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(Body::from(json));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match status {
            StatusCode::UNAUTHORIZED => {
                let bearer = HeaderValue::from_static("Bearer realm=\"lastword\"");
                headers.insert(WWW_AUTHENTICATE, bearer);
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

/// The content type of a refusal.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";
