//! Dialers: named outbound connections that are kept alive.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer};

use super::overrides::{ConnectionLimits, ConnectionSettings, RouteClose, RouteKeepalive};
use super::relay::{OnClientLost, RelayBackend, UpstreamUrl, relay_keys, some_close_code};
use super::values::{self, ByteSize};
use crate::vocabulary::{CloseCode, Secret};

/// The default limit of the size of a message from an upstream feed.
const FEED_MESSAGE: ByteSize = ByteSize::mib(16);

/// A named outbound connection that is kept alive.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dialer {
    /// Names the dialer in endings, events, logs and the control API.
    ///
    /// Unit: text, not empty, unique. Required. Cost: none.
    pub name: String,
    /// Sets the upstream.
    ///
    /// Unit: `ws://` or `wss://` URL, without credentials. Required. Cost: one connection; TLS
    /// takes some 20 KiB more and a few milliseconds of CPU per dial.
    pub url: String,
    /// Lists request headers and where their values come from, read anew for every dial.
    ///
    /// Unit: `{ env = "NAME" }`, `{ file = "PATH" }`, or `{ value = "TEXT" }` for what is no
    /// secret. Default: none. Cost: their bytes, once per dial.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretSource>,
    /// Lists the subprotocols that are offered, the most wanted first.
    ///
    /// Unit: tokens (RFC 6455 section 4.1). Default: none. Cost: none.
    #[serde(default)]
    pub subprotocols: Vec<String>,
    /// Labels the connections for people and selectors.
    ///
    /// Unit: texts by name. Default: none. Cost: their bytes in every record.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Names the authorities whose certificates the upstream may show, in place of the machine's.
    ///
    /// Unit: path to PEM, read anew for every dial. Default: none, the machine's authorities. Cost:
    /// reading it.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Names an HTTP proxy on the way (CONNECT), which also resolves the upstream's name.
    ///
    /// Unit: `http://host:port`, without credentials. Default: none. Cost: one round trip per dial.
    #[serde(default)]
    pub proxy: Option<String>,
    /// Says where the proxy's `user:password` comes from, read anew for every dial.
    ///
    /// Unit: as a header's. Default: none. Cost: none; the proxy gets them in clear text.
    #[serde(default)]
    pub proxy_credentials: Option<SecretSource>,
    /// Bounds how long TCP may take; `limits.handshake_timeout` bounds the proxy and TLS, and then
    /// the upgrade.
    ///
    /// Unit: duration, above zero. Default: 10s. Cost: a dead upstream holds a dial for as long.
    #[serde(default = "ten_seconds", deserialize_with = "values::duration")]
    pub connect_timeout: Duration,
    /// Chooses where messages go. Required.
    pub backend: DialerBackend,
    /// Lets others than the two ends, such as the control API, send into connections that are passed
    /// on to an application: between messages, never inside of one.
    ///
    /// Unit: true or false; only with a relay backend. Default: false. Cost: each end sees messages
    /// that the other did not send.
    #[serde(default)]
    pub inject: bool,
    /// Lists what to send once the connection is open, in this order, and what to wait for in between:
    /// a message that contains the text. All of it has `ready_within`; with waits, the connection is
    /// ready only once they are over. With a relay backend, what is sent before the first wait goes to
    /// the upstream before any message of the application, the rest between those.
    ///
    /// Unit: texts, or `{ send = "TEXT", wait_for = "TEXT" }` with one of the two at least; 32 waits
    /// at most. Default: none. Cost: sent after every connect; a search in each message until the last
    /// wait is over.
    #[serde(default)]
    pub on_open: Vec<OpeningStep>,
    /// Lists texts of the upstream that are answered at once, such as pings of its own, and with
    /// what. A message is answered if all of it is the text; it goes to the backend as well, and does
    /// not count for `stale_after`. An answer that finds the outbox full is left out.
    ///
    /// Unit: `{ when = "TEXT", send = "TEXT" }`, 16 at most. Default: none. Cost: a comparison of each
    /// text message with each of them.
    #[serde(default)]
    pub reply: Vec<Reply>,
    /// Says what a message must contain before the connection counts as ready.
    ///
    /// Unit: text. Default: none, open is ready. Cost: a search in each message until it is found.
    #[serde(default)]
    pub ready_on: Option<String>,
    /// Bounds how long an open connection may take to become ready; then it is closed with 1001,
    /// cause `stale`.
    ///
    /// Unit: duration, above zero. Default: 30s. Cost: an upstream that accepts and then says
    /// nothing is held for as long.
    #[serde(default = "thirty_seconds", deserialize_with = "values::duration")]
    pub ready_within: Duration,
    /// Sends a message at an interval.
    ///
    /// Unit: `{ send = "TEXT", every = "15s" }`. Default: none. Cost: its bytes.
    #[serde(default)]
    pub heartbeat: Option<Heartbeat>,
    /// Says when to dial again.
    #[serde(default)]
    pub reconnect: Reconnect,
    /// Replaces the connection at this age, up to a tenth earlier, so that many do not at once: the
    /// new one is ready before the old one is closed with 1000.
    ///
    /// Unit: duration; 0s = off. Default: 0s. Cost: two connections for a moment, and whatever both
    /// of them are sent.
    #[serde(default, deserialize_with = "values::duration")]
    pub rotate_after: Duration,
    /// Bounds the time without data messages from the upstream (Pongs do not count); then the
    /// connection is closed with 1001, cause `stale`, and dialled again.
    ///
    /// Unit: duration; 0s = off. Default: 0s. Cost: a look at a counter eight times in as long.
    #[serde(default, deserialize_with = "values::duration")]
    pub stale_after: Duration,
    /// Overrides single keys of `[limits]`; unless it is set here, `max_message_size` is 16MiB, and
    /// none with a relay backend.
    #[serde(default)]
    pub limits: ConnectionLimits,
    /// Overrides single keys of `[keepalive]`.
    #[serde(default)]
    pub keepalive: RouteKeepalive,
    /// Overrides single keys of `[close]`.
    #[serde(default)]
    pub close: RouteClose,
}

