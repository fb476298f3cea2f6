//! The configuration: the typed schema of CONTRACT.md section 6 and its layered loading.
//!
//! Loading lays the layers over each other, refuses what is unknown, ill-typed, contradictory or
//! not built yet, and says where it stands: file, line, key and remedy. What it returns is valid,
//! so nothing behind it checks again. Every type has a [`Default`] that equals the commented
//! defaults of `config/lastword.toml`, so embedders build [`ConnectionSettings`] without a file.

mod limits;
mod overrides;
mod patterns;
mod reserved;
mod routing;
mod schema;
mod values;

pub use limits::{Limits, MemoryLimit, OnFull};
pub use overrides::{ConnectionSettings, RouteClose, RouteKeepalive, RouteLimits};
pub use patterns::{OriginPattern, PathPattern};
pub use reserved::{
    Auth, Control, Dialer, FailurePolicy, Header, Heartbeat, Ledger, Reconnect, ReservedBackend,
    RouteAuth, Synchronous, Tls,
};
pub use routing::{Backend, BackendKind, Listener, Route};
pub use schema::{
    Close, Config, Drain, Health, Keepalive, Log, LogFormat, Node, QueryRecording, Records,
};
pub use values::{Address, ByteSize, InvalidValue, Spread};
