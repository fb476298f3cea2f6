//! A reload of the configuration as JSON.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rfc3339_millis;

/// What a reload has changed: `POST /v1/reload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadRecord<'a> {
    /// What is different now: keys, such as `limits.write_timeout`, and `routes.NAME`,
    /// `listeners.NAME` and `dialers.NAME`.
    pub changed: Vec<Cow<'a, str>>,
    /// What is different in the configuration and stays as it was until the daemon is restarted.
    pub needs_restart: Vec<Cow<'a, str>>,
    /// The listeners that came and went.
    pub listeners: ReloadedListenersRecord<'a>,
}

/// The listeners that came and went with a reload; one whose address has changed did both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadedListenersRecord<'a> {
    /// The names of those that accept now.
    pub added: Vec<Cow<'a, str>>,
    /// The names of those that have stopped accepting; their connections stay open.
    pub removed: Vec<Cow<'a, str>>,
}

/// The last reload of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastReloadRecord<'a> {
    /// When it ended.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub at: SystemTime,
    /// Who requested it: `signal:HUP`, or `api:` and the name of a token.
    pub by: Cow<'a, str>,
    /// Whether the new configuration is in use.
    pub ok: bool,
    /// Why it is not, and nothing has changed; null if it is.
    pub error: Option<Cow<'a, str>>,
}
