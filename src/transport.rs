//! Sockets, TLS, the opening handshake, HTTP proxying, and the reading of messages.
//!
//! This layer reads and writes the wire. What is refused, and in which order, is decided by its
//! callers.

pub mod any_socket;
pub mod bind;
pub mod connect;
pub mod dial;
pub mod direct_writer;
pub(crate) mod handshake_key;
pub mod http_get;
pub mod http_probe;
pub mod http_proxy;
pub mod idle_pool;
pub mod inherited;
mod io_end;
pub mod opening_handshake;
pub mod proxy;
pub mod proxy_header;
pub mod shared_tcp;
pub mod socket;
mod source_port;
pub(crate) mod tcp_info;
#[cfg(not(feature = "tls"))]
#[path = "transport/without_tls.rs"]
pub mod tls;
#[cfg(feature = "tls")]
pub mod tls;
pub mod upstream;
pub mod websocket;