impl Dialer {
    /// Makes a dialer with defaults; messages go nowhere.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            headers: BTreeMap::new(),
            subprotocols: Vec::new(),
            tags: BTreeMap::new(),
            ca_file: None,
            proxy: None,
            proxy_credentials: None,
            connect_timeout: ten_seconds(),
            backend: DialerBackend::None,
            inject: false,
            on_open: Vec::new(),
            reply: Vec::new(),
            ready_on: None,
            ready_within: thirty_seconds(),
            heartbeat: None,
            reconnect: Reconnect::default(),
            rotate_after: Duration::ZERO,
            stale_after: Duration::ZERO,
            limits: ConnectionLimits::default(),
            keepalive: RouteKeepalive::default(),
            close: RouteClose::default(),
        }
    }

    /// Returns what holds for the dialer's connections: the sections of the configuration, overridden
    /// key by key.
    pub fn settings(&self, sections: &ConnectionSettings) -> ConnectionSettings {
        let feed = match &self.backend {
            DialerBackend::Relay(_) => self.limits.passing(),
            DialerBackend::Echo | DialerBackend::None => ConnectionLimits {
                max_message_size: Some(self.limits.max_message_size.unwrap_or(FEED_MESSAGE)),
                ..self.limits.clone()
            },
        };
        sections.overridden(feed.over(&sections.limits), &self.keepalive, &self.close)
    }
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

/// Where a secret comes from; it is read when it is needed, and never shown.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
#[non_exhaustive]
pub enum SecretSource {
    /// An environment variable holds it.
    Env(String),
    /// A file holds it; a line end at its end is no part of it.
    File(PathBuf),
    /// It stands right here, so in the configuration it should be none.
    Value(#[serde(deserialize_with = "values::secret")] Secret),
}

/// Where a dialer's messages go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DialerBackend {
    /// Back to the peer.
    Echo,
    /// Nowhere: the connection is kept, and what comes is counted.
    #[default]
    None,
    /// To an application, frame by frame; it is asked before each dial.
    Relay(Box<RelayBackend>),
}

/// The words that `backend.kind` of a dialer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DialerBackendKind {
    Echo,
    None,
    Relay,
    Webhook,
    Nats,
}

/// A backend as it is written: its kind decides which other keys it takes.
#[derive(Deserialize)]
#[serde(rename = "backend", deny_unknown_fields)]
struct WrittenBackend {
    kind: DialerBackendKind,
    url: Option<UpstreamUrl>,
    ca_file: Option<Option<PathBuf>>,
    #[serde(default, deserialize_with = "values::some_duration")]
    connect_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "values::some_duration")]
    response_timeout: Option<Duration>,
    tries: Option<u32>,
    check_utf8: Option<bool>,
    on_client_lost: Option<OnClientLost>,
    #[serde(default, deserialize_with = "some_close_code")]
    on_backend_lost: Option<CloseCode>,
    source_addresses: Option<Vec<IpAddr>>,
    max_message_size: Option<Option<ByteSize>>,
}

relay_keys! {
    WrittenBackend:
    ca_file, connect_timeout, response_timeout, tries, check_utf8, on_client_lost, on_backend_lost,
    source_addresses, max_message_size,
}

