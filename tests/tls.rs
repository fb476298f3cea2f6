//! TLS: how clients get in, what keeps them out, certificates that follow their files, and every way in
//! which a connection over TLS can end.

// What fails in a helper of a test fails the test, and nothing here is exported.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod support;

/// What the tests run over: those of endings and of the relay run here over TLS, with TLS on both legs of
/// a relay.
mod transport {
    pub const OVER_TLS: bool = true;
}

mod tls {
    mod certificates;
    mod clients;
    mod direct;
    mod identity;
    mod refusals;
    mod stage;
    mod torture;
    mod trust;
}

#[path = "endings"]
#[allow(dead_code)] // A part of its stage is for tests that are not here.
mod endings {
    mod abrupt;
    mod active;
    mod decided_cases;
    mod keepalive;
    mod passive;
    mod pressure;
    pub mod stage;
    mod violations;
}

#[path = "relay"]
#[allow(dead_code)] // As above.
mod relay {
    mod closing;
    mod flowing;
    mod injecting;
    mod losses;
    pub mod stage;
}
