//! Applications behind relays as JSON: `GET /v1/backends`.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rfc3339_millis;
use crate::vocabulary::BackendStatus;

/// All applications behind relays: `GET /v1/backends`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BackendsRecord<'a> {
    /// The applications, by route, in the order of the configuration.
    pub backends: Vec<BackendRecord<'a>>,
}

/// The state of an application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BackendRecord<'a> {
    /// The name of the route.
    pub route: Cow<'a, str>,
    /// Its number within the route, from 0.
    pub number: u64,
    /// Its URL, masked as in `[records]`; `upstream.url` of its connections.
    pub url: Cow<'a, str>,
    /// `serving`, `ejected`, `unhealthy` or `draining`.
    pub state: Cow<'a, str>,
    /// When it will get clients again, if it is ejected.
    #[serde(with = "rfc3339_millis::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ejected_until: Option<SystemTime>,
    /// The result of the last health check; true if there was none.
    pub healthy: bool,
    /// The clients that it has, including those that it has not answered.
    pub connections: u64,
    /// Failures in a row.
    pub failures: u32,
    /// The number of clients that were sent there.
    pub chosen: u64,
    /// How often it was ejected.
    pub ejections: u64,
}

impl<'a> From<&'a BackendStatus> for BackendRecord<'a> {
    fn from(status: &'a BackendStatus) -> Self {
        Self {
            route: (&*status.route).into(),
            number: status.number as u64,
            url: (&*status.url).into(),
            state: status.state.as_str().into(),
            ejected_until: status.ejected_until,
            healthy: status.healthy,
            connections: status.connections,
            failures: status.failures,
            chosen: status.chosen,
            ejections: status.ejections,
        }
    }
}
