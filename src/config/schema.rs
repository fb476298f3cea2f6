//! The sections of the configuration, as CONTRACT.md section 6 names them.

use std::time::Duration;

use serde::Deserialize;

use super::routing::{Listener, Route};
use crate::settings::{
    Close, ConnectionSettings, Control, Dialer, Drain, Keepalive, Ledger, Limits, Records, TlsKeys,
    values,
};
use crate::vocabulary::ListenAddress;

/// The whole configuration of a node.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Says who this node is.
    pub node: Node,
    /// Lists the addresses that accept; default: `public` on `127.0.0.1:8080`.
    pub listeners: Vec<Listener>,
    /// Lists what becomes of a path; the first match wins; default: `/echo` to echo.
    pub routes: Vec<Route>,
    /// Lists the outbound connections that are kept alive; default: none.
    pub dialers: Vec<Dialer>,
    /// Bounds what peers and backends can make this process hold, wait for or do.
    pub limits: Limits,
    /// Finds peers that are gone, idle or too old.
    pub keepalive: Keepalive,
    /// Bounds the closing handshake.
    pub close: Close,
    /// Says how to stop.
    pub drain: Drain,
    /// Places the control API, and says who may use it.
    pub control: Control,
    /// Places the probes.
    pub health: Health,
    /// Keeps endings on disk.
    pub ledger: Ledger,
    /// Says what of a request is recorded.
    pub records: Records,
    /// Says how to log.
    pub log: Log,
}

impl Config {
    /// Returns the default settings of connections.
    pub fn settings(&self) -> ConnectionSettings {
        ConnectionSettings {
            limits: self.limits.clone(),
            keepalive: self.keepalive.clone(),
            close: self.close.clone(),
            records: self.records.clone(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: Node::default(),
            listeners: vec![Listener::default()],
            routes: vec![Route::default()],
            dialers: Vec::new(),
            limits: Limits::default(),
            keepalive: Keepalive::default(),
            close: Close::default(),
            drain: Drain::default(),
            control: Control::default(),
            health: Health::default(),
            ledger: Ledger::default(),
            records: Records::default(),
            log: Log::default(),
        }
    }
}

/// Says who this node is.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Names the node in endings, logs and metrics.
    ///
    /// Unit: text, not empty. Default: the host name. Cost: none; give two nodes of a host two
    /// names, else their endings cannot be told apart.
    pub name: Option<String>,
}

impl Node {
    /// Returns the configured name, else the host name, else `localhost`. Reads a file of `/proc`.
    pub fn resolve_name(&self) -> String {
        self.name.clone().or_else(host_name).unwrap_or_else(|| "localhost".to_owned())
    }
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Places the probes: `/livez`, `/readyz` and `/metrics` without a token.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// Sets the address of the probes.
    ///
    /// Unit: address (`127.0.0.1:9090`, `unix:/run/lastword/health.sock`, `systemd:NAME`); "" = off. Default: "".
    /// Cost: one listening socket; every client that reaches it can read the metrics.
    #[serde(deserialize_with = "values::unless_empty")]
    pub listen: Option<ListenAddress>,
    /// Serves the probes over TLS, with this certificate.
    ///
    /// Unit: as `tls` of a listener. Default: none. Cost: as there; probes and scrapers use `https://`.
    pub tls: Option<TlsKeys>,
    /// Bounds the wait for a request and its headers; a connection carries one.
    ///
    /// Unit: duration, above zero. Default: 2s. Cost: an idle client holds one of 64 connections for
    /// as long, unless others need it.
    #[serde(deserialize_with = "values::duration")]
    pub header_timeout: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self { listen: None, tls: None, header_timeout: Duration::from_secs(2) }
    }
}

/// Says how to log; logs go to stderr.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Chooses the form of a log line.
    ///
    /// One of `text`, `json`, `journald`. Default: `journald` where stderr is connected to the
    /// journal, else `text`. Cost: json is about twice as long.
    pub format: Option<LogFormat>,
    /// Chooses what is logged.
    ///
    /// Unit: directives of tracing's `EnvFilter`. Default: `info,ractor=off`. Cost: `debug` writes
    /// several lines per connection, `trace` several per message.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: None, filter: "info,ractor=off".to_owned() }
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For a person at a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
    /// The journal's own protocol, with fields.
    Journald,
}
