//! A relay from outside: a client on one side, an application on the other, both of raw bytes or real
//! ones; what each sees on the wire, and what the two endings say.

// What fails in a helper of a test fails the test, and nothing here is exported.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod support;

/// What the tests run over; `tests/tls.rs` runs some of them again, over TLS.
mod transport {
    pub const OVER_TLS: bool = false;
}

mod relay {
    mod app;
    mod closing;
    mod flowing;
    mod front;
    mod hostile;
    mod injecting;
    mod keeping;
    mod leaving;
    mod losses;
    mod opening;
    mod plain_end;
    mod plain_http;
    mod plain_limits;
    mod proxied;
    mod repairing;
    mod several;
    mod sizes;
    mod stage;
    mod stalling;
    mod timing;
}
