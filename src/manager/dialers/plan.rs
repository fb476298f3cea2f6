//! What a dialer is to do.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::actor::backend::Backend;
use crate::connection::watch::{Sought, Watch};
use crate::manager::dialling::Target;
use crate::policy::reconnect::ReconnectPolicy;
use crate::relay::Relay;
use crate::settings::{
    ConnectionSettings, Dialer, DialerBackend, OpeningStep, RelayBackend, Reply,
};
use crate::transport::dial::{InvalidUrl, WsUrl};
use crate::transport::tls::Trust;
use crate::vocabulary::{Message, Requester};

type MakeBackend = Arc<dyn Fn() -> Backend + Send + Sync>;

/// What a dialer is to do: dial, say what is to be said, and hand messages to a backend.
#[derive(Clone)]
pub struct DialerOptions {
    /// What a configuration file would say; its `backend`, `limits`, `keepalive` and `close` have
    /// been looked at already, and changing them here changes nothing.
    pub dialer: Dialer,
    settings: ConnectionSettings,
    destination: Destination,
    by: Option<Requester>,
}

/// Where messages go.
#[derive(Clone)]
enum Destination {
    /// To what this makes for each connection.
    Backend(MakeBackend),
    /// To an application, frame by frame.
    Relay(Box<RelayBackend>),
}

impl DialerOptions {
    /// Makes a dialer with defaults; messages go nowhere.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self::of(Dialer::new(name, url), &ConnectionSettings::default())
    }

    /// Makes a dialer as a configuration describes it, over the sections that hold for all.
    pub fn of(dialer: Dialer, sections: &ConnectionSettings) -> Self {
        let settings = dialer.settings(sections);
        let destination = match &dialer.backend {
            DialerBackend::Echo => Destination::Backend(Arc::new(Backend::echo)),
            DialerBackend::None => Destination::Backend(Arc::new(Backend::none)),
            DialerBackend::Relay(relay) => Destination::Relay(relay.clone()),
        };
        Self { dialer, settings, destination, by: None }
    }

    /// Chooses where messages go: `backend` makes what one connection needs.
    #[must_use]
    pub fn backend(mut self, backend: impl Fn() -> Backend + Send + Sync + 'static) -> Self {
        self.destination = Destination::Backend(Arc::new(backend));
        self
    }

    /// Passes frames on to an application, which is asked before each dial.
    #[cfg(feature = "relay")]
    #[must_use]
    pub fn relay(mut self, relay: RelayBackend) -> Self {
        self.destination = Destination::Relay(Box::new(relay));
        self
    }

    /// Says who makes it, for its status.
    #[must_use]
    pub fn by(mut self, by: Requester) -> Self {
        self.by = Some(by);
        self
    }

    /// Sets what holds for its connections; `limits.handshake_timeout` for their opening, too.
    #[must_use]
    pub fn settings(mut self, settings: ConnectionSettings) -> Self {
        self.settings = settings;
        self
    }
}

/// What is said when a connection opens, what is waited for in between, and what is answered.
pub(super) struct Opening {
    /// What is sent before anything is waited for.
    pub(super) first: Vec<Message>,
    /// What is sent afterwards, each once so many of the waits have been met.
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

    /// Returns what looks at the messages of one connection, if there is something to look for.
    pub(super) fn watch(&self) -> Option<Arc<Watch>> {
        Watch::new(self.sought.clone())
    }

    /// Returns how many waits there are.
    pub(super) fn waits(&self) -> usize {
        self.sought.waits.len()
    }

    /// Tells whether a connection that opens is not ready yet.
    pub(super) fn is_awaited(&self) -> bool {
        self.waits() > 0 || self.sought.ready_on.is_some()
    }
}

/// The options, taken apart for use.
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
            // A name that is none was refused by validation.
            Some((name.parse::<HeaderName>().ok()?, source))
        });
        let target = Target {
            sourced: sourced.collect(),
            subprotocols: dialer.subprotocols,
            settings: Arc::new(settings.bounded()),
            tags: dialer.tags,
            trust: dialer.ca_file.map_or(Trust::Platform, Trust::file),
            proxy: dialer.proxy,
            proxy_credentials: dialer.proxy_credentials,
            connect_timeout: dialer.connect_timeout,
            dialer: Some(dialer.name.clone()),
            relay,
            inject: dialer.inject,
            ..Target::new(&dialer.url)
        };
        let unless_zero = |duration: Duration| (!duration.is_zero()).then_some(duration);
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
            by,
        })
    }
}
