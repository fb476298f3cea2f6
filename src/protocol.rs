//! RFC 6455, pure: no I/O, no clock.

pub mod frame_scanner;
