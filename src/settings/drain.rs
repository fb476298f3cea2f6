//! When, how fast and with which Close a node stops.

use std::time::Duration;

use serde::Deserialize;

use super::values::{self, Spread};
use crate::vocabulary::{CloseCode, CloseReason};

/// Says how to stop: when, how fast and with which Close.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// Sets how long, after SIGTERM, the node is not ready and still accepts.
    ///
    /// Unit: duration. Default: 0s. Cost: stopping takes as much longer; behind a load balancer,
    /// take its probe interval.
    #[serde(deserialize_with = "values::duration")]
    pub delay: Duration,
    /// Bounds the drain after `delay`; connections still open then end as `drain_deadline`.
    ///
    /// Unit: duration; 0s = no patience. Default: 60s. Cost: stopping takes up to `delay` +
    /// `within`; systemd's `TimeoutStopSec` must be longer.
    #[serde(deserialize_with = "values::duration")]
    pub within: Duration,
    /// Sets over how long Closes are sent, so that clients do not all come back at once.
    ///
    /// Unit: duration, at most `within`, or `auto`: at once for few, over half of `within` for
    /// many. Default: auto. Cost: stopping takes at least as long.
    pub spread: Spread,
    /// Chooses the close code that peers get.
    ///
    /// Unit: 1000–1003, 1007–1014 or 3000–4999. Default: 1012 (service restart). Cost: none; after
    /// 1000 many clients never come back.
    #[serde(deserialize_with = "values::close_code")]
    pub code: CloseCode,
    /// Chooses the close reason that peers get.
    ///
    /// Unit: text of at most 123 bytes. Default: "service restart". Cost: its bytes, once per peer.
    #[serde(deserialize_with = "values::close_reason")]
    pub reason: CloseReason,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            within: Duration::from_secs(60),
            spread: Spread::Auto,
            code: CloseCode::SERVICE_RESTART,
            // Short enough that nothing is cut.
            reason: CloseReason::truncated("service restart"),
        }
    }
}
