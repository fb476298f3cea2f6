//! Listeners: what happens to a client from its TCP connection until a backend has it.

pub(crate) mod listener;
pub(crate) mod route;
