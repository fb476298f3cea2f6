//! What becomes of a connection when a part of it dies, and that nothing moves without need.

mod bench;
mod deaths;
mod panics;
mod registry;
mod shutdown;
mod waking;
