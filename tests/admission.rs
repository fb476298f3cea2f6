//! Who may connect: tokens, an HTTP endpoint, refusals word by word, expiry and renewal, against the
//! daemon.

// What fails in a helper of a test fails the test, and nothing here is exported.
#![allow(unreachable_pub, clippy::unwrap_used)]

mod support;

mod admission {
    mod endpoint;
    mod expiring;
    mod keys;
    mod plain_http;
    mod refusals;
    mod relaying;
    mod revoking;
    mod stage;
    mod tokens;
}
