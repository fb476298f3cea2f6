//! The configuration: the typed schema of CONTRACT.md section 6 and its layered loading.
//!
//! [`load`] lays the layers over each other, refuses what is unknown, ill-typed, contradictory or
//! not built yet, and says where it stands: file, line, key and remedy. What it returns is valid,
//! so nothing behind it checks again. Every type has a [`Default`] that equals the commented
//! defaults of `config/lastword.toml`, so embedders build [`ConnectionSettings`] without a file.

mod control;
mod dialers;
mod error;
mod layers;
mod ledger;
mod limits;
mod loading;
mod overrides;
mod patching;
mod patterns;
mod refusals;
mod relay;
mod reserved;
mod routing;
mod schema;
mod templates;
mod tree;
mod validation;
mod values;

#[cfg(test)]
mod tests;

pub use dialers::{Dialer, DialerBackend, Heartbeat, OpeningStep, Reconnect, Reply, SecretSource};
pub use limits::{Limits, OnFull};
pub use overrides::ConnectionSettings;
pub use patterns::{OriginPattern, PathPattern};
pub use relay::{
    HealthPath, HostHeader, InvalidHealthPath, InvalidUpstream, OnClientLost, PlainHttp,
    RelayBackend, UpstreamUrl,
};
pub use schema::{Close, Config, Keepalive, QueryRecording, Records};
pub use templates::{PathTemplate, TagTemplate};
pub use values::{ByteSize, InvalidValue, Spread};

// The daemon's own.
#[doc(hidden)]
pub use control::Control;
#[doc(hidden)]
pub use error::{ConfigError, Place, Remedy};
#[doc(hidden)]
pub use ledger::{FailurePolicy, Ledger, Synchronous};
#[doc(hidden)]
pub use limits::MemoryLimit;
#[doc(hidden)]
pub use loading::{Loaded, Sources, load, load_all};
#[doc(hidden)]
pub use overrides::{RouteClose, RouteKeepalive, RouteLimits};
#[doc(hidden)]
pub use patterns::{HostName, host_matches, origin_allowed};
#[doc(hidden)]
pub use reserved::{Auth, RouteAuth, Tls};
#[doc(hidden)]
pub use routing::{Backend, BackendKind, Listener, Route};
#[doc(hidden)]
pub use schema::{Drain, Health, Log, LogFormat, Node};
#[doc(hidden)]
pub use templates::{UnfitTag, tags_of};
#[doc(hidden)]
pub use validation::Violation;
