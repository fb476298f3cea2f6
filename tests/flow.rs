//! What flows and what stops flowing: backpressure, limits, late messages, drains, events.
// What fails in a helper of a test fails the test, and nothing here is exported.
#![allow(unreachable_pub, clippy::expect_used, clippy::unwrap_used)]

mod support;

mod flow {
    mod backpressure;
    mod broadcasting;
    mod closing;
    mod deciding;
    mod drain_jobs;
    mod draining;
    mod examples;
    mod holding_back;
    mod in_flight;
    mod memory;
    mod owning;
    mod publishing;
    mod receiving;
    mod replacing;
    mod revoking;
    mod sending;
    mod stage;
    mod stopping_and_going_on;
    mod tracing_spans;
    mod upgrading;
    mod waiting_for_itself;
}
