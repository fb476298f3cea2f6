//! The resources of the machine: descriptors and memory.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::config::{BackendChoice, Config};
use crate::settings::{Limits, MemoryLimit, PlainHttp};

/// Descriptors not for connections: listeners, logs, attempts that are refused.
const RESERVED: u64 = 256;

/// A limit of fewer connections than this is probably a mistake.
const FEW: u64 = 768;
/// The number of plain HTTP clients that are always allowed, from the reserved descriptors.
const LEAST_HTTP: u64 = 32;

/// The resources that the daemon may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resources {
    /// The descriptors that the process may have open.
    descriptors: u64,
    /// The maximum number of connections, as configured or as the descriptors allow.
    pub(super) max_connections: u64,
    /// The maximum number of plain HTTP clients, likewise.
    pub(super) max_http_connections: u64,
    /// The bytes that queues, buffers and handshakes may take in total.
    pub(super) memory: u64,
}

impl Resources {
    /// Raises the soft descriptor limit to the hard one, and computes the shares.
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
                "the descriptor limit allows only few connections: raise LimitNOFILE of the unit, or `ulimit -n`; to accept it, set limits.max_connections"
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
                    "{key} exceeds what the descriptor limit allows: raise LimitNOFILE or `ulimit -n`"
                );
            }
        }
        let memory = memory(limits.memory);
        Self { descriptors, max_connections, max_http_connections, memory }
    }

    /// Logs them.
    pub(super) fn log(&self) {
        let Self { descriptors, max_connections, max_http_connections, memory } = *self;
        info!(
            descriptors,
            max_connections, max_http_connections, memory, "determined the resource limits"
        );
    }
}

/// Returns whether any route passes plain HTTP on.
fn passes_plain_http(config: &Config) -> bool {
    config.routes.iter().any(|route| match &route.backend {
        BackendChoice::Relay(relay) => relay.http == PlainHttp::Proxy,
        BackendChoice::Echo => false,
    })
}

/// The shares of the descriptors; neither kind of client can use up the other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    max_connections: u64,
    max_http_connections: u64,
}

impl Shares {
    /// Divides the descriptors. A plain HTTP client takes two: its own and one to an application.
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
            let others = [cgroup_memory(), address_space()];
            let available = others.into_iter().flatten().fold(machine, u64::min);
            available / 100 * u64::from(percent)
        }
    }
}

/// The limit of this process's address space (`ulimit -v`, `LimitAS`), in bytes.
pub(super) fn address_space() -> Option<u64> {
    getrlimit(Resource::As).current
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn machine_memory() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The smallest memory limit from this process's cgroup up to the root, for cgroup v1 and v2.
fn cgroup_memory() -> Option<u64> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    least_limit(&cgroups, |file| fs::read_to_string(file).ok())
}

/// Finds the smallest limit of the cgroups listed in a text like `/proc/self/cgroup`.
fn least_limit(cgroups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let limits = cgroups.lines().filter_map(|line| {
        let (controllers, own) = line.split_once(':')?.1.split_once(':')?;
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let own = Path::new(root).join(own.trim_start_matches('/'));
        // In a container the path may be the host's; then only the root exists, and it applies.
        let up = own.ancestors().take_while(|path| path.starts_with(root));
        up.filter_map(|path| read(&path.join(file))?.trim().parse().ok()).min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ByteSize;

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
    fn the_least_limit_of_the_cgroups_counts_whatever_their_version() {
        let least = |cgroups, limits: &[(&str, &str)]| {
            least_limit(cgroups, |file| {
                let found = limits.iter().find(|(path, _)| Path::new(path) == file);
                found.map(|(_, limit)| format!("{limit}\n"))
            })
        };
        let second = [
            ("/sys/fs/cgroup/a/b/memory.max", "max"),
            ("/sys/fs/cgroup/a/memory.max", "1000"),
            ("/sys/fs/cgroup/memory.max", "2000"),
        ];
        assert_eq!(least("0::/a/b\n", &second), Some(1000));
        let first = [
            ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "3000"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
        ];
        assert_eq!(least("4:memory:/a\n1:cpu:/a\n0::/\n", &first), Some(3000));
        assert_eq!(least("4:cpu,memory:/not/here\n", &first), Some(9_223_372_036_854_771_712));
        assert_eq!(least("1:cpu:/a\n", &first), None);
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
