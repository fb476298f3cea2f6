//! Stands in for admission in a build without the feature `auth`: no value of it exists.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::settings::RouteLimits;
use crate::transport::socket::SocketName;
use crate::vocabulary::{Grant, OpenFailure, Secret};

/// Decides whether clients may connect.
#[derive(Debug)]
pub(crate) struct Auth(Infallible);

pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) host: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) bearers: &'a [Secret],
    pub(crate) peer: &'a SocketName,
}

pub(crate) struct Admitted {
    pub(crate) subject: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) grant: Option<Grant>,
    pub(crate) limits: Option<RouteLimits>,
}

pub(crate) struct Denied {
    pub(crate) status: StatusCode,
    pub(crate) failure: OpenFailure,
    pub(crate) challenges: Vec<HeaderValue>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) text: String,
    pub(crate) detail: Option<String>,
}

pub(crate) struct TakesNoToken;

impl Auth {
    pub(crate) fn warm(&self) {
        match self.0 {}
    }

    pub(crate) fn takes_subprotocol(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn query_parameters(&self) -> std::iter::Empty<&str> {
        match self.0 {}
    }

    pub(crate) async fn admit(&self, _ask: Ask<'_>) -> Result<Admitted, Denied> {
        match self.0 {}
    }

    pub(crate) async fn check_token(
        &self,
        _token: &str,
    ) -> Result<Result<Admitted, Denied>, TakesNoToken> {
        match self.0 {}
    }
}
