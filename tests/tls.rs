//! TLS on listeners: how clients get in, what keeps them out, and certificates that follow their files.

// What fails in a helper of a test fails the test, and nothing here is exported.
#![allow(unreachable_pub, clippy::unwrap_used)]

mod support;

mod tls {
    mod certificates;
    mod clients;
    mod refusals;
    mod stage;
}
