//! Pings, idle time and age.

use std::time::Duration;

use serde::Deserialize;

use super::values;

/// Finds peers that are gone, idle or too old.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keepalive {
    /// Sets the time between Pings, jittered by 10 %.
    ///
    /// Unit: duration; 0s = off. Default: 25s, below the 30 s after which many middleboxes forget a
    /// flow. Cost: one small packet each way per connection and interval; off, a vanished peer is
    /// noticed only when something is written.
    #[serde(deserialize_with = "values::duration")]
    pub ping_interval: Duration,
    /// Bounds the wait for a sign of life after a Ping: a Pong, other bytes, or an acknowledgement.
    ///
    /// Unit: duration; above zero while `ping_interval` is. Default: 20s. Cost: a vanished peer is
    /// kept for up to `ping_interval` + `pong_timeout`; too short ends peers on bad networks.
    #[serde(deserialize_with = "values::duration")]
    pub pong_timeout: Duration,
    /// Bounds the time without data either way; Pings and Pongs are not data.
    ///
    /// Unit: duration; 0s = off. Default: 0s. Cost: none; ends idle connections with 3008.
    #[serde(deserialize_with = "values::duration")]
    pub idle_timeout: Duration,
    /// Bounds the age of a connection.
    ///
    /// Unit: duration; 0s = off. Default: 0s. Cost: a reconnect per client and period; closes with
    /// 1001, after which clients come back.
    #[serde(deserialize_with = "values::duration")]
    pub max_age: Duration,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(20),
            idle_timeout: Duration::ZERO,
            max_age: Duration::ZERO,
        }
    }
}
