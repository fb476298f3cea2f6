//! Listeners: what happens to a client from its TCP connection until a backend serves it.

pub(crate) mod listener;
pub(crate) mod route;
