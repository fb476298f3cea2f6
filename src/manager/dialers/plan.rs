//! The options of a dialer.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::actor::backend::Backend;
use crate::connection::watch::{Sought, Watch};
use crate::manager::dialling::Target;
use crate::policy::reconnect::ReconnectPolicy;
use crate::relay::Relay;
use crate::settings::values::unless_zero;
use crate::settings::{
    ConnectionSettings, Dialer, DialerBackend, OpeningStep, RelayBackend, Reply,
};
use crate::transport::dial::{InvalidUrl, WsUrl};
use crate::transport::tls::Trust;
use crate::vocabulary::{Message, Requester};

type MakeBackend = Arc<dyn Fn() -> Backend + Send + Sync>;

/// The options of a dialer, for [`Supervisor::keep`].
///
/// [`Supervisor::keep`]: crate::Supervisor::keep
#[derive(Clone)]
pub struct DialerOptions {
    /// The options that a configuration file has too. Changes of `backend`, `limits`, `keepalive`
    /// and `close` have no effect here; use the methods instead.
    pub dialer: Dialer,
    settings: ConnectionSettings,
    destination: Destination,
    by: Option<Requester>,
}

/// The destination of messages.
#[derive(Clone)]
enum Destination {
    /// A backend, made for each connection.
    Backend(MakeBackend),
    /// An application that frames are relayed to.
    Relay(Box<RelayBackend>),
}

impl DialerOptions {
    /// Makes options with defaults; messages are discarded.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self::of(Dialer::new(name, url), &ConnectionSettings::default())
    }

    /// Makes options from a configured dialer, with the sections that apply to all connections.
    pub fn of(dialer: Dialer, sections: &ConnectionSettings) -> Self {
        let settings = dialer.settings(sections);
        let destination = match &dialer.backend {
            DialerBackend::Echo => Destination::Backend(Arc::new(Backend::echo)),
            DialerBackend::None => Destination::Backend(Arc::new(Backend::none)),
            DialerBackend::Relay(relay) => Destination::Relay(relay.clone()),
        };
        Self { dialer, settings, destination, by: None }
    }

    /// Sets the function that makes a backend for each connection.
    #[must_use]
    pub fn backend(mut self, backend: impl Fn() -> Backend + Send + Sync + 'static) -> Self {
        self.destination = Destination::Backend(Arc::new(backend));
        self
    }

    /// Relays to an application, which is connected before each dial.
    #[cfg(feature = "relay")]
    #[must_use]
    pub fn relay(mut self, relay: RelayBackend) -> Self {
        self.destination = Destination::Relay(Box::new(relay));
        self
    }

    /// Returns whether a dialer can be made of these options.
    pub(crate) fn check(&self) -> Result<(), InvalidUrl> {
        Plan::try_from(self.clone()).map(drop)
    }

    /// Sets who starts the dialer, for its status.
    #[must_use]
    pub fn by(mut self, by: Requester) -> Self {
        self.by = Some(by);
        self
    }

    /// Sets the settings of its connections; `limits.handshake_timeout` bounds their opening
    /// handshakes.
    #[must_use]
    pub fn settings(mut self, settings: ConnectionSettings) -> Self {
        self.settings = settings;
        self
    }
}

/// The messages to send when a connection opens, those to wait for in between, and the replies.
pub(super) struct Opening {
    /// The messages to send before the first wait.
    pub(super) first: Vec<Message>,
    /// The messages to send afterwards, each with the number of waits that come before it.
    pub(super) later: Vec<(usize, Message)>,
    sought: Sought,
}

impl Opening {
    fn new(steps: Vec<OpeningStep>, ready_on: Option<String>, replies: Vec<Reply>) -> Self {
        let (mut first, mut later, mut waits) = (Vec::new(), Vec::new(), Vec::new());
        for OpeningStep { send, wait_for } in steps {
            match send.map(Message::text) {
                Some(message) if waits.is_empty() => first.push(message),
                Some(message) => later.push((waits.len(), message)),
                None => {}
            }
            waits.extend(wait_for);
        }
        let replies = replies.into_iter().map(|Reply { when, send }| (when, Message::text(send)));
        let sought = Sought { waits, ready_on, replies: replies.collect() };
        Self { first, later, sought }
    }

    /// Returns a watch of one connection's messages, if there are any to wait for or reply to.
    pub(super) fn watch(&self) -> Option<Arc<Watch>> {
        Watch::new(self.sought.clone())
    }

    /// Returns the number of waits.
    pub(super) fn waits(&self) -> usize {
        self.sought.waits.len()
    }

    /// Returns whether a connection becomes ready only some time after it has opened.
    pub(super) fn is_awaited(&self) -> bool {
        self.waits() > 0 || self.sought.ready_on.is_some()
    }
}

/// The validated options of a dialer.
pub(super) struct Plan {
    pub(super) name: Arc<str>,
    pub(super) target: Target,
    pub(super) backend: MakeBackend,
    pub(super) opening: Arc<Opening>,
    pub(super) ready_within: Duration,
    pub(super) heartbeat: Option<(Message, Duration)>,
    pub(super) reconnect: ReconnectPolicy,
    pub(super) rotate_after: Option<Duration>,
    pub(super) stale_after: Option<Duration>,
    /// How often the dialer was changed so that its connection has to be replaced.
    pub(super) renewal: u64,
    pub(super) by: Option<Requester>,
}

impl TryFrom<DialerOptions> for Plan {
    type Error = InvalidUrl;

    fn try_from(options: DialerOptions) -> Result<Self, InvalidUrl> {
        let DialerOptions { dialer, settings, destination, by } = options;
        dialer.url.parse::<WsUrl>()?;
        let (relay, backend): (_, MakeBackend) = match destination {
            Destination::Backend(backend) => (None, backend),
            Destination::Relay(relay) => {
                let relay = Relay::new(*relay)?;
                (Some(Arc::clone(&relay)), Arc::new(move || relay.backend()))
            }
        };
        let sourced = dialer.headers.into_iter().filter_map(|(name, source)| {
            // Validation has refused invalid names.
            Some((name.parse::<HeaderName>().ok()?, source))
        });
        let target = Target {
            sourced: sourced.collect(),
            subprotocols: dialer.subprotocols,
            settings: Arc::new(settings.bounded()),
            tags: dialer.tags,
            trust: Trust::of(dialer.ca_file.as_deref()),
            proxy: dialer.proxy,
            proxy_credentials: dialer.proxy_credentials,
            connect_timeout: dialer.connect_timeout,
            dialer: Some(dialer.name.clone()),
            relay,
            inject: dialer.inject,
            ..Target::new(&dialer.url)
        };
        Ok(Self {
            name: dialer.name.into(),
            target,
            backend,
            opening: Arc::new(Opening::new(dialer.on_open, dialer.ready_on, dialer.reply)),
            ready_within: dialer.ready_within,
            heartbeat: dialer.heartbeat.map(|beat| (Message::text(beat.send), beat.every)),
            reconnect: ReconnectPolicy {
                min: dialer.reconnect.min,
                max: dialer.reconnect.max,
                stable_after: dialer.reconnect.stable_after,
                never_on: dialer.reconnect.never_on,
            },
            rotate_after: unless_zero(dialer.rotate_after),
            stale_after: unless_zero(dialer.stale_after),
            renewal: 0,
            by,
        })
    }
}
