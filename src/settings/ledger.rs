//! The section `[ledger]`: where endings are kept, for how long, and what a failing disk means.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::values::{self, ByteSize};

/// Keeps endings on disk.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    /// Places the store; beside it live `PATH-wal`, `PATH-shm`, `PATH.lock` and `PATH.ended`.
    ///
    /// Unit: path; "" = no ledger, the newest 1,000 endings stay in memory. Default: `ledger.db` in
    /// `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/lastword`, else `~/.local/state/lastword`. Cost:
    /// disk, up to `max_size` and some 70 MiB.
    pub path: Option<PathBuf>,
    /// Sets how long endings are kept.
    ///
    /// Unit: duration, above zero. Default: 7d. Cost: disk, about 1.5 KiB per ending.
    #[serde(deserialize_with = "values::duration")]
    pub retention: Duration,
    /// Bounds the store; the oldest endings give way, first those of a network that takes more than a
    /// quarter. Attempts have a tenth of it to themselves.
    ///
    /// Unit: size, at least 4MiB. Default: 1GiB. Cost: disk; queries by what has no index read all
    /// of it.
    pub max_size: ByteSize,
    /// Chooses what survives a power loss; a crash of the process costs nothing either way.
    ///
    /// One of `normal`, `full`. Default: normal. Cost: `normal` may lose the last seconds to a
    /// power loss, `full` syncs the disk at every commit.
    pub synchronous: Synchronous,
    /// Chooses what happens when endings cannot be stored.
    ///
    /// One of `serve`, `refuse`. Default: serve. Cost: `serve` leaves gaps in the ledger (the
    /// endings are logged whole and counted), `refuse` turns new connections away.
    pub on_failure: FailurePolicy,
    /// Bounds the recorded attempts per listener; beyond it they are counted per failure, network
    /// and minute. One network gets at most half of it while others come, too.
    ///
    /// Unit: per second. Default: 50. Cost: disk, about 1.5 KiB per attempt.
    pub open_failed_per_second: u64,
    /// Bounds what waits for the disk; what finds no room is logged and counted, not stored.
    ///
    /// Unit: size, at least 1MiB. Default: 64MiB, some 40,000 endings. Cost: memory, while the disk
    /// is slow.
    pub queue_bytes: ByteSize,
    /// Bounds the wait for a write; a disk that takes longer counts as failing.
    ///
    /// Unit: duration, at least 100ms. Default: 5s. Cost: endings are told that much later once,
    /// when a disk stalls; too short takes a busy disk for a broken one.
    #[serde(deserialize_with = "values::duration")]
    pub stall_timeout: Duration,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            path: None,
            retention: Duration::from_secs(7 * 24 * 60 * 60),
            max_size: ByteSize::gib(1),
            synchronous: Synchronous::Normal,
            on_failure: FailurePolicy::Serve,
            open_failed_per_second: 50,
            queue_bytes: ByteSize::mib(64),
            stall_timeout: Duration::from_secs(5),
        }
    }
}

/// What survives a power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Synchronous {
    /// The process may die at any time; a power loss may cost the last commits.
    #[default]
    Normal,
    /// Every commit.
    Full,
}

/// What happens when endings cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailurePolicy {
    /// Endings go to the log and are counted.
    #[default]
    Serve,
    /// New connections are refused.
    Refuse,
}
