//! What the machine gives: descriptors and memory.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::config::{Backend, Config, Limits, MemoryLimit, PlainHttp};

/// Descriptors that are not for connections: listeners, logs, attempts that are refused.
const RESERVED: u64 = 256;

/// Fewer connections than this are a mistake more often than not.
const FEW: u64 = 768;
/// Clients of plain HTTP that there is always room for, in what is reserved.
const LEAST_HTTP: u64 = 32;

/// What the daemon may use.
pub(super) struct Resources {
    /// Connections, as configured or as many as there are descriptors for.
    pub(super) max_connections: u64,
    /// Clients of plain HTTP, likewise.
    pub(super) max_http_connections: u64,
    /// Bytes for all inboxes and outboxes.
    pub(super) memory: u64,
}

impl Resources {
    /// Raises the limit of descriptors to what is allowed, and works out what there is.
    pub(super) fn claim(config: &Config) -> Self {
        let limits = &config.limits;
        let descriptors = raise_descriptor_limit();
        let affordable = descriptors.saturating_sub(RESERVED).max(1);
        let Shares { max_connections, max_http_connections } =
            Shares::of(affordable, limits, passes_plain_http(config));
        if limits.max_connections == 0 && affordable < FEW {
            warn!(
                max_connections,
                descriptors,
                reserved = RESERVED,
                "the descriptor limit leaves room for few connections: raise LimitNOFILE of the unit, or `ulimit -n`; to accept it, set limits.max_connections"
            );
        }
        for (key, wanted, got) in [
            ("limits.max_connections", limits.max_connections, max_connections),
            ("limits.max_http_connections", limits.max_http_connections, max_http_connections),
        ] {
            if wanted > got {
                warn!(
                    wanted,
                    affordable = got,
                    "{key} is more than the descriptor limit allows: raise LimitNOFILE or `ulimit -n`"
                );
            }
        }
        let memory = memory(limits.memory);
        info!(descriptors, max_connections, max_http_connections, memory, "resources");
        Self { max_connections, max_http_connections, memory }
    }
}

/// Tells whether some route passes plain HTTP on.
fn passes_plain_http(config: &Config) -> bool {
    config.routes.iter().any(|route| match &route.backend {
        Backend::Relay(relay) => relay.http == PlainHttp::Proxy,
        Backend::Echo => false,
    })
}

/// How descriptors are shared: no kind of client can take what is another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    max_connections: u64,
    max_http_connections: u64,
}

impl Shares {
    /// A client of plain HTTP takes two descriptors, its own and that to an application.
    fn of(affordable: u64, limits: &Limits, passes_plain_http: bool) -> Self {
        let asked = match limits.max_http_connections {
            _ if !passes_plain_http => 0,
            0 => affordable / 8,
            asked => asked.min(affordable / 4),
        };
        let max_connections = match limits.max_connections {
            0 => affordable - 2 * asked,
            wanted => wanted.min(affordable),
        };
        let left = (affordable - max_connections) / 2;
        let max_http_connections = asked.min(left).max(LEAST_HTTP);
        Self { max_connections, max_http_connections }
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
    fn descriptors_are_shared_between_websockets_and_plain_http() {
        let limits = |max_connections, max_http_connections| Limits {
            max_connections,
            max_http_connections,
            ..Limits::default()
        };
        for (asked, passes, shares) in [
            ((0, 0), false, (800, 32)),
            ((0, 0), true, (600, 100)),
            ((0, 50), true, (700, 50)),
            ((0, 500), true, (400, 200)),
            ((700, 0), true, (700, 50)),
            ((900, 0), true, (800, 32)),
            ((100, 0), true, (100, 100)),
        ] {
            let Shares { max_connections, max_http_connections } =
                Shares::of(800, &limits(asked.0, asked.1), passes);
            assert_eq!((max_connections, max_http_connections), shares, "{asked:?} {passes}");
        }
    }

    #[test]
    fn memory_is_a_share_of_the_machine_or_a_number() {
        assert_eq!(memory(MemoryLimit::Bytes(ByteSize(5))), 5);
        let all = memory(MemoryLimit::Percent(100));
        let half = memory(MemoryLimit::Percent(50));
        assert!(all > 1 << 20);
        assert!(half <= all / 2 && half >= all / 2 - 100);
    }
}
