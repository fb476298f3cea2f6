//! The two answers of an admission.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use http::header::HeaderValue;

use crate::settings::ConnectionLimits;
use crate::vocabulary::{Grant, OpenFailure};

/// The `Retry-After` where it cannot be decided now.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The `WWW-Authenticate` of a client whose credentials are no longer good.
pub(crate) const INVALID_TOKEN: &str = "Bearer error=\"invalid_token\"";

/// A client is let in.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Admitted {
    pub(crate) subject: Option<String>,
    /// Tags, which replace those of the route with the same name.
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) grant: Option<Grant>,
    /// Limits in place of the route's.
    pub(crate) limits: Option<ConnectionLimits>,
}

/// A client is refused.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Denied {
    pub(crate) status: StatusCode,
    pub(crate) failure: OpenFailure,
    /// The values of `WWW-Authenticate`.
    pub(crate) challenges: Vec<HeaderValue>,
    pub(crate) retry_after: Option<Duration>,
    /// What the client reads.
    pub(crate) text: String,
    /// What is recorded, if that is more.
    pub(crate) detail: Option<String>,
}

impl Denied {
    pub(super) fn new(status: StatusCode, failure: OpenFailure, text: impl Into<String>) -> Self {
        let (challenges, text) = (Vec::new(), text.into());
        Self { status, failure, challenges, retry_after: None, text, detail: None }
    }

    /// Refuses a client because nobody can say whether it may connect.
    pub(super) fn unavailable(detail: String) -> Self {
        let text = "it cannot be decided at the moment whether you may connect: try again";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let denied = Self::new(status, OpenFailure::AuthUnavailable, text);
        Self { detail: Some(detail), retry_after: Some(RETRY_AFTER), ..denied }
    }

    /// Adds a challenge, unless it cannot be the value of a header field.
    pub(super) fn with_challenge(mut self, challenge: &str) -> Self {
        self.challenges.extend(HeaderValue::from_str(challenge));
        self
    }
}
