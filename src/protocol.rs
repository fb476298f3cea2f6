//! RFC 6455, and how HTTP/1.1 frames requests, pure: no I/O, no clock, nothing awaited.
//!
//! Methods are getters, `handle_*` (takes an input) and `poll_*` (yields what is due). Time comes
//! in as an argument.

pub mod classification;
pub mod closing_handshake;
pub mod frame_encoder;
pub mod frame_scanner;
pub mod keepalive;
pub mod passage;
pub mod request_framing;
pub mod uri_host;
