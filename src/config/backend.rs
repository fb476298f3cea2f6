//! The backend of a route, as it is written: its kind decides which other keys it takes.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer};

use crate::policy::balance::Balance;
use crate::settings::relay::{relay_keys, some_close_code};
use crate::settings::{
    ByteSize, HealthPath, HostHeader, OnClientLost, PlainHttp, RelayBackend, UpstreamUrl, values,
};
use crate::vocabulary::CloseCode;

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BackendChoice {
    /// Back to the peer.
    #[default]
    Echo,
    /// To another WebSocket.
    Relay(Box<RelayBackend>),
}

/// The words that `backend.kind` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendKind {
    /// Back to the peer.
    Echo,
    /// To another WebSocket.
    Relay,
    /// To an HTTP endpoint. Not in this version.
    Webhook,
    /// To NATS. Not in this version.
    Nats,
}

impl<'de> Deserialize<'de> for BackendChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Written::deserialize(deserializer)?.backend().map_err(de::Error::custom)
    }
}

/// A backend as it is written: its kind decides which other keys it takes, each of which may be missing.
#[derive(Deserialize)]
#[serde(rename = "backend", deny_unknown_fields)]
struct Written {
    kind: BackendKind,
    url: Option<UpstreamUrl>,
    urls: Option<Vec<UpstreamUrl>>,
    balance: Option<Balance>,
    eject_after: Option<u32>,
    #[serde(default, deserialize_with = "values::some_duration")]
    eject_for: Option<Duration>,
    health_path: Option<Option<HealthPath>>,
    #[serde(default, deserialize_with = "values::some_duration")]
    health_interval: Option<Duration>,
    ca_file: Option<Option<PathBuf>>,
    #[serde(default, deserialize_with = "values::some_duration")]
    connect_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "values::some_duration")]
    response_timeout: Option<Duration>,
    tries: Option<u32>,
    max_pending: Option<u32>,
    host: Option<HostHeader>,
    check_utf8: Option<bool>,
    on_client_lost: Option<OnClientLost>,
    #[serde(default, deserialize_with = "some_close_code")]
    on_backend_lost: Option<CloseCode>,
    source_addresses: Option<Vec<IpAddr>>,
    max_message_size: Option<Option<ByteSize>>,
    http: Option<PlainHttp>,
    #[serde(default, deserialize_with = "values::some_duration")]
    http_timeout: Option<Duration>,
}

impl Written {
    /// Returns what was written, or what is wrong with it.
    fn backend(mut self) -> Result<BackendChoice, String> {
        match (self.kind, self.url.take(), self.urls.take()) {
            (BackendKind::Echo, None, None) => match self.first_key() {
                None => Ok(BackendChoice::Echo),
                Some(key) => Err(format!("an echo backend takes no {key}: remove it")),
            },
            (BackendKind::Echo, _, _) => Err("an echo backend takes no url: remove it".to_owned()),
            (BackendKind::Relay, Some(_), Some(_)) => {
                Err("a relay backend has either url or urls: remove one".to_owned())
            }
            (BackendKind::Relay, Some(url), None) => Ok(self.relay(vec![url])),
            (BackendKind::Relay, None, Some(urls)) => Ok(self.relay(urls)),
            (BackendKind::Relay, None, None) => {
                Err("a relay backend needs the url of the application".to_owned())
            }
            // The refusal by name replaces this message.
            (BackendKind::Webhook | BackendKind::Nats, _, _) => {
                Err("not in this version".to_owned())
            }
        }
    }

    fn relay(self, urls: Vec<UpstreamUrl>) -> BackendChoice {
        BackendChoice::Relay(Box::new(self.over(RelayBackend::of_all(urls))))
    }
}

relay_keys! {
    Written:
    balance, eject_after, eject_for, health_path, health_interval, ca_file, connect_timeout,
    response_timeout, tries, max_pending, host, check_utf8, on_client_lost, on_backend_lost,
    source_addresses, max_message_size, http, http_timeout,
}
