//! The status of the applications behind relay routes.

use std::time::SystemTime;

/// The status of one application of a relay route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendStatus {
    /// The name of the route.
    pub route: String,
    /// Its number among the route's applications, from 0.
    pub number: usize,
    /// Its URL, with possible secrets masked.
    pub url: String,
    /// Whether it gets new clients, and if not, why.
    pub state: BackendState,
    /// When its ejection ends, if it is ejected.
    pub ejected_until: Option<SystemTime>,
    /// The result of its last health check; `true` before the first.
    pub healthy: bool,
    /// Its connections, including those that it has not answered yet.
    pub connections: u64,
    /// Consecutive failures.
    pub failures: u32,
    /// How often it was chosen for a client.
    pub chosen: u64,
    /// How often it was ejected.
    pub ejections: u64,
}

contract_enum! {
    /// Whether an application gets new clients, or the strongest reason why not.
    #[non_exhaustive]
    pub enum BackendState {
        /// It gets new clients.
        Serving = "serving",
        /// It failed too often, and gets no new clients for a while.
        Ejected = "ejected",
        /// Its health check fails.
        Unhealthy = "unhealthy",
        /// An operator drains it.
        Draining = "draining",
    }
}
