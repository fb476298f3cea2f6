//! The WebSocket protocol (RFC 6455) and the framing of HTTP/1.1 requests, sans I/O: no sockets, no
//! clock, no futures.
//!
//! Methods are getters, `handle_*` (takes an input) and `poll_*` (returns what is due). Time comes in
//! as an argument.

pub mod classification;
pub mod closing_handshake;
pub mod forwarded;
pub mod frame_encoder;
pub mod frame_scanner;
pub mod header_names;
pub mod keepalive;
pub mod passage;
pub mod proxy_header;
pub mod request_framing;
pub mod uri_host;
pub mod url;