impl<'de> Deserialize<'de> for DialerBackend {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut written = WrittenBackend::deserialize(deserializer)?;
        let (kind, url) = (written.kind, written.url.take());
        let key = url.as_ref().map(|_| "url").or_else(|| written.first_key());
        let alone = |backend| match key {
            None => Ok(backend),
            Some(key) => Err(de::Error::custom(format!("this backend takes no {key}: remove it"))),
        };
        match (kind, url) {
            (DialerBackendKind::Echo, _) => alone(Self::Echo),
            (DialerBackendKind::None, _) => alone(Self::None),
            (DialerBackendKind::Relay, Some(url)) => {
                // Servers restart; this end is a client, and goes away.
                let on_backend_lost = CloseCode::GOING_AWAY;
                let default = RelayBackend { on_backend_lost, ..RelayBackend::new(url) };
                Ok(Self::Relay(Box::new(written.over(default))))
            }
            (DialerBackendKind::Relay, None) => {
                Err(de::Error::custom("a relay backend needs the url of the application"))
            }
            // The refusal by name stands in `refusals`; it replaces this message.
            (DialerBackendKind::Webhook | DialerBackendKind::Nats, _) => {
                Err(de::Error::custom("not in this version"))
            }
        }
    }
}

/// One step of the opening dialogue of a dialer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpeningStep {
    /// What is sent, if anything.
    pub send: Option<String>,
    /// What a later message must contain before the next step, or before the connection is ready.
    pub wait_for: Option<String>,
}

impl<T: Into<String>> From<T> for OpeningStep {
    /// Makes a step that sends a text and waits for nothing.
    fn from(text: T) -> Self {
        Self { send: Some(text.into()), wait_for: None }
    }
}

/// A step as a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStep {
    send: Option<String>,
    wait_for: Option<String>,
}

impl<'de> Deserialize<'de> for OpeningStep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> de::Visitor<'de> for Forms {
            type Value = OpeningStep;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or { send = \"TEXT\", wait_for = \"TEXT\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OpeningStep, E> {
                Ok(text.into())
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<OpeningStep, A::Error> {
                let step = WrittenStep::deserialize(MapAccessDeserializer::new(map))?;
                Ok(OpeningStep { send: step.send, wait_for: step.wait_for })
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

/// A text of the upstream, and what answers it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// Sets the text that is answered: all of a text message.
    ///
    /// Unit: text, not empty. Required. Cost: none.
    pub when: String,
    /// Sets the answer.
    ///
    /// Unit: text. Required. Cost: its bytes.
    pub send: String,
}

/// A message that is sent at an interval.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Sets the message.
    ///
    /// Unit: text. Required. Cost: its bytes.
    pub send: String,
    /// Sets the interval; a beat that finds the outbox full is left out.
    ///
    /// Unit: duration, above zero. Required. Cost: none.
    #[serde(deserialize_with = "values::duration")]
    pub every: Duration,
}

/// When a dialer dials again; how the last connection ended decides whether.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reconnect {
    /// Sets the shortest wait.
    ///
    /// Unit: duration, above zero. Default: 200ms. Cost: a dial per wait.
    #[serde(deserialize_with = "values::duration")]
    pub min: Duration,
    /// Sets the longest wait, but for what the peer itself asks for (`Retry-After`).
    ///
    /// Unit: duration, at least `min`. Default: 30s. Cost: an upstream that is back is noticed up to
    /// as much later.
    #[serde(deserialize_with = "values::duration")]
    pub max: Duration,
    /// Sets how long a connection must hold before the wait starts at `min` again.
    ///
    /// Unit: duration. Default: 60s. Cost: none; at 0s peers that flap are hammered.
    #[serde(deserialize_with = "values::duration")]
    pub stable_after: Duration,
    /// Lists the peer's close codes after which the dialer gives up until it is resumed.
    ///
    /// Unit: codes, 1000–4999. Default: none. Cost: none.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_has_defaults_of_its_own_and_others_take_none_of_its_keys() {
        let read = |text: &str| {
            let value: ::config::Value = ::config::Config::builder()
                .add_source(::config::File::from_str(text, ::config::FileFormat::Toml))
                .build()
                .unwrap()
                .cache;
            DialerBackend::deserialize(value)
        };
        let DialerBackend::Relay(relay) = read("kind = 'relay'\nurl = 'ws://a/b'").unwrap() else {
            panic!("no relay")
        };
        assert_eq!(relay.on_backend_lost, CloseCode::GOING_AWAY);
        assert_eq!(relay.urls[0].as_str(), "ws://a/b");
        for wrong in [
            "kind = 'relay'",
            "kind = 'echo'\nurl = 'ws://a'",
            "kind = 'none'\ntries = 2",
            "kind = 'relay'\nurl = 'ws://a'\nhttp = 'proxy'",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_feed_may_send_larger_messages_than_a_client() {
        let config = ConnectionSettings::default();
        let mut dialer = Dialer::new("feed", "ws://a");
        let limits = dialer.settings(&config).limits;
        assert_eq!(limits.max_message_size, ByteSize::mib(16));
        assert_eq!(limits.max_frame_size, ByteSize::mib(16));
        dialer.limits.max_message_size = Some(ByteSize::mib(2));
        assert_eq!(dialer.settings(&config).limits.max_message_size, ByteSize::mib(2));
    }
}
