//! Tests of connections whose actor, mover or handler dies, and of idle connections.

mod bench;
mod deaths;
mod expiring;
mod panics;
mod registry;
mod shutdown;
mod waking;
