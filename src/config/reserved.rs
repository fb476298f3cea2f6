//! The sections and keys that CONTRACT.md section 6 names and this version does not build.
//!
//! They are parsed, so that a typing error in them is found today.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::routing::BackendKind;
use super::values;

/// Certificate and key of a listener. Not in this version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Names the file with the certificate chain. Unit: path to PEM. Required. Cost: none.
    pub cert: PathBuf,
    /// Names the file with the private key. Unit: path to PEM. Required. Cost: none.
    pub key: PathBuf,
    /// Names the file with the authorities of client certificates. Unit: path to PEM. Default:
    /// none, clients need no certificate. Cost: one more signature per handshake.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// How peers prove who they are. Not in this version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Chooses the way. Required. Cost: one signature, or one request, per handshake.
    pub kind: RouteAuth,
}

/// The words that `auth.kind` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteAuth {
    /// A signed token.
    Jwt,
    /// An HTTP endpoint decides.
    Http,
}

/// A named outbound connection that is kept alive. Not in this version.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dialer {
    /// Names the dialer. Unit: text, unique. Required. Cost: none.
    pub name: String,
    /// Sets the upstream. Unit: `ws://` or `wss://` URL. Required. Cost: one connection.
    pub url: String,
    /// Lists request headers; secrets come from the environment or a file. Default: none.
    #[serde(default)]
    pub headers: BTreeMap<String, Header>,
    /// Chooses where messages go. Required.
    pub backend: ReservedBackend,
    /// Lists messages to send once open. Unit: texts. Default: none. Cost: sent at every connect.
    #[serde(default)]
    pub on_open: Vec<String>,
    /// Names what a message must contain before open counts as ready. Unit: text. Default: none.
    #[serde(default)]
    pub ready_on: Option<String>,
    /// Sends a message at an interval. Default: none. Cost: its bytes.
    #[serde(default)]
    pub heartbeat: Option<Heartbeat>,
    /// Says when to dial again.
    #[serde(default)]
    pub reconnect: Reconnect,
    /// Replaces the connection at this age. Unit: duration; 0s = off. Default: 0s. Cost: two
    /// connections for a moment.
    #[serde(default, deserialize_with = "values::duration")]
    pub rotate_after: Duration,
    /// Replaces the connection after as long without data messages; Pongs do not count. Unit:
    /// duration; 0s = off. Default: 0s. Cost: none.
    #[serde(default, deserialize_with = "values::duration")]
    pub stale_after: Duration,
}

/// A backend whose kinds are only parsed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReservedBackend {
    /// Chooses where messages go. Required.
    pub kind: BackendKind,
    /// Sets the other end. Unit: URL. Required for some kinds.
    #[serde(default)]
    pub url: Option<String>,
}

/// Where the value of a header comes from; the configuration itself holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Header {
    /// An environment variable holds the value.
    Env(String),
    /// A file holds the value.
    File(PathBuf),
}

/// A message that is sent at an interval. Not in this version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Sets the message. Unit: text. Required. Cost: its bytes.
    pub send: String,
    /// Sets the interval. Unit: duration. Required. Cost: none.
    #[serde(deserialize_with = "values::duration")]
    pub every: Duration,
}

/// When a dialer dials again. Not in this version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reconnect {
    /// Sets the first wait. Unit: duration. Default: 200ms. Cost: none.
    #[serde(deserialize_with = "values::duration")]
    pub min: Duration,
    /// Sets the longest wait. Unit: duration. Default: 30s. Cost: none.
    #[serde(deserialize_with = "values::duration")]
    pub max: Duration,
    /// Sets how long a connection must hold before the wait starts at `min` again. Unit: duration.
    /// Default: 60s. Cost: none.
    #[serde(deserialize_with = "values::duration")]
    pub stable_after: Duration,
    /// Lists close codes after which the dialer stays away. Unit: codes. Default: none.
    pub never_on: Vec<u16>,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(200),
            max: Duration::from_secs(30),
            stable_after: Duration::from_secs(60),
            never_on: Vec::new(),
        }
    }
}
