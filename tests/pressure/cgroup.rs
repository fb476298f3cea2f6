//! A cgroup that bounds the memory of one process, where this user may make one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A cgroup of our own; removed when dropped, once it is empty.
pub(super) struct Cgroup {
    path: PathBuf,
    limit: u64,
}

impl Cgroup {
    /// Makes one in which so many bytes may be used, without swap; tells why not.
    pub(super) fn make(limit: u64) -> Result<Self, String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("lastword-pressure-{}-{number}", std::process::id());
        let groups = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let of = |controller: &str| {
            groups.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                (parts.next()? == controller).then(|| parts.next().unwrap_or("/").to_owned())
            })
        };
        let first = Path::new("/sys/fs/cgroup");
        let candidates = [
            of("memory").map(|own| (first.join("memory"), own, "memory.limit_in_bytes")),
            of("").map(|own| (first.to_owned(), own, "memory.max")),
        ];
        let mut why = "there is no memory controller".to_owned();
        for (root, own, file) in candidates.into_iter().flatten() {
            // In a container the own path is often that of the host, and the root is ours.
            for parent in [root.join(own.trim_start_matches('/')), root.clone()] {
                let path = parent.join(&name);
                let made = fs::create_dir(&path)
                    .and_then(|()| fs::write(path.join(file), limit.to_string()));
                match made {
                    Ok(()) => return Ok(Self { path, limit }),
                    Err(error) => {
                        let _ = fs::remove_dir(&path);
                        why = format!("{}: {error}", path.join(file).display());
                    }
                }
            }
        }
        Err(why)
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Where a process writes its id to be in it.
    pub(super) fn procs(&self) -> String {
        self.path.join("cgroup.procs").display().to_string()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        while fs::remove_dir(&self.path).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
