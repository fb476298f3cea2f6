//! What the machine gives: descriptors and memory.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::config::{Limits, MemoryLimit};

/// Descriptors that are not for connections: listeners, logs, attempts that are refused.
const RESERVED: u64 = 256;

/// Fewer connections than this are a mistake more often than not.
const FEW: u64 = 768;

/// What the daemon may use.
pub(super) struct Resources {
    /// Connections, as configured or as many as there are descriptors for.
    pub(super) max_connections: u64,
    /// Bytes for all inboxes and outboxes.
    pub(super) memory: u64,
}

impl Resources {
    /// Raises the limit of descriptors to what is allowed, and works out what there is.
    pub(super) fn claim(limits: &Limits) -> Self {
        let descriptors = raise_descriptor_limit();
        let affordable = descriptors.saturating_sub(RESERVED).max(1);
        let max_connections = match limits.max_connections {
            0 if affordable < FEW => {
                warn!(
                    max_connections = affordable,
                    descriptors,
                    reserved = RESERVED,
                    "the descriptor limit leaves room for few connections: raise LimitNOFILE of the unit, or `ulimit -n`; to accept it, set limits.max_connections"
                );
                affordable
            }
            0 => affordable,
            wanted if wanted > affordable => {
                warn!(
                    wanted,
                    affordable,
                    "limits.max_connections is more than the descriptor limit allows: raise LimitNOFILE or `ulimit -n`"
                );
                affordable
            }
            wanted => wanted,
        };
        let memory = memory(limits.memory);
        info!(descriptors, max_connections, memory, "resources");
        Self { max_connections, memory }
    }
}

fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

fn memory(limit: MemoryLimit) -> u64 {
    match limit {
        MemoryLimit::Bytes(bytes) => bytes.0,
        MemoryLimit::Percent(percent) => {
            let machine = machine_memory().unwrap_or(1 << 30);
            let available = cgroup_memory().map_or(machine, |cgroup| cgroup.min(machine));
            available / 100 * u64::from(percent)
        }
    }
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn machine_memory() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The least `memory.max` from this process's cgroup (version 2) up to the root.
fn cgroup_memory() -> Option<u64> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = cgroups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Path::new("/sys/fs/cgroup")
        .join(own)
        .ancestors()
        .take_while(|path| path.starts_with("/sys/fs/cgroup"))
        .filter_map(|path| fs::read_to_string(path.join("memory.max")).ok())
        .filter_map(|max| max.trim().parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ByteSize;

    #[test]
    fn memory_is_a_share_of_the_machine_or_a_number() {
        assert_eq!(memory(MemoryLimit::Bytes(ByteSize(5))), 5);
        let all = memory(MemoryLimit::Percent(100));
        let half = memory(MemoryLimit::Percent(50));
        assert!(all > 1 << 20);
        assert!(half <= all / 2 && half >= all / 2 - 100);
    }
}
