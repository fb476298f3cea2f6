//! Listeners and routes: which address accepts, and what becomes of a path.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::auth::some_auth;
use super::backend::BackendChoice;
use crate::settings::patterns::host;
use crate::settings::{
    Auth, ConnectionSettings, Forwarded, OriginPattern, PathPattern, Proxies, Replace, RouteClose,
    RouteKeepalive, RouteLimits, TagTemplate, TlsKeys, TrustedProxy, default_origins,
};
use crate::vocabulary::ListenAddress;

/// An address that accepts connections.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Names the listener in endings, logs and metrics.
    ///
    /// Unit: text, not empty, unique. Required. Cost: none.
    pub name: String,
    /// Sets the address.
    ///
    /// Unit: `127.0.0.1:8080`, `[::]:8080` or `unix:/run/lastword.sock`; port 0 lets the kernel
    /// choose; `systemd:NAME` takes the socket of that `FileDescriptorName`. Required. Cost: one listening socket.
    pub listen: ListenAddress,
    /// Serves the clients over TLS (`wss://`), with this certificate.
    ///
    /// Unit: `{ cert, key }`, or `{ certs = [{ cert, key }, …] }`. Default: none. Cost: CPU for each
    /// handshake and message, and some 8 KiB per connection.
    #[serde(default)]
    pub tls: Option<TlsKeys>,
    /// Requires that each connection begins with a PROXY header, version 1 or 2, which names the
    /// client. It counts from `trusted_proxies` only, and nobody else may connect.
    ///
    /// Unit: true or false. Default: false. Cost: one or two reads per connection.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Says what becomes of `Forwarded` and `X-Forwarded-*` of `trusted_proxies`; those of others are
    /// replaced.
    ///
    /// Unit: `trust` (they name the client, and are continued on their way to an application) or
    /// `replace`. Default: `replace`. Cost: some microseconds per request.
    #[serde(default)]
    pub forwarded: Forwarded,
    /// Lists the proxies in front that may say who the client is.
    ///
    /// Unit: networks (`10.0.0.0/8`, `fd00::/8`), addresses, or `unix` for a Unix socket. Default:
    /// none. Cost: none; what they say is believed.
    #[serde(default)]
    pub trusted_proxies: Vec<TrustedProxy>,
}

impl Listener {
    /// Returns the proxies in front of it.
    pub fn proxies(&self) -> Proxies {
        let mut proxies = Proxies::default();
        proxies.trusted.clone_from(&self.trusted_proxies);
        proxies.proxy_protocol = self.proxy_protocol;
        proxies.forwarded = self.forwarded;
        proxies
    }
}

impl Default for Listener {
    /// Makes the listener of a node without configuration: `public` on `127.0.0.1:8080`.
    fn default() -> Self {
        Self {
            name: "public".to_owned(),
            listen: ListenAddress::Tcp(([127, 0, 0, 1], 8080).into()),
            tls: None,
            proxy_protocol: false,
            forwarded: Forwarded::default(),
            trusted_proxies: Vec::new(),
        }
    }
}

/// What becomes of the connections to a path.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Names the route in endings, logs and metrics.
    ///
    /// Unit: text, not empty, unique. Required. Cost: none.
    pub name: String,
    /// Restricts the route to requests with this `Host`, whatever its port and case.
    ///
    /// Unit: host name or address, without a port. Default: every host. Cost: none.
    #[serde(default, deserialize_with = "host")]
    pub host: Option<String>,
    /// Chooses the paths.
    ///
    /// Unit: an exact path, or a prefix that ends in `/*`; `{name}` stands for any one segment; the
    /// query does not count. Required. Cost: routes are tried one after the other.
    pub path: PathPattern,
    /// Labels the connections, for people and selectors, with what their requests say.
    ///
    /// Unit: by the name of each label a text with `{name}` for a segment of the path and
    /// `{query.name}` for a parameter of the query, at most 256 bytes in the end; without the
    /// parameter there is no label. Default: none. Cost: their bytes in every record, where they
    /// stand in clear whatever `[records]` masks.
    #[serde(default)]
    pub tags: BTreeMap<String, TagTemplate>,
    /// Lists the web origins that may connect; others get 403. A request without an `Origin` header
    /// does not come from a browser and passes.
    ///
    /// Unit: `same` (a request with a cookie must come from a page of the host that it is for),
    /// `scheme://host[:port]`, `null` or `*` (every origin, as the empty list). Default: `same`.
    /// Cost: with `*` any web page can connect in its visitor's name.
    #[serde(default = "default_origins")]
    pub origins: Vec<OriginPattern>,
    /// Lists the subprotocols this route speaks, the best first.
    ///
    /// Unit: tokens (RFC 6455 section 4.1). Default: none, which answers without one. Cost: none.
    #[serde(default)]
    pub subprotocols: Vec<String>,
    /// Says how clients prove that they may connect: by a signed token (`jwt`), or because an HTTP
    /// endpoint says so (`http`). It holds for plain HTTP of the route, too.
    ///
    /// Default: not at all. Cost: one signature, or one request, per opening handshake.
    #[serde(default, deserialize_with = "some_auth")]
    pub auth: Option<Auth>,
    /// Chooses what a second connection of one subject does; the one that goes gets a Close with 4409.
    ///
    /// One of `none` (both stay), `oldest` (the oldest goes), `newest` (the newest goes). Default:
    /// none. Cost: an entry of some 100 bytes for each connection with a subject; with `newest` a
    /// client whose network was lost is kept out until `keepalive` notices.
    #[serde(default)]
    pub replace: Replace,
    /// Lets others than the two ends, such as the control API, send into relayed connections: between
    /// messages, never inside of one.
    ///
    /// Unit: true or false; only with a relay backend. Default: false. Cost: each end sees messages
    /// that the other did not send.
    #[serde(default)]
    pub inject: bool,
    /// Chooses where messages go. Required.
    pub backend: BackendChoice,
    /// Overrides single keys of `[limits]` that hold for one connection. A relay backend passes
    /// messages and frames of any size unless sizes are set, here or in `[limits]`.
    #[serde(default)]
    pub limits: RouteLimits,
    /// Overrides single keys of `[keepalive]`.
    #[serde(default)]
    pub keepalive: RouteKeepalive,
    /// Overrides single keys of `[close]`.
    #[serde(default)]
    pub close: RouteClose,
}

impl Route {
    /// Returns what holds for the route's connections: the sections of the configuration, overridden
    /// key by key.
    pub fn settings(&self, sections: &ConnectionSettings) -> ConnectionSettings {
        sections.overridden(self.limits.over(&sections.limits), &self.keepalive, &self.close)
    }
}

impl Default for Route {
    /// Makes the route of a node without configuration: `/echo` to echo.
    fn default() -> Self {
        Self {
            name: "echo".to_owned(),
            host: None,
            path: PathPattern::Exact("/echo".to_owned()),
            tags: BTreeMap::new(),
            origins: default_origins(),
            subprotocols: Vec::new(),
            auth: None,
            replace: Replace::None,
            inject: false,
            backend: BackendChoice::default(),
            limits: RouteLimits::default(),
            keepalive: RouteKeepalive::default(),
            close: RouteClose::default(),
        }
    }
}
