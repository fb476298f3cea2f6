//! The limits of a node, and what exceeds one of them.

use crate::vocabulary::{Limit, OpenFailure};

/// The limits of a node; 0 means no limit. An IPv6 network (/64) counts as one address, because one
/// subscriber has all of it and could use another address for each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdmissionLimits {
    /// Connections, including admitted attempts that are not open yet.
    pub max_connections: u64,
    /// The same, from one address.
    pub max_connections_per_ip: u64,
    /// Opening handshakes per second.
    pub handshakes_per_second: u64,
    /// The same, from one address.
    pub accept_rate_per_ip: u64,
    /// Sockets from one address whose request has not arrived yet.
    pub half_open_per_ip: u64,
    /// Clients whose requests are passed on as plain HTTP; they do not count as connections.
    pub max_http_connections: u64,
    /// Plain HTTP requests per second.
    pub http_requests_per_second: u64,
}

/// How many connections a route may have, beside the limits of the node.
///
/// The clients' connections count, not those to applications. 0 means no limit, and is the default
/// of each. Beyond a limit handshakes get 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RouteCapacity {
    /// Bounds the open connections of the route, on all listeners.
    pub max_connections: u64,
    /// Bounds those from one IP address; an IPv6 network (/64) counts as one.
    pub max_connections_per_ip: u64,
    /// Bounds those of one subject. It is of no use with `replace`, by which a
    /// subject has one.
    pub max_connections_per_subject: u64,
}

/// Why a connection was not admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAdmitted {
    /// `refused_limit` or `refused_rate`.
    pub failure: OpenFailure,
    /// Which limit it was.
    pub limit: Limit,
}

pub(super) fn within(name: &'static str, limit: u64, count: u64) -> Result<(), NotAdmitted> {
    if limit == 0 || count < limit {
        return Ok(());
    }
    let limit = Limit { name, limit, observed: count + 1 };
    Err(NotAdmitted { failure: OpenFailure::RefusedLimit, limit })
}

pub(super) fn too_fast(name: &'static str, limit: u64) -> NotAdmitted {
    let limit = Limit { name, limit, observed: limit.saturating_add(1) };
    NotAdmitted { failure: OpenFailure::RefusedRate, limit }
}
