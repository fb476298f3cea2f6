//! The applications behind routes, as they fare.

use std::time::SystemTime;

/// How an application fares that a route passes connections on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendStatus {
    /// The name of the route.
    pub route: String,
    /// Its place among the route's, from 0.
    pub number: usize,
    /// Where it is, without what may be secret.
    pub url: String,
    /// Whether it gets clients, and if not, why.
    pub state: BackendState,
    /// When it gets clients again, if it is ejected.
    pub ejected_until: Option<SystemTime>,
    /// What its health path said last; `true` if it was never asked.
    pub healthy: bool,
    /// Clients that it has, those included that it has not answered.
    pub connections: u64,
    /// Failures in a row.
    pub failures: u32,
    /// Clients that were sent there.
    pub chosen: u64,
    /// Times that it was ejected.
    pub ejections: u64,
}

words! {
    /// Whether an application gets clients; the strongest reason why not.
    #[non_exhaustive]
    pub enum BackendState {
        /// It gets clients.
        Serving = "serving",
        /// It has failed too often, and gets none for a while.
        Ejected = "ejected",
        /// It says that it is not well.
        Unhealthy = "unhealthy",
        /// Somebody drains it.
        Draining = "draining",
    }
}
