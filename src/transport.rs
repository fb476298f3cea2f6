//! Sockets, the opening handshake, and the reading of messages.
//!
//! Nothing here decides: what is refused, and in which order, is its owner's word; how that is
//! said on the wire, and what the wire said, is this layer's.

pub mod bind;
pub mod dial;
mod handshake_key;
pub mod http_probe;
pub mod http_proxy;
mod io_end;
pub mod opening_handshake;
pub mod proxy;
pub mod reach;
pub mod shared_tcp;
pub mod socket;
mod source_port;
mod tcp_info;
pub mod tls;
pub mod upstream;
pub mod websocket;
