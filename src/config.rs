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

pub use control::Control;
pub use dialers::{Dialer, DialerBackend, Heartbeat, OpeningStep, Reconnect, Reply, SecretSource};
pub use error::{ConfigError, Place, Remedy};
pub use ledger::{FailurePolicy, Ledger, Synchronous};
pub use limits::{Limits, MemoryLimit, OnFull};
pub use loading::{Loaded, Sources, load, load_all};
pub use overrides::{ConnectionSettings, RouteClose, RouteKeepalive, RouteLimits};
pub use patterns::{HostName, OriginPattern, PathPattern, host_matches, origin_allowed};
pub use relay::{
    HealthPath, HostHeader, InvalidHealthPath, InvalidUpstream, OnClientLost, PlainHttp,
    RelayBackend, UpstreamUrl,
};
pub use reserved::{Auth, RouteAuth, Tls};
pub use routing::{Backend, BackendKind, Listener, Route};
pub use schema::{
    Close, Config, Drain, Health, Keepalive, Log, LogFormat, Node, QueryRecording, Records,
};
pub use templates::{PathTemplate, TagTemplate, UnfitTag, tags_of};
pub use validation::Violation;
pub use values::{ByteSize, InvalidValue, Spread};
