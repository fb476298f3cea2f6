//! Dialers against real servers: when they dial again, how one connection replaces another, and
//! that a thousand of them are no storm.

// What fails in a helper of a test fails the test, and nothing here is exported.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod support;

mod dialers {
    mod crowd;
    mod feeding;
    mod reconnecting;
    mod relaying;
    mod rotating;
    mod stage;
    mod stopping;
}
