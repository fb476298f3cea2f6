//! The truth of endings: scripts end connections in every way at every point, write down what they
//! do before they do it, and are joined with the ledger.
//!
//! ```text
//! cargo test --test truth                                        # 2,000 scripts
//! TRUTH_SEED=7 TRUTH_ONLY=1234 cargo test --test truth           # one of them
//! tests/truth/run 1000000                                        # as many as one likes
//! ```

// What fails in a helper of a test fails the test, and nothing here is exported.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod support;

mod truth {
    mod altered;
    mod block;
    mod coverage;
    mod dice;
    mod draw;
    mod expected;
    mod journal;
    mod judge;
    mod paths;
    mod peer;
    mod plan;
    mod player;
    mod record;
    mod run;
    mod stage;
    mod world;

    #[path = "../control/client.rs"]
    #[allow(dead_code)]
    mod client;
}
