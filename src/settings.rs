//! What holds for a connection, a route, a dialer and the ledger: values that a program builds, and
//! that a configuration file says by the same names.
//!
//! Every type has a [`Default`] that equals the commented defaults of `config/lastword.toml`.
//! [`ConnectionSettings`] is what most programs need: limits, keepalive, closing handshake, records.
//!
//! ```
//! use std::time::Duration;
//! use lastword::settings::{ByteSize, ConnectionSettings};
//!
//! let mut settings = ConnectionSettings::default();
//! settings.keepalive.ping_interval = Duration::from_secs(10);
//! settings.limits.max_message_size = ByteSize::mib(4);
//! settings.close.timeout = Duration::from_secs(5);
//! let route = lastword::Route::echo("/echo")?.with_settings(settings);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod auth;
mod close;
mod control;
mod dialers;
mod drain;
mod keepalive;
mod ledger;
mod limits;
mod origins;
mod overrides;
mod path_template;
pub(crate) mod patterns;
mod records;
pub(crate) mod relay;
mod replace;
mod templates;
mod tls;
mod trusted_proxies;
pub(crate) mod values;

pub use auth::{
    Algorithm, Auth, HttpAuth, HttpUrl, InvalidHttpUrl, InvalidTokenSource, JwtAuth, JwtKeys,
    TokenSource,
};
pub use close::Close;
pub use dialers::{Dialer, DialerBackend, Heartbeat, OpeningStep, Reconnect, Reply, SecretSource};
pub use keepalive::Keepalive;
pub use ledger::{FailurePolicy, Ledger, Synchronous};
pub use limits::{Limits, MemoryLimit, OnFull, OnRate};
pub use origins::OriginPattern;
pub use overrides::{
    ConnectionLimits, ConnectionSettings, RouteClose, RouteKeepalive, RouteLimits,
};
pub use path_template::PathTemplate;
pub use patterns::PathPattern;
pub use records::{QueryRecording, Records};
pub use relay::{
    HealthPath, HostHeader, InvalidHealthPath, InvalidUpstream, OnClientLost, PlainHttp,
    RelayBackend, UpstreamUrl,
};
pub use replace::Replace;
pub use templates::TagTemplate;
pub use tls::{CertificateFiles, ClientAuth, Tls, TlsVersion};
pub use trusted_proxies::{Forwarded, Proxies, TrustedProxy};
pub use values::{ByteSize, InvalidValue, Spread};

pub use crate::policy::admission::RouteCapacity;

// The daemon's own.
#[doc(hidden)]
pub use control::Control;
#[doc(hidden)]
pub use drain::Drain;
#[doc(hidden)]
pub use origins::{PageRequest, default_origins, origin_allowed};
#[doc(hidden)]
pub use patterns::{HostName, host_matches};
#[doc(hidden)]
pub use templates::{UnfitTag, tags_of};
#[doc(hidden)]
pub use tls::TlsKeys;
