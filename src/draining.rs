//! Drains: closing many connections, paced, within a bounded time.

pub(crate) mod drain;
pub(crate) mod job;
pub(crate) mod options;
