//! Every way in which a connection can end, on real sockets: what the peer sees on the wire and
//! what the ending says of it.

// What fails in a helper of a test fails the test, and nothing here is exported.
#![allow(unreachable_pub, clippy::unwrap_used)]

mod support;

/// What the tests run over; `tests/tls.rs` runs some of them again, over TLS.
mod transport {
    pub const OVER_TLS: bool = false;
}

mod endings {
    mod abrupt;
    mod active;
    mod capacity;
    mod crowd;
    mod decided_cases;
    mod dialling;
    mod keepalive;
    mod late_resets;
    mod listening;
    mod losses;
    mod passive;
    mod pressure;
    mod stage;
    mod tls;
    mod violations;
}
